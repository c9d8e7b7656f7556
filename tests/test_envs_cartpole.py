"""The in-graph CartPole against Gymnasium's CartPole-v1, step by step."""

from __future__ import annotations

from typing import NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.envs import registry
from selftuning.envs.cartpole import START_RANGE, THETA_LIMIT, X_LIMIT
from selftuning.envs.functional import GraphState
from selftuning.envs.task import GraphTask, Timestep

TOLERANCE = 1e-5
EPISODES = 1000


class Steps(NamedTuple):
    """Steps of Gymnasium's CartPole-v1, one row each."""

    episode: np.ndarray  # [N] int
    time: np.ndarray  # [N] int: steps of the episode before this one
    state: np.ndarray  # [N, 4] float64: before the step
    action: np.ndarray  # [N] int
    next_state: np.ndarray  # [N, 4] float64
    observation: np.ndarray  # [N, 4] float32: after the step
    reward: np.ndarray  # [N] float
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool


def graph_cartpole(num_envs: int) -> GraphTask:
    task = registry.make("CartPole-v1", num_envs, "jax")
    assert isinstance(task, GraphTask)
    return task


def gymnasium_steps(starts: np.ndarray, act) -> Steps:
    """Whole episodes of Gymnasium's environment from `starts` [E, 4], with its time limit."""
    env = gym.make("CartPole-v1")
    rows = []
    for episode, start in enumerate(starts):
        env.reset()
        env.unwrapped.state = start.astype(np.float64)
        time, ended, observation = 0, False, start
        while not ended:
            state, action = np.array(env.unwrapped.state), act(observation)
            observation, reward, terminated, truncated, _ = env.step(action)
            next_state = np.array(env.unwrapped.state)
            rows.append((episode, time, state, action, next_state, observation))
            rows[-1] += (reward, terminated, truncated)
            time, ended = time + 1, terminated or truncated
    return Steps(*(np.array(column) for column in zip(*rows, strict=True)))


def graph_steps(task: GraphTask, starts: np.ndarray, actions: np.ndarray) -> Timestep:
    """Timesteps [T, E] of the in-graph environment from `starts` with `actions` [T, E]."""
    state, _ = jax.jit(task.init)(jax.random.key(0))
    state = state._replace(env=jnp.asarray(starts))
    _, timesteps = jax.jit(lambda s, a: jax.lax.scan(task.step, s, a))(state, actions)
    return jax.tree.map(np.asarray, timesteps)


def actions_by_time(steps: Steps, episodes: int) -> np.ndarray:
    """Actions [T, E] of episodes of unequal length, filled up with zeros."""
    actions = np.zeros((steps.time.max() + 1, episodes), np.int32)
    actions[steps.time, steps.episode] = steps.action
    return actions


def distance_to_threshold(state: np.ndarray) -> np.ndarray:
    """How far each state [N, 4] is from where its termination would flip: [N]."""
    x_distance = np.abs(np.abs(state[:, 0]) - X_LIMIT)
    return np.minimum(x_distance, np.abs(np.abs(state[:, 2]) - THETA_LIMIT))


@pytest.fixture(scope="module")
def starts() -> np.ndarray:
    _, observation = graph_cartpole(EPISODES).init(jax.random.key(1))
    return np.asarray(observation)


@pytest.fixture(scope="module")
def random_steps(starts) -> Steps:
    rng = np.random.default_rng(2)
    return gymnasium_steps(starts, lambda observation: int(rng.integers(2)))


