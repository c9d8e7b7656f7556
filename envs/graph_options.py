"""What settings ask of environments in-graph: stacked frames, sticky actions, clipped rewards."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from selftuning.configs.settings import EnvSettings
from selftuning.envs.single import join_frames
from selftuning.envs.task import GraphTask, Timestep


def with_options(task: GraphTask, options: EnvSettings) -> GraphTask:
    """The task with what the settings ask for, in the order in which the host does it."""
    if options.sticky_actions:
        task = _sticky(task, options.sticky_actions)
    if options.frame_stack > 1:
        task = _stacked(task, options.frame_stack)
    return task._replace(spec=task.spec._replace(clip_rewards=options.clip_rewards))


def _sticky(task: GraphTask, probability: float) -> GraphTask:
    """Actions that the last one of the same episode may replace; the first one is never replaced.

    The state is (state of the task, key, last action [B, ...], whether there was one [B]).
    """

    def init(key: jax.Array) -> tuple[Any, jax.Array]:
        key, own = jax.random.split(key)
        state, observation = task.init(key)
        space = task.spec.action_space
        last = jnp.zeros((task.num_envs, *(space.shape or ())), space.dtype)
        return (state, own, last, jnp.zeros(task.num_envs, bool)), observation

    def step(state: Any, action: jax.Array) -> tuple[Any, Timestep]:
        inner, key, last, begun = state
        key, draw = jax.random.split(key)
        repeated = begun & jax.random.bernoulli(draw, probability, (task.num_envs,))
        rows = repeated.reshape(-1, *(1,) * (last.ndim - 1))
        action = jnp.where(rows, last, action.astype(last.dtype))
        inner, timestep = task.step(inner, action)
        return (inner, key, action, ~timestep.episode_end), timestep

    return task._replace(init=init, step=step)


def _stacked(task: GraphTask, frames: int) -> GraphTask:
    """The last observations as one; the state is (state of the task, frames [B, N, ...])."""
    space = task.spec.observation_space
    if isinstance(space, spaces.Box):
        ends = (np.stack([end] * frames) for end in (space.low, space.high))
        low, high = (join_frames(end, np) for end in ends)
        stacked: Any = spaces.Box(low, high, dtype=space.dtype)
    else:
        stacked = batch_space(space, frames)

    def seen(last: jax.Array) -> jax.Array:
        if not isinstance(space, spaces.Box):
            return last
        return jax.vmap(lambda x: join_frames(x, jnp))(last)

    def filled(observation: Any) -> jax.Array:
        return jnp.repeat(observation[:, None], frames, axis=1)

    def init(key: jax.Array) -> tuple[Any, jax.Array]:
        state, observation = task.init(key)
        last = filled(observation)
        return (state, last), seen(last)

    def step(state: Any, action: jax.Array) -> tuple[Any, Timestep]:
        inner, last = state
        inner, timestep = task.step(inner, action)
        last = jnp.concatenate([last[:, 1:], timestep.next_observation[:, None]], axis=1)
        end = timestep.episode_end.reshape(-1, *(1,) * (last.ndim - 1))
        kept = jnp.where(end, filled(timestep.observation), last)
        return (inner, kept), timestep._replace(observation=seen(kept), next_observation=seen(last))

    spec = task.spec._replace(observation_space=stacked, own_spaces=None)
    return GraphTask(spec, task.num_envs, init, step)
