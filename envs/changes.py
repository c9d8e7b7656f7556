"""What changes from one level of a life to the next: `CHANGES`, by name.

A change draws a row of numbers for each level, once, and reads the row of the level that it is
given. So it is the same for NumPy, where levels are integers of Python, and inside jit. At level 0
an environment is always as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from selftuning.configs.errors import require

OFFSET = 2.0  # standard deviation of each number of an offset
LARGEST_FACTOR = 1.5  # of a physical quantity; the least one is one over it


def _as_is(value: Any, level: Any) -> Any:
    return value


class World(NamedTuple):
    """What a change has to know of an environment."""

    observation_space: gym.Space
    action_space: gym.Space
    physics: tuple[str, ...]  # quantities that can be scaled
    masked: bool  # whether it says which actions are allowed


class Change(NamedTuple):
    """What becomes of an environment at a level; by default nothing."""

    observation_space: gym.Space
    observation: Callable[[Any, Any], Any] = _as_is  # (its own observation, level) -> seen
    action: Callable[[Any, Any], Any] = _as_is  # (the agent's action, level) -> its own
    reward: Callable[[Any, Any], Any] = _as_is  # (its own reward, level) -> paid
    factors: np.ndarray | None = None  # [levels, P] float32: of each quantity of its physics


def offset(world: World, levels: int, rng: np.random.Generator) -> Change:
    """Level i adds vector i to every observation, as in TRAC's experiments (2024).

    Each number of it is normal with standard deviation 2. The first vector is 0.
    """
    space = world.observation_space
    is_float = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)
    require(is_float, "change", "offset", f"another one where observations are {space}")
    assert isinstance(space, spaces.Box)
    vectors = rng.normal(0.0, OFFSET, (levels, *space.shape)).astype(space.dtype)
    vectors[0] = 0.0
    low, high = space.low + vectors.min(axis=0), space.high + vectors.max(axis=0)
    wider = spaces.Box(low, high, dtype=space.dtype.type)
    return Change(wider, observation=lambda seen, level: seen + _row(vectors, level))


def physics(world: World, levels: int, rng: np.random.Generator) -> Change:
    """Level i scales gravity, lengths or forces by factors between 2/3 and 3/2.

    Their logarithms are uniform. Those of the first level are 1.
    """
    allowed = "another one where the environment has no gravity, length or force that can be set"
    require(bool(world.physics), "change", "physics", allowed)
    largest = math.log(LARGEST_FACTOR)
    factors = np.exp(rng.uniform(-largest, largest, (levels, len(world.physics))))
    factors[0] = 1.0
    return Change(world.observation_space, factors=factors.astype(np.float32))


def actions(world: World, levels: int, rng: np.random.Generator) -> Change:
    """Level i permutes discrete actions, and not as the level before it.

    The first permutation is the identity.
    """
    space = world.action_space
    several = isinstance(space, spaces.Discrete) and space.n > 1
    require(several, "change", "actions", f"another one where actions are {space}")
    require(not world.masked, "change", "actions", "another one where actions have a mask")
    assert isinstance(space, spaces.Discrete)
    table = [np.arange(space.n)]
    while len(table) < levels:
        drawn = rng.permutation(int(space.n))
        if np.any(drawn != table[-1]):
            table.append(drawn)
    start, own = int(space.start), np.array(table)
    return Change(
        world.observation_space,
        action=lambda action, level: _row(own, level)[action - start] + start,
    )


def reward_sign(world: World, levels: int, rng: np.random.Generator) -> Change:
    """Rewards are as they were at every second level, from the first on, and negated at others."""
    return Change(
        world.observation_space, reward=lambda reward, level: reward * (1 - 2 * (level % 2))
    )


CHANGES: dict[str, Callable[[World, int, np.random.Generator], Change]] = {
    "offset": offset,
    "physics": physics,
    "actions": actions,
    "reward_sign": reward_sign,
}

# By class of Gymnasium: quantities that its functional twin has too, in the order of the twin's
# `physics`, and the attributes of the environment that each one scales.
ATTRIBUTES: dict[str, dict[str, tuple[str, ...]]] = {
    "AcrobotEnv": {"length": tuple(f"LINK_{x}" for x in ("LENGTH_1", "COM_POS_1", "COM_POS_2"))},
    "CartPoleEnv": {"gravity": ("gravity",), "length": ("length", "polemass_length")},
    "MountainCarEnv": {"gravity": ("gravity",), "force": ("force",)},
}


def _row(table: np.ndarray, level: Any) -> Any:
    # A row of NumPy's for an integer of Python; others index an array of JAX.
    return (table if isinstance(level, int) else jnp.asarray(table))[level]
