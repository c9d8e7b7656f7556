"""Tasks from functional environments: auto-reset, ends, keys, and the probes' values."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

from selftuning.configs.errors import ConfigError
from selftuning.envs.cartpole import CartPole
from selftuning.envs.functional import graph_task
from selftuning.envs.task import GraphTask, Timestep
from tests import probes


class Walk(FuncEnv):
    """Walks by its action; ends beyond 3. State: where it is, where it began, its noise.

    Its types are as careless as users' are: weak, mixed, with a key in the state.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def initial(self, rng: jax.Array, params: Any = None) -> Any:
        start = jax.random.randint(rng, (), 0, 1000) / 1000
        return {"at": start, "start": start, "key": jax.random.fold_in(rng, 1), "lives": 1}

    def transition(self, state: Any, action: Any, rng: jax.Array, params: Any = None) -> Any:
        return state | {"at": state["at"] + action[0], "lives": state["lives"] * 1.0}

    def observation(self, state: Any, rng: jax.Array, params: Any = None) -> Any:
        return jnp.stack([state["at"], state["start"]])

    def reward(
        self, state: Any, action: Any, next_state: Any, rng: jax.Array, params: Any = None
    ) -> Any:
        return next_state["at"] - state["at"]

    def terminal(self, state: Any, rng: jax.Array, params: Any = None) -> Any:
        return state["at"] > 3


class Levels(FuncEnv):
    """Discrete observations from 5, discrete actions from 1: the action is the next level."""

    observation_space = spaces.Discrete(4, start=5)
    action_space = spaces.Discrete(3, start=1)

    def initial(self, rng: jax.Array, params: Any = None) -> Any:
        return jnp.int32(0)

    def transition(self, state: Any, action: Any, rng: Any, params: Any = None) -> Any:
        return action

    def observation(self, state: Any, rng: Any, params: Any = None) -> Any:
        return state + 5

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return action

    def terminal(self, state: Any, rng: Any, params: Any = None) -> Any:
        return False


def rollout(task: GraphTask, key: jax.Array, actions: Any) -> tuple[jax.Array, Timestep]:
    """First observation [B, ...] and timesteps [T, B] of actions [T, B, ...]."""

    def run(key: jax.Array) -> tuple[jax.Array, Timestep]:
        state, observation = task.init(key)
        _, timesteps = jax.lax.scan(task.step, state, actions)
        return observation, timesteps

    return jax.jit(run)(key)


def test_a_step_after_an_end_belongs_to_the_new_episode():
    task = graph_task(Walk(), 3, max_episode_steps=50)
    first, steps = rollout(task, jax.random.key(0), jnp.full((12, 3, 1), 0.9))
    before = jnp.concatenate([first[None], steps.observation[:-1]])
    end = np.asarray(steps.episode_end)
    # The reward is the way walked, so every row shows which episode it belongs to.
    np.testing.assert_allclose(steps.reward, 0.9, rtol=1e-5)
    np.testing.assert_allclose(steps.next_observation[..., 0], before[..., 0] + 0.9, rtol=1e-5)
    np.testing.assert_array_equal(steps.next_observation[..., 1], before[..., 1])
    # An end: the old episode's final observation, and a new start.
    assert np.all(end.sum(axis=0) >= 2)
    np.testing.assert_array_equal(end, steps.next_observation[..., 0] > 3)
    np.testing.assert_array_equal(steps.observation[end][:, 0], steps.observation[end][:, 1])
    assert np.all(steps.observation[end] != steps.next_observation[end])
    np.testing.assert_array_equal(steps.observation[~end], steps.next_observation[~end])
    np.testing.assert_array_equal(steps.discount, 1.0 - end)
    assert not np.any(steps.truncated)
    # Statistics count up to the end and begin anew.
    length = np.zeros(3)
    for t in range(len(end)):
        length += 1
        np.testing.assert_array_equal(steps.episode_length[t], length)
        np.testing.assert_allclose(steps.episode_return[t], 0.9 * length, rtol=1e-5)
        length[end[t]] = 0


def test_new_episodes_have_new_starts():
    task = graph_task(Walk(), 8, max_episode_steps=2)
    first, steps = rollout(task, jax.random.key(0), jnp.zeros((10, 8, 1)))
    starts = np.concatenate([first[None], steps.observation[1::2]])[..., 1]
    assert len(np.unique(starts)) > 40  # of 48, drawn from 1000


def test_truncation_is_no_termination():
    task = graph_task(Walk(), 2, max_episode_steps=4)
    _, steps = rollout(task, jax.random.key(0), jnp.zeros((9, 2, 1)))
    at_limit = np.arange(9) % 4 == 3
    for field in (steps.truncated, steps.episode_end):
        np.testing.assert_array_equal(field, np.stack([at_limit, at_limit], axis=1))
    np.testing.assert_array_equal(steps.discount, 1.0)


def test_termination_at_the_time_limit_is_termination():
    _, steps = rollout(
        probes.probe_task(probes.TERMINATED, 1), jax.random.key(0), jnp.zeros((10, 1), jnp.int32)
    )
    ends = np.arange(10) % 5 == 4
    np.testing.assert_array_equal(steps.episode_end[:, 0], ends)
    np.testing.assert_array_equal(steps.discount[:, 0], 1.0 - ends)
    assert not np.any(steps.truncated)


def test_without_a_limit_episodes_go_on():
    task = graph_task(Walk(), 1)
    _, steps = rollout(task, jax.random.key(0), jnp.zeros((200, 1, 1)))
    assert not np.any(steps.episode_end) and steps.episode_length[-1, 0] == 200


