"""Masks of actions: which of them an environment allows now, as a part of what agents see.

A mask is a part `"action_mask"` of a `Dict` observation, a number for each action: above 0 where it
is allowed. So it stands in trajectories, and losses see the very policy that acted. Environments
that have it in `info` (Taxi) or answer `action_masks()` instead get there by `ActionMask`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from gymnasium import spaces

MASK, OBSERVATION = "action_mask", "observation"
_ASKED = "action_masks"  # the method of sb3-contrib: without arguments, all that is allowed now
# Methods by which environments tell that they have masks.
_METHODS = (MASK, _ASKED)


def size(action_space: gym.Space) -> int:
    """Numbers in a mask: one for each value of each part of an action; 0 where there are none."""
    match action_space:
        case spaces.Discrete():
            return int(action_space.n)
        case spaces.MultiDiscrete():
            return int(action_space.nvec.sum())
        case spaces.MultiBinary():
            return math.prod(action_space.shape)
    return 0


def has_mask(observation_space: gym.Space, action_space: gym.Space) -> bool:
    """Whether observations have a part that masks actions of this space."""
    if not isinstance(observation_space, spaces.Dict) or MASK not in observation_space.spaces:
        return False
    part, numbers = observation_space[MASK], size(action_space)
    return isinstance(part, spaces.Box | spaces.MultiBinary) and part.shape == (numbers,)


def offered(env: gym.Env) -> gym.Env:
    """The environment with masks in its observations, if it has a method that says so."""
    there = any(env.has_wrapper_attr(name) for name in _METHODS)
    return ActionMask(env) if there and is_possible(env) else env


def is_possible(env: gym.Env) -> bool:
    """Whether its actions can be masked, and no part of its observations does so."""
    return size(env.action_space) > 0 and not has_mask(env.observation_space, env.action_space)


def flat(mask: Any) -> np.ndarray:
    """A mask as one array: those for the parts of an action, a tuple of them, one after another."""
    if not isinstance(mask, tuple):
        return np.asarray(mask)
    return np.concatenate([np.ravel(part) for part in jax.tree.leaves(mask)])


def with_mask(observation_space: gym.Space, action_space: gym.Space) -> spaces.Dict:
    """The space of observations that have a mask beside them."""
    mask = spaces.MultiBinary(size(action_space))
    return spaces.Dict({MASK: mask, OBSERVATION: observation_space})


def is_masked(observation_space: gym.Space) -> bool:
    """Whether a space was made by `with_mask`."""
    return isinstance(observation_space, spaces.Dict) and is_beside(observation_space.spaces)


def is_beside(observation: Any) -> bool:
    """Whether an observation has its mask beside it, as `ActionMask` shows it."""
    return isinstance(observation, Mapping) and set(observation) == {MASK, OBSERVATION}


class ActionMask(gym.Wrapper):
    """Puts `info["action_mask"]` beside the observation: `{"action_mask", "observation"}`.

    A mask is an array of zeros and ones, or a tuple of them for the parts of an action. Where
    `info` has none, the environment's method `action_masks()` is asked; without that too all
    actions are allowed.

        run.py --env my_envs:Maze-v0 --wrapper selftuning.envs.masks:ActionMask
    """

    def __init__(self, env: gym.Env):
        """Wraps `env`, whose actions must be discrete."""
        super().__init__(env)
        self.observation_space = with_mask(env.observation_space, env.action_space)
        self._ask: Callable[[], Any] | None = None
        if env.has_wrapper_attr(_ASKED):
            self._ask = env.get_wrapper_attr(_ASKED)

    def reset(self, **settings: Any):
        """As `gymnasium.Env.reset`."""
        observation, info = self.env.reset(**settings)
        return self._beside(observation, info, ended=False), info

    def step(self, action: Any):
        """As `gymnasium.Env.step`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        seen = self._beside(observation, info, terminated or truncated)
        return seen, reward, terminated, truncated, info

    def _beside(self, observation: Any, info: dict[str, Any], ended: bool) -> dict[str, Any]:
        mask, numbers = info.get(MASK), size(self.action_space)
        # After an episode nobody acts, and some environments have no answer.
        if mask is None and self._ask is not None and not ended:
            mask = self._ask()
        allowed = np.ones(numbers, np.int8) if mask is None else flat(mask).reshape(-1) > 0
        if len(allowed) != numbers:
            raise ValueError(f"a mask of {len(allowed)} numbers for {numbers} actions")
        return {MASK: allowed.astype(np.int8), OBSERVATION: observation}
