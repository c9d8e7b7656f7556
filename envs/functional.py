"""A `GraphTask` from any Gymnasium functional environment."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
from gymnasium.experimental.functional import FuncEnv

from selftuning.configs.errors import ConfigError, require
from selftuning.envs.answers import BadAnswerError, told
from selftuning.envs.masks import with_mask
from selftuning.envs.spaces import (
    SpacesOnly,
    agent_spaces,
    graph_action,
    graph_flat,
    graph_observation,
)
from selftuning.envs.task import GraphTask, TaskSpec, Timestep

_DRAWS = 16  # of start states, that wait where resets may take long


class GraphState(NamedTuple):
    """State of B environments between two steps."""

    env: Any  # states of the functional environment, each leaf [B, ...]
    key: jax.Array  # one PRNG key for all that is still to be drawn
    episode_return: jax.Array  # [B] float32: of the running episode
    rounding: jax.Array  # [B] float32: what its sum has lost so far (Kahan 1965)
    episode_length: jax.Array  # [B] int32: of the running episode
    pool: Any = ()  # of start states, where those are not all drawn at every step


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

    What an environment remembers beyond the end of an episode, such as a clock of all its steps,
    it hands on with `carry_over(start, ended)`, which returns the start state with that part of
    the state in which the episode ended. If it has a method `truncated(state)`, episodes are
    truncated where that holds.

    An environment with `reset(key) -> (state, observation)` and `step(key, state, action) ->
    (state, observation, reward, terminated, truncated)` is stepped by these (`envs.foreign`). As
    its resets may take long, a sixteenth as many start states as there are environments are drawn
    at each step, and wait in a pool. Each environment takes another one of these at each step.

    Args:
      env: the functional environment.
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
    observation_space, action_space = agent_spaces(env_id, env)
    own_spaces = env.observation_space, env.action_space
    if hasattr(env, "action_mask"):
        own_spaces = with_mask(*own_spaces), env.action_space
        observation_space, action_space = agent_spaces(env_id, SpacesOnly(*own_spaces))

    def init(key: jax.Array) -> tuple[GraphState, jax.Array]:
        key, start_key = jax.random.split(key)
        env_state, observation = _start(env, start_key, num_envs)
        zero = jnp.zeros(num_envs, jnp.float32)
        pool = _pool(env, jax.random.fold_in(key, 1), num_envs)
        return GraphState(env_state, key, zero, zero, zero.astype(jnp.int32), pool), observation

    def step(state: GraphState, action: jax.Array) -> tuple[GraphState, Timestep]:
        key, step_key, start_key = jax.random.split(state.key, 3)
        keys = jax.random.split(step_key, num_envs)
        transition = jax.vmap(_transition, (None, 0, 0, 0))
        successor, observation, reward, terminated, at_limit = transition(
            env, keys, state.env, action
        )
        added = reward - state.rounding
        episode_return = state.episode_return + added
        rounding = (episode_return - state.episode_return) - added
        episode_length = state.episode_length + 1
        if max_episode_steps is not None:
            at_limit = at_limit | (episode_length >= max_episode_steps)
        end = terminated | at_limit

        pool, (start, start_observation) = _next_starts(env, start_key, num_envs, state, successor)
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
            rounding=jnp.where(end, 0.0, rounding),
            episode_length=jnp.where(end, 0, episode_length),
            pool=pool,
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
    return GraphTask(spec, num_envs, _told(env, env_id, init), _told(env, env_id, step))


def _told(env: FuncEnv, env_id: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, in which errors of the environment are a line. It is called to be traced."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except ConfigError:
            raise
        except Exception as error:
            theirs = env.step if steps_at_once(env) else type(env).observation
            raise ConfigError(f"env: {env_id!r}: {told(error, theirs)}") from error

    return call


def check_positive(field: str, value: Any) -> None:
    """Raises `ConfigError` unless `value` is an integer of at least 1."""
    counts = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    require(counts, field, repr(value), "a whole number of at least 1")


def check_count(field: str, value: Any) -> None:
    """Raises `ConfigError` unless `value` is an integer of at least 0."""
    counts = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    require(counts, field, repr(value), "a whole number of at least 0")


def steps_at_once(env: FuncEnv) -> TypeGuard[Any]:
    """Whether an environment has `reset` and `step` in place of a function for each result."""
    return hasattr(env, "reset") and hasattr(env, "step")


def is_truncated(env: Any, state: Any) -> Any:
    """Whether an environment itself cuts an episode off in a state; it may have a say in it."""
    return env.truncated(state) if hasattr(env, "truncated") else False


class _Pool(NamedTuple):
    """Start states that wait: 16 draws of N = ceil(B / 16), of which the oldest is next to go."""

    starts: Any  # states and observations, each leaf [16 N, ...]
    next: jax.Array  # [] int32: first row of the oldest draw


def _pool(env: FuncEnv, key: jax.Array, num_envs: int) -> Any:
    if not steps_at_once(env):
        return ()
    rows = _DRAWS * math.ceil(num_envs / _DRAWS)
    return _Pool(_start(env, key, rows), jnp.int32(0))


def _next_starts(
    env: FuncEnv, key: jax.Array, num_envs: int, state: GraphState, ended: Any
) -> tuple[Any, tuple[Any, jax.Array]]:
    """The pool after this step, and a start state and its observation for each environment."""
    if not steps_at_once(env):
        # Drawing start states at every step costs less than a branch, and `vmap` would
        # turn a branch into just this.
        return (), _start(env, key, num_envs, ended)
    waiting, at = state.pool
    drawn = math.ceil(num_envs / _DRAWS)
    new = _start(env, key, drawn)
    waiting = jax.tree.map(
        lambda rows, x: jax.lax.dynamic_update_slice_in_dim(rows, x, at, 0), waiting, new
    )
    rows = drawn * _DRAWS
    taken = (at + drawn - 1 - jnp.arange(num_envs)) % rows  # the newest one for the first
    starts = jax.tree.map(lambda x: x[taken], waiting)
    return _Pool(waiting, (at + drawn) % rows), starts


def _start(env: FuncEnv, key: jax.Array, num_envs: int, ended: Any = None) -> tuple[Any, jax.Array]:
    """Start states, each leaf [B, ...], and their observations [B, ...].

    Args:
      env: the environment.
      key: for all that is drawn.
      num_envs: B.
      ended: states [B, ...] that episodes ended in, if any did.
    """
    if steps_at_once(env):
        states, found = jax.vmap(env.reset)(jax.random.split(key, num_envs))
        states = jax.tree.map(lambda leaf: _as_type_of(leaf, leaf), states)
        return states, jax.vmap(lambda state, x: _masked(env, state, x))(states, found)
    state_key, observation_key = jax.random.split(key)
    if hasattr(env, "initial_batch"):
        states = env.initial_batch(state_key, num_envs)
    else:
        states = jax.vmap(env.initial)(jax.random.split(state_key, num_envs))
    states = jax.tree.map(lambda leaf: _as_type_of(leaf, leaf), states)
    if ended is not None and hasattr(env, "carry_over"):
        states = jax.tree.map(_as_type_of, jax.vmap(env.carry_over)(states, ended), states)

    def observe(state: Any, key: jax.Array) -> jax.Array:
        return _masked(env, state, env.observation(state, key))

    return states, jax.vmap(observe)(states, jax.random.split(observation_key, num_envs))


def _transition(
    env: FuncEnv, key: jax.Array, state: Any, action: jax.Array
) -> tuple[Any, jax.Array, jax.Array, jax.Array, jax.Array]:
    """One step of one environment.

    Returns:
      Successor, what is seen of it, reward [], terminated [], truncated [].
    """
    action = graph_action(env.action_space, action)
    if steps_at_once(env):
        successor, found, reward, terminated, truncated = env.step(key, state, action)
    else:
        successor = env.transition(state, action, key)
        found = env.observation(successor, key)
        reward = env.reward(state, action, successor, key)
        terminated = env.terminal(successor, key)
        truncated = is_truncated(env, successor)
    observation = _masked(env, successor, found)
    terminated, truncated = _one("terminated", terminated, bool), _one("truncated", truncated, bool)
    successor = jax.tree.map(_as_type_of, successor, state)
    reward = _one("the reward", reward, jnp.float32)
    return successor, observation, reward, terminated, truncated


def _one(what: str, value: Any, dtype: Any) -> jax.Array:
    found = jnp.asarray(value, dtype)
    if found.size != 1:
        raise BadAnswerError(f"{what} has the shape {found.shape}, and is not one number")
    return found.reshape(())


def _masked(env: FuncEnv, state: Any, observation: Any) -> jax.Array:
    """What agents see of a state: the observation, and which actions are allowed if it is said."""
    observation = graph_observation(env.observation_space, observation)
    if not hasattr(env, "action_mask"):
        return observation
    mask = jnp.asarray(env.action_mask(state)).reshape(-1) > 0
    flat = graph_flat(env.observation_space, observation)
    return jnp.concatenate([mask.astype(flat.dtype), flat])


def _as_type_of(new: Any, old: jax.Array) -> jax.Array:
    """`new` with type and shape of `old`, and not weakly: the state of a scan must keep these."""
    if jax.dtypes.issubdtype(old.dtype, jax.dtypes.extended):  # a typed PRNG key
        return new
    return jnp.asarray(new, old.dtype).reshape(old.shape)


def _where(condition: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    """Rows of `yes` [B, ...] where `condition` [B] holds, of `no` elsewhere."""
    return jnp.where(condition.reshape(condition.shape + (1,) * (yes.ndim - 1)), yes, no)