def test_each_step_from_the_same_state(random_steps):
    steps = random_steps
    task = graph_cartpole(len(steps.action))
    state, _ = jax.jit(task.init)(jax.random.key(0))
    state = state._replace(env=jnp.asarray(steps.state, jnp.float32))
    _, timestep = jax.jit(task.step)(state, jnp.asarray(steps.action))
    np.testing.assert_allclose(timestep.next_observation, steps.observation, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(timestep.reward, steps.reward)
    assert not steps.truncated.any() and not timestep.truncated.any()
    # float32 may fall on the other side of a threshold only if float64 is at it.
    flipped = (timestep.discount == 0) != steps.terminated
    assert np.all(distance_to_threshold(steps.next_state)[flipped] < TOLERANCE)
    assert flipped.sum() <= 2


def test_whole_random_episodes(starts, random_steps):
    """The same actions from the same start states, and never brought together again.

    The pole is unstable: it multiplies any difference by e in about 13 steps, so that
    float32's 1e-7 a step stays within the tolerance for 50 steps (all but the longest of
    random episodes) and can grow beyond it in the few that go on.
    """
    steps = random_steps
    task = graph_cartpole(EPISODES)
    graph = graph_steps(task, starts, actions_by_time(steps, EPISODES))
    at = (steps.time, steps.episode)
    flipped = (graph.discount[at] == 0) != steps.terminated
    assert np.all(distance_to_threshold(steps.next_state)[flipped] < TOLERANCE)
    assert flipped.sum() <= 2
    same = ~np.isin(steps.episode, steps.episode[flipped])
    error = np.abs(graph.next_observation[at] - steps.observation)[same].max(axis=-1)
    early = steps.time[same] < 50
    assert early.mean() > 0.98
    assert error[early].max() < TOLERANCE
    assert error.max() < 1e-3
    np.testing.assert_array_equal(graph.reward[at], steps.reward)
    np.testing.assert_array_equal(graph.episode_length[at][same], steps.time[same] + 1)
    np.testing.assert_array_equal(graph.episode_return[at][same], steps.time[same] + 1)
    assert not graph.truncated[at].any()


def balance(observation: np.ndarray) -> np.ndarray:
    """Actions [...] of a controller that keeps the pole up, from observations [..., 4]."""
    return observation @ np.array([0.1, 0.3, 3.0, 1.0], np.float32) > 0


def test_time_limit():
    """Episodes that a controller keeps up are truncated at step 500, here and there."""
    episodes = 10
    starts = np.random.default_rng(3).uniform(-0.05, 0.05, (episodes, 4)).astype(np.float32)
    steps = gymnasium_steps(starts, lambda observation: int(balance(observation)))
    ends = steps.time == 499
    assert ends.sum() == episodes and len(ends) == 500 * episodes
    np.testing.assert_array_equal(steps.truncated, ends)
    assert not steps.terminated.any()

    def by_time(column: np.ndarray) -> np.ndarray:  # [E * 500, ...] -> [500, E, ...]
        return column.reshape(episodes, 500, *column.shape[1:]).swapaxes(0, 1)

    # Each step from Gymnasium's state, while the task counts its own steps.
    task = graph_cartpole(episodes)

    def synchronised(state: GraphState, inputs: tuple) -> tuple[GraphState, Timestep]:
        return task.step(state._replace(env=inputs[0]), inputs[1])

    inputs = by_time(steps.state.astype(np.float32)), by_time(steps.action)
    init = jax.jit(task.init)(jax.random.key(0))[0]
    _, graph = jax.jit(lambda s, i: jax.lax.scan(synchronised, s, i))(init, inputs)
    np.testing.assert_array_equal(graph.truncated, by_time(ends))
    np.testing.assert_array_equal(graph.episode_end, by_time(ends))
    np.testing.assert_array_equal(graph.discount, 1.0)
    np.testing.assert_array_equal(graph.episode_return[-1], 500.0)
    np.testing.assert_allclose(
        graph.next_observation, by_time(steps.observation), rtol=0, atol=TOLERANCE
    )


def test_a_controller_reaches_the_time_limit_in_the_graph():
    task = graph_cartpole(10)

    def step(carry: tuple, _: None) -> tuple:
        state, observation = carry
        state, timestep = task.step(state, balance(observation).astype(jnp.int32))
        return (state, timestep.observation), timestep

    def run(key: jax.Array) -> Timestep:
        return jax.lax.scan(step, task.init(key), None, length=1000)[1]

    steps = jax.jit(run)(jax.random.key(5))
    ends = np.arange(1000) % 500 == 499
    np.testing.assert_array_equal(steps.truncated, ends[:, None] & np.ones(10, bool))
    np.testing.assert_array_equal(steps.episode_end, steps.truncated)
    np.testing.assert_array_equal(steps.episode_length[ends], 500)


def test_start_states_are_spread_as_in_gymnasium():
    task = graph_cartpole(20_000)
    state, observation = task.init(jax.random.key(4))
    assert isinstance(state, GraphState)
    np.testing.assert_array_equal(state.env, observation)
    assert START_RANGE == 0.05  # CartPoleEnv.reset draws from [-0.05, 0.05]
    assert np.all(np.abs(observation) <= START_RANGE)
    deciles = np.quantile(observation, np.linspace(0.1, 0.9, 9), axis=0)
    np.testing.assert_allclose(
        deciles, np.linspace(-0.04, 0.04, 9)[:, None] * np.ones(4), atol=2e-3
    )


def test_spec_equals_that_of_gymnasium():
    env, spec = gym.make("CartPole-v1"), graph_cartpole(1).spec
    assert spec.observation_space == env.observation_space
    assert spec.action_space.n == env.action_space.n
    assert spec.max_episode_steps == env.spec.max_episode_steps == 500
    assert spec.reward_threshold == env.spec.reward_threshold == 475.0
