"""What a meta-network is told of how learning goes (Luketina et al. 2022).

A context is a pair of pure functions. Features are divided by their running deviations and
squashed, so that the network needs no scale of the task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from selftuning.agents.moments import Moments, nothing, with_samples
from selftuning.agents.trajectory import Experience

REWARDS = 10  # rollouts whose mean rewards are remembered
_SMALLEST_DEVIATION = 1e-6


class ContextState(NamedTuple):
    """Attributes: the latest features, as they were measured [size], and their moments."""

    measured: jax.Array
    moments: Moments


class Context(NamedTuple):
    """A pair of pure functions.

    Attributes:
      size: of the features.
      init: () -> state.
      update: (state, batch, value) -> state; `value` is (observation) -> value of the
        agent that made the trajectory.
      features: state -> features [size] in [-1, 1], 0 before anything was seen.
    """

    size: int
    init: Callable[[], ContextState]
    update: Callable[[ContextState, Experience, Callable[[Any], jax.Array]], ContextState]
    features: Callable[[ContextState], jax.Array]


def make(name: Literal["none", "reward", "rich"], gamma: float) -> Context:
    """The context of a name in the settings.

    Args:
      name: "reward" is the mean reward of each of the last ten rollouts, latest first; "rich"
        mean and standard deviation of reward, value and TD error of the last one; "none" is
        empty.
      gamma: discount of the TD errors.
    """
    if name == "none":
        empty = ContextState(jnp.zeros(0), nothing((0,)))
        return Context(0, lambda: empty, lambda state, *_: state, lambda state: state.measured)
    if name == "reward":
        return Context(REWARDS, _init(REWARDS, 1), _add_reward, _features)
    return Context(6, _init(6, 6), lambda *seen: _add_rich(gamma, *seen), _features)


def _init(size: int, moments: int) -> Callable[[], ContextState]:
    return lambda: ContextState(jnp.full(size, jnp.nan), nothing((moments,)))


def _add_reward(state: ContextState, batch: Experience, value: Any) -> ContextState:
    mean = jnp.mean(batch.trajectory.reward)[None]
    measured = jnp.concatenate([mean, state.measured[:-1]])
    return ContextState(measured, with_samples(state.moments, mean[None]))


def _add_rich(gamma: float, state: ContextState, batch: Experience, value: Any):
    v_tm1, v_t = value(batch.observation), value(batch.next_observation)
    error = batch.reward + gamma * batch.trajectory.discount * v_t - v_tm1
    parts = (batch.reward, v_tm1, error)
    measured = jnp.stack([f(x) for x in parts for f in (jnp.mean, jnp.std)])
    return ContextState(measured, with_samples(state.moments, measured[None]))


def _features(state: ContextState) -> jax.Array:
    moments = state.moments
    deviation = jnp.sqrt(moments.variance)
    scaled = (state.measured - moments.mean) / jnp.maximum(deviation, _SMALLEST_DEVIATION)
    # What was not measured yet is as if it were the mean.
    return jnp.tanh(jnp.where(jnp.isnan(scaled), 0.0, scaled))