def test_actions_are_clipped_to_their_bounds():
    task = graph_task(Walk(), 2)
    _, steps = rollout(task, jax.random.key(0), jnp.array([[[0.5], [7.0]], [[-7.0], [0.5]]]))
    np.testing.assert_allclose(steps.reward, [[0.5, 1.0], [-1.0, 0.5]], rtol=1e-5)


def test_discrete_values_count_from_zero():
    task = graph_task(Levels(), 3)
    assert task.spec.action_space == spaces.Discrete(3, dtype=np.int32)
    assert task.spec.observation_space == spaces.Discrete(4, dtype=np.int32)
    first, steps = rollout(task, jax.random.key(0), jnp.array([[0, 1, 2]]))
    assert first.tolist() == [0, 0, 0] and first.dtype == jnp.int32
    assert steps.reward.tolist() == [[1, 2, 3]]
    assert steps.observation.tolist() == [[1, 2, 3]]


def test_equal_keys_give_equal_numbers_and_others_do_not():
    task = graph_task(CartPole(), 4, max_episode_steps=500)
    actions = jax.random.randint(jax.random.key(9), (60, 4), 0, 2)
    run = jax.jit(lambda key: rollout(task, key, actions))
    one, again, other = (run(jax.random.key(seed)) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert not np.any(one[0] == other[0])
    assert np.any(one[1].observation != other[1].observation)
    assert len(np.unique(one[0])) == one[0].size  # and no two environments are alike


def test_vmap_over_seeds_equals_single_runs():
    task = graph_task(CartPole(), 4, max_episode_steps=20)
    actions = jax.random.randint(jax.random.key(9), (60, 4), 0, 2)
    keys = jax.random.split(jax.random.key(3), 3)
    together = jax.jit(jax.vmap(lambda key: rollout(task, key, actions)))(keys)
    single = jax.jit(lambda key: rollout(task, key, actions))
    for i, key in enumerate(keys):
        row = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), row, single(key))


@pytest.mark.parametrize("env", [CartPole, Walk, Levels, lambda: probes.Clock(False)])
def test_types_and_shapes_stay_and_nothing_recompiles(env):
    task = graph_task(env(), 3, max_episode_steps=2)
    action = jnp.zeros((3, *task.spec.action_space.shape), task.spec.action_space.dtype)
    step = jax.jit(task.step)
    state, observation = jax.jit(task.init)(jax.random.key(0))
    for _ in range(4):
        state, timestep = step(state, action)
    assert step._cache_size() == 1
    space = task.spec.observation_space
    for array in (observation, timestep.observation, timestep.next_observation):
        assert (array.shape, array.dtype) == ((3, *space.shape), space.dtype)
    kinds = {"reward": "f4", "discount": "f4", "truncated": "?", "episode_end": "?"}
    for name, kind in (kinds | {"episode_return": "f4", "episode_length": "i4"}).items():
        array = getattr(timestep, name)
        assert (array.shape, array.dtype) == ((3,), np.dtype(kind)), name


def test_raw_keys_work_as_well():
    task = graph_task(CartPole(), 2)
    _, observation = task.init(jax.random.PRNGKey(5))
    np.testing.assert_array_equal(observation, task.init(jax.random.key(5))[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_envs": 0}, ("num_envs", "0", "at least 1")),
        ({"num_envs": 2.0}, ("num_envs", "2.0", "at least 1")),
        ({"max_episode_steps": 0}, ("max_episode_steps", "0", "at least 1")),
    ],
)
def test_bad_numbers(change, words):
    with pytest.raises(ConfigError) as error:
        graph_task(CartPole(), **({"num_envs": 1} | change))
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def returns_to_go(steps: Timestep, bootstrap: np.ndarray, gamma: float) -> np.ndarray:
    """Discounted returns [T, B], with `bootstrap` [T, B] where the time limit cut."""
    returns, following = np.zeros(steps.reward.shape), np.zeros(steps.reward.shape[1])
    for t in reversed(range(len(returns))):
        tail = np.where(steps.truncated[t], bootstrap[t], following)
        following = returns[t] = steps.reward[t] + gamma * steps.discount[t] * tail
    return returns


@pytest.mark.parametrize("probe", probes.PROBES, ids=lambda probe: probe.name)
def test_probe_values_are_the_returns_of_the_best_policy(probe):
    """Each return from an observation on equals the value that the probe states for it."""
    gamma, num_envs, num_steps = 0.9, 8, 20
    task = probes.probe_task(probe, num_envs)
    values = probe.values(gamma)
    observations = jnp.asarray(probe.observations)

    def row_of(observation: jax.Array) -> jax.Array:  # [B, D] -> [B]
        return jnp.argmin(jnp.abs(observation[:, None] - observations).sum(-1), -1)

    def step(carry: tuple, _: None) -> tuple:
        state, observation = carry
        row = row_of(observation)
        best = jnp.zeros(num_envs, jnp.int32) if probe.actions is None else probe.actions[row]
        state, timestep = task.step(state, best)
        after = row_of(timestep.next_observation)
        return (state, timestep.observation), (observation, row, after, timestep)

    start = jax.jit(task.init)(jax.random.key(0))
    if probe.actions is not None:
        probe = probe._replace(actions=jnp.asarray(probe.actions))
    run = jax.jit(lambda carry: jax.lax.scan(step, carry, None, length=num_steps)[1])
    seen, row, after, steps = jax.tree.map(np.asarray, run(start))
    np.testing.assert_array_equal(seen, observations[row])
    assert set(np.unique(row)) == set(range(len(values)))
    assert steps.episode_end[-1].all()  # so that no return is cut by the end of the rollout
    returns = returns_to_go(steps, values[after], gamma)
    np.testing.assert_allclose(returns, values[row], rtol=1e-5)
