"""Masks of actions: which of them an environment allows now, as a part of what agents see.

A mask is a part `"action_mask"` of a `Dict` observation, a number for each action: above 0 where it
is allowed. So it stands in trajectories, and losses see the very policy that acted. Environments
that have it in `info` instead (Taxi) get there by `ActionMask`.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

MASK, OBSERVATION = "action_mask", "observation"
# Methods by which environments tell that they have masks; the second is that of sb3-contrib.
_METHODS = (MASK, "action_masks")


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
    """The environment with masks in its observations, if it says that it has them in `info`."""
    there = any(env.has_wrapper_attr(name) for name in _METHODS)
    is_new = not has_mask(env.observation_space, env.action_space)
    return ActionMask(env) if there and is_new and size(env.action_space) else env


def with_mask(observation_space: gym.Space, action_space: gym.Space) -> spaces.Dict:
    """The space of observations that have a mask beside them."""
    mask = spaces.MultiBinary(size(action_space))
    return spaces.Dict({MASK: mask, OBSERVATION: observation_space})


def is_masked(observation_space: gym.Space) -> bool:
    """Whether a space was made by `with_mask`."""
    if not isinstance(observation_space, spaces.Dict):
        return False
    return set(observation_space.spaces) == {MASK, OBSERVATION}


class ActionMask(gym.Wrapper):
    """Puts `info["action_mask"]` beside the observation: `{"action_mask", "observation"}`.

    A mask is an array of zeros and ones, or a tuple of them for the parts of an action. Without one
    in a step's `info` all actions are allowed.

        run.py --env my_envs:Maze-v0 --wrapper selftuning.envs.masks:ActionMask
    """

    def __init__(self, env: gym.Env):
        """Wraps `env`, whose actions must be discrete."""
        super().__init__(env)
        self.observation_space = with_mask(env.observation_space, env.action_space)

    def reset(self, **settings: Any):
        """As `gymnasium.Env.reset`."""
        observation, info = self.env.reset(**settings)
        return self._beside(observation, info), info

    def step(self, action: Any):
        """As `gymnasium.Env.step`."""
        observation, *others, info = self.env.step(action)
        return self._beside(observation, info), *others, info

    def _beside(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        mask = info.get(MASK)
        if mask is None:
            mask = np.ones(size(self.action_space), np.int8)
        elif isinstance(mask, tuple):
            mask = np.concatenate(mask)
        return {MASK: (np.asarray(mask).reshape(-1) > 0).astype(np.int8), OBSERVATION: observation}
