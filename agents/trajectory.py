"""What an agent learns from: a rollout, and what is known of learning when it was collected."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp

from selftuning.envs.spaces import shape


class Trajectory(NamedTuple):
    """T steps of B environments.

    Attributes:
      observation: [T, B, *obs], acted on.
      action: [T, B, *action].
      log_prob: [T, B], of the behaviour policy.
      reward: [T, B].
      discount: [T, B], 0 on termination and 1 elsewhere, truncations included.
      truncated: [T, B] bool, whether a time limit ended the episode here.
      next_observation: [T, B, *obs], the true successor. At the end of an episode this is its
        final observation, not the first one of the next episode.
    """

    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    discount: jax.Array
    truncated: jax.Array
    next_observation: jax.Array


class Experience(NamedTuple):
    """A batch, as the engine hands it to losses and to meta-networks.

    Attributes:
      trajectory: T steps of B environments; None where only the context is asked for.
      context: features [size] of how learning went when it was collected.
    """

    trajectory: Any
    context: jax.Array


def empty_trajectory(
    observation_space: gym.Space, action_space: gym.Space, length: int, num_envs: int
) -> Trajectory:
    """Zeros of the shapes and types of a trajectory [length, num_envs]."""
    batch = (length, num_envs)
    observation = jnp.zeros((*batch, *shape(observation_space)), observation_space.dtype)
    action_type = jnp.float32 if isinstance(action_space, gym.spaces.Box) else jnp.int32
    action = jnp.zeros((*batch, *shape(action_space)), action_type)
    number = jnp.zeros(batch, jnp.float32)
    ended = jnp.zeros(batch, bool)
    return Trajectory(observation, action, number, number, number, ended, observation)
