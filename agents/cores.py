"""Recurrent cores: what a network makes of features in the light of those before them.

Features are those of the torso, with the state of a gated recurrent unit beside them (GRU, Cho et
al. 2014). The state begins at zero in each episode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from selftuning.agents.memory import Moment, Sequence, Successors

Torso = Callable[[jax.Array], jax.Array]


class Core(NamedTuple):
    """Functions to be called inside `hk.transform`.

    Attributes:
      features: `Moment`, `Sequence` or `Successors` -> features [..., F].
      remember: `Moment` -> state that includes its observation [B, width].
    """

    features: Callable[[Any], jax.Array]
    remember: Callable[[Moment], jax.Array]


def gru(torso: Torso, rank: int, width: int) -> Core:
    """A GRU on a torso.

    Args:
      torso: observations [..., *obs] -> features [..., F].
      rank: number of axes of an observation.
      width: of the state.
    """

    def looked_at(observation):
        """The torso on one batch axis, whatever axes there are."""
        batch = observation.shape[: observation.ndim - rank]
        x = torso(observation.reshape(-1, *observation.shape[len(batch) :]))
        return x.reshape(*batch, x.shape[-1])

    def step(x, state):
        flat = x.reshape(-1, x.shape[-1]), state.reshape(-1, width)
        return hk.GRU(width)(*flat)[0].reshape(*x.shape[:-1], width)

    def features(seen):
        if isinstance(seen, Moment):
            x = looked_at(seen.observation)
            state = step(x, seen.memory)
        elif isinstance(seen, Sequence):
            x = looked_at(seen.observation)
            state = _unrolled(hk.GRU(width), x, seen)
        else:
            x, state = after(seen)
        return jnp.concatenate([x, state], -1)

    def after(seen: Successors):
        """Features of successors, and the state one step after that of the sequence."""
        # Modules of one name share parameters only if they are one: both go through them at once.
        before, x = looked_at(jnp.stack([seen.sequence.observation, seen.observation]))
        core = hk.GRU(width)
        states = _unrolled(core, before, seen.sequence)
        flat = x.reshape(-1, x.shape[-1]), states.reshape(-1, width)
        return x, core(*flat)[0].reshape(states.shape)

    def remember(moment):
        return step(looked_at(moment.observation), moment.memory)

    return Core(features, remember)


def _unrolled(core: hk.RNNCore, x: jax.Array, sequence: Sequence) -> jax.Array:
    """States after each step [T, B, width], begun anew after the end of an episode."""
    anew = jnp.concatenate([jnp.zeros_like(sequence.ended[:1]), sequence.ended[:-1]])
    return hk.dynamic_unroll(hk.ResetCore(core), (x, anew), sequence.memory)[0]


def of_network(seen: Any, name: str) -> Any:
    """What one of several networks sees: of the memory its own part."""
    if isinstance(seen, Successors):
        return seen._replace(sequence=of_network(seen.sequence, name))
    return seen._replace(memory=seen.memory[name])
