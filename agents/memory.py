"""What agents with a memory see: an observation together with what they remember.

Whoever steps an environment carries along *what is acted on*: the observation, or for an agent with
a memory a `Moment`. A network is given either, and whole rollouts of them:

    acting      observation [B, *obs]          or  Moment, with the memory of the steps before it
    learning    observation [T, B, *obs]       or  Sequence, with the memory at the rollout's start
    bootstrap   next observation [T, B, *obs]  or  Successors, each one step after the sequence

The memory at the start of a rollout is data, as observations are. What follows from it is computed
again with the parameters that are learned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Moment(NamedTuple):
    """Attributes: observation [B, *obs]; memory of the episode before it, leaves [B, ...]."""

    observation: Any
    memory: Any


class Sequence(NamedTuple):
    """Observations that were acted on.

    Attributes:
      observation: [T, B, *obs].
      memory: before the first of them, leaves [B, ...].
      ended: [T, B] bool, whether the episode ended with the step that follows the observation: the
        next one is remembered nothing for.
    """

    observation: Any
    memory: Any
    ended: jax.Array


class Successors(NamedTuple):
    """Attributes: observation [T, B, *obs], each seen after the sequence up to its own step."""

    observation: Any
    sequence: Sequence


class Memory(NamedTuple):
    """Pure functions.

    Attributes:
      begin: observation [B, *obs] -> what is acted on at the start of episodes.
      follow: (actor, what was acted on, observation [B, *obs] that came next, ended [B]) -> what is
        acted on next. Where the episode has ended, the observation is the first of another.
    """

    begin: Callable[[Any], Any]
    follow: Callable[[Any, Any, Any, Any], Any]


NONE = Memory(lambda observation: observation, lambda actor, seen, observation, ended: observation)


def recurrent(start: Callable[[int], Any], remember: Callable[[Any, Moment], Any]) -> Memory:
    """The memory of networks with a state.

    Args:
      start: B -> memory of nothing, leaves [B, ...].
      remember: (actor, moment) -> memory that includes it.
    """

    def begin(observation):
        return Moment(observation, start(len(observation)))

    def follow(actor, moment, observation, ended):
        def fresh(x):
            return jnp.where(jnp.reshape(ended, (-1, *[1] * (x.ndim - 1))), 0.0, x)

        return Moment(observation, jax.tree.map(fresh, remember(actor, moment)))

    return Memory(begin, follow)


def observation_of(seen: Any) -> Any:
    """The observation alone of whatever is seen."""
    return seen.observation if isinstance(seen, Moment | Sequence | Successors) else seen


def memory_of(seen: Any) -> Any:
    """What is remembered, as a trajectory keeps it [1, B, ...]; () for nothing."""
    return jax.tree.map(lambda x: x[None], seen.memory) if isinstance(seen, Moment) else ()


def changed(function: Callable[[Any], Any], seen: Any) -> Any:
    """What is seen, with a function applied to all observations in it."""
    if isinstance(seen, Successors):
        return Successors(function(seen.observation), changed(function, seen.sequence))
    if isinstance(seen, Moment | Sequence):
        return seen._replace(observation=function(seen.observation))
    return function(seen)
