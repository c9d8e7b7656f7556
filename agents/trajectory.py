"""What an agent learns from: a rollout, and what is known of learning when it was collected."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp

from selftuning.agents import memory
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
      memory: before the first step, leaves [1, B, ...]; () for agents without one.
    """

    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    discount: jax.Array
    truncated: jax.Array
    next_observation: jax.Array
    memory: Any = ()

    @property
    def ended(self) -> jax.Array:
        """Whether the episode ended at this step [T, B]."""
        return (self.discount == 0) | self.truncated


class Scales(NamedTuple):
    """By how much numbers of a task are shifted and multiplied before an agent sees them.

    Attributes:
      shift: of observations [*obs]; () where they are taken as they are.
      factor: of observations less the shift [*obs], or ().
      reward: factor of rewards, a scalar, or ().
    """

    shift: Any = ()
    factor: Any = ()
    reward: Any = ()


class Experience(NamedTuple):
    """A batch, as the engine hands it to losses and to meta-networks.

    The trajectory is as the environment had it. Networks and losses read the properties.

    Attributes:
      trajectory: T steps of B environments; None where only the context is asked for.
      context: features [size] of how learning went when it was collected.
      scales: in which the agent sees it.
      left: part of the run that is left when it is learned from, a scalar; () where no loss asks.
    """

    trajectory: Any
    context: jax.Array
    scales: Scales = Scales()
    left: Any = ()

    @property
    def observation(self) -> Any:
        """Observations acted on, as networks see them [T, B, *obs], or a `memory.Sequence`."""
        made = self.trajectory
        observation = seen(self.scales, made.observation)
        if made.memory == ():
            return observation
        start = jax.tree.map(lambda x: x[0], made.memory)
        return memory.Sequence(observation, start, made.ended)

    @property
    def next_observation(self) -> Any:
        """Successor observations, as networks see them [T, B, *obs], or `memory.Successors`."""
        observation = seen(self.scales, self.trajectory.next_observation)
        if self.trajectory.memory == ():
            return observation
        return memory.Successors(observation, self.observation)

    @property
    def reward(self) -> jax.Array:
        """Rewards, as losses see them [T, B]."""
        return scaled(self.scales, self.trajectory.reward)


# In standard deviations, and in units of a usual return: what is rarer than that counts as that.
_LARGEST = 10.0


def seen(scales: Scales, observation: Any) -> Any:
    """Observations [..., *obs] as networks see them, alone or in a `memory.Moment`."""
    if isinstance(scales.factor, tuple):
        return observation

    # Subtracted first: a large offset is gone before anything is rounded.
    def shifted(x):
        return jnp.clip((x - scales.shift) * scales.factor, -_LARGEST, _LARGEST)

    return memory.changed(shifted, observation)


def scaled(scales: Scales, reward: jax.Array) -> jax.Array:
    """Rewards as losses see them."""
    if isinstance(scales.reward, tuple):
        return reward
    return jnp.clip(reward * scales.reward, -_LARGEST, _LARGEST)


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
