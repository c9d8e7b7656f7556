"""The one interface that agents see: a batch of environments as a task.

Two kinds of task produce the same `Timestep`: `GraphTask` steps a Gymnasium functional environment
inside `jax.jit`, `HostTask` steps any other environment from Python, one of Gymnasium or a batch of
another library. Nothing after the trajectory knows which of the two it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import numpy as np

Array = jax.Array | np.ndarray


class TaskSpec(NamedTuple):
    """What is known of a task before its first step.

    The spaces are those that agents see (`envs.spaces`): discrete values count from 0,
    arrays are float32 or int32 (or of 8 or 16 bit integers). Actions beyond the bounds
    of a `Box` are clipped to them by the task.
    """

    env_id: str
    observation_space: gym.Space
    action_space: gym.Space
    max_episode_steps: int | None
    reward_threshold: float | None
    backend: str  # "jax" (in-graph) or "host"
    own_spaces: tuple[gym.Space, gym.Space] | None = None  # observation and action, as they are
    clip_rewards: bool = False  # agents learn from rewards clipped to between -1 and 1


class Timestep(NamedTuple):
    """One step of a batch of B environments, after same-step auto-reset.

    An episode that ends is reset within the same step: `observation` is then the
    first observation of the new episode, `next_observation` the last of the old.
    """

    observation: Array  # [B, ...] to act on next
    next_observation: Array  # [B, ...] true successor; the final one at an end
    reward: Array  # [B] float32
    discount: Array  # [B] float32: 0 on termination, 1 otherwise (also on truncation)
    truncated: Array  # [B] bool: the time limit ended the episode, which did not terminate
    episode_end: Array  # [B] bool: terminated or truncated at this step
    # [B] float32 in-graph and float64 on the host: undiscounted, of its episode up to this step,
    # of the environment's own rewards whatever wrappers make of them
    episode_return: Array
    episode_length: Array  # [B] int32: steps of its episode up to this step


class GraphTask(NamedTuple):
    """B environments as pure functions, to be called inside `jax.jit`."""

    spec: TaskSpec
    num_envs: int
    init: Callable[[jax.Array], tuple[Any, jax.Array]]  # key -> (state, observation [B, ...])
    # (state, action [B, ...]) -> (state, timestep)
    step: Callable[[Any, jax.Array], tuple[Any, Timestep]]


class Keep(NamedTuple):
    """What the environments of a host task are in the middle of, as bytes.

    Attributes:
      state: of all of them now.
      restore: takes it up again, in a task that is made in the same way.
    """

    state: Callable[[], bytes]
    restore: Callable[[bytes], None]


class HostTask(NamedTuple):
    """B environments behind `gymnasium.vector`, stepped from Python with NumPy arrays."""

    spec: TaskSpec
    num_envs: int
    reset: Callable[[int], np.ndarray]  # seed -> observation [B, ...]
    step: Callable[[np.ndarray], Timestep]  # action [B, ...] -> timestep
    close: Callable[[], None]
    keep: Keep | None = None  # where there is a way to


Task = GraphTask | HostTask
