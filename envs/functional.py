"""A `GraphTask` from any Gymnasium functional environment."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnasium.experimental.functional import FuncEnv

from selftuning.configs.errors import require
from selftuning.envs.masks import with_mask
from selftuning.envs.spaces import (
    SpacesOnly,
    agent_spaces,
    graph_action,
    graph_flat,
    graph_observation,
)
from selftuning.envs.task import GraphTask, TaskSpec, Timestep


class GraphState(NamedTuple):
    """State of B environments between two steps."""

    env: Any  # states of the functional environment, each leaf [B, ...]
    key: jax.Array  # one PRNG key for all that is still to be drawn
    episode_return: jax.Array  # [B] float32: of the running episode
    episode_length: jax.Array  # [B] int32: of the running episode


def graph_task(
    env: FuncEnv,
    num_envs: int,
    *,
    env_id: str = "",
    max_episode_steps: int | None = None,
    reward_threshold: float | None = None,
) -> GraphTask:
    """B copies of a functional environment, with time limit and same-step auto-reset.

    As in Gymnasium, all functions of one environment get the same key in one step. An
    environment may have a method `initial_batch(rng, num)` that returns `num` start
    states from one key; otherwise `initial` is called with as many keys. It may have a
    method `action_mask(state)`, a number for each action, above 0 where it is allowed.

    Args:
      env: the functional environment; observations are one array each.
      num_envs: B.
      env_id: name in `spec`; the name of the class if empty.
      max_episode_steps: steps after which an episode is truncated; None for never.
      reward_threshold: return at which the environment counts as solved, for `spec`.

    Returns:
      A task whose `init` and `step` are pure, work under `jit`, `vmap` and `scan`, and
      give the same numbers for the same key. Its states are `GraphState`.

    Raises:
      ConfigError: a space is not supported, or a number is below 1.
    """
    env_id = env_id or type(env).__name__
    check_positive("num_envs", num_envs)
    if max_episode_steps is not None:
        check_positive("max_episode_steps", max_episode_steps)
    observation_space, action_space = agent_spaces(env_id, env, composite=False)
    own_spaces = env.observation_space, env.action_space
    if hasattr(env, "action_mask"):
        own_spaces = with_mask(*own_spaces), env.action_space
        observation_space, action_space = agent_spaces(env_id, SpacesOnly(*own_spaces))

    def init(key: jax.Array) -> tuple[GraphState, jax.Array]:
        key, start_key = jax.random.split(key)
        env_state, observation = _start(env, start_key, num_envs)
        zero = jnp.zeros(num_envs, jnp.float32)
        return GraphState(env_state, key, zero, zero.astype(jnp.int32)), observation

    def step(state: GraphState, action: jax.Array) -> tuple[GraphState, Timestep]:
        key, step_key, start_key = jax.random.split(state.key, 3)
        successor, observation, reward, terminated = jax.vmap(_transition, (None, 0, 0, 0))(
            env, jax.random.split(step_key, num_envs), state.env, action
        )
        episode_return = state.episode_return + reward
        episode_length = state.episode_length + 1
        at_limit = jnp.zeros_like(terminated)
        if max_episode_steps is not None:
            at_limit = episode_length >= max_episode_steps
        end = terminated | at_limit

        # Drawing start states at every step costs less than a branch, and `vmap` would
        # turn a branch into just this.
        start, start_observation = _start(env, start_key, num_envs)
        timestep = Timestep(
            observation=_where(end, start_observation, observation),
            next_observation=observation,
            reward=reward,
            discount=1.0 - terminated.astype(jnp.float32),
            truncated=at_limit & ~terminated,
            episode_end=end,
            episode_return=episode_return,
            episode_length=episode_length,
        )
        state = GraphState(
            env=jax.tree.map(lambda new, old: _where(end, new, old), start, successor),
            key=key,
            episode_return=jnp.where(end, 0.0, episode_return),
            episode_length=jnp.where(end, 0, episode_length),
        )
        return state, timestep

    spec = TaskSpec(
        env_id=env_id,
        observation_space=observation_space,
        action_space=action_space,
        max_episode_steps=max_episode_steps,
        reward_threshold=reward_threshold,
        backend="jax",
        own_spaces=own_spaces,
    )
    return GraphTask(spec, num_envs, init, step)


def check_positive(field: str, value: Any) -> None:
    """Raises `ConfigError` unless `value` is an integer of at least 1."""
    counts = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    require(counts, field, repr(value), "a whole number of at least 1")


def _start(env: FuncEnv, key: jax.Array, num_envs: int) -> tuple[Any, jax.Array]:
    """Start states, each leaf [B, ...], and their observations [B, ...]."""
    state_key, observation_key = jax.random.split(key)
    if hasattr(env, "initial_batch"):
        states = env.initial_batch(state_key, num_envs)
    else:
        states = jax.vmap(env.initial)(jax.random.split(state_key, num_envs))
    states = jax.tree.map(lambda leaf: _as_type_of(leaf, leaf), states)

    def observe(state: Any, key: jax.Array) -> jax.Array:
        return _observed(env, state, key)

    return states, jax.vmap(observe)(states, jax.random.split(observation_key, num_envs))


def _transition(
    env: FuncEnv, key: jax.Array, state: Any, action: jax.Array
) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
    """One step of one environment: successor, its observation, reward [], terminated []."""
    action = graph_action(env.action_space, action)
    successor = env.transition(state, action, key)
    observation = _observed(env, successor, key)
    reward = jnp.asarray(env.reward(state, action, successor, key), jnp.float32).reshape(())
    terminated = jnp.asarray(env.terminal(successor, key), bool).reshape(())
    successor = jax.tree.map(_as_type_of, successor, state)
    return successor, observation, reward, terminated


def _observed(env: FuncEnv, state: Any, key: jax.Array) -> jax.Array:
    """What agents see of a state: the observation, and which actions are allowed if it is said."""
    observation = graph_observation(env.observation_space, env.observation(state, key))
    if not hasattr(env, "action_mask"):
        return observation
    mask = jnp.asarray(env.action_mask(state)).reshape(-1) > 0
    flat = graph_flat(env.observation_space, observation)
    return jnp.concatenate([mask.astype(flat.dtype), flat])


def _as_type_of(new: Any, old: jax.Array) -> jax.Array:
    """`new` with the type of `old`, and not weakly: the state of a scan must keep its types."""
    if jax.dtypes.issubdtype(old.dtype, jax.dtypes.extended):  # a typed PRNG key
        return new
    return jnp.asarray(new, old.dtype)


def _where(condition: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    """Rows of `yes` [B, ...] where `condition` [B] holds, of `no` elsewhere."""
    return jnp.where(condition.reshape(condition.shape + (1,) * (yes.ndim - 1)), yes, no)
