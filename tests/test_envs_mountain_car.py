"""The in-graph MountainCar against Gymnasium's MountainCar-v0, step by step."""

from __future__ import annotations

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from selftuning.envs import registry
from selftuning.envs.functional import GraphState
from selftuning.envs.mountain_car import GOAL, LEFT_END, SPEED_LIMIT, START_RANGE
from selftuning.envs.task import GraphTask, Timestep

TOLERANCE = 1e-6


def graph_mountain_car(num_envs: int) -> GraphTask:
    task = registry.make("MountainCar-v0", num_envs, "jax")
    assert isinstance(task, GraphTask)
    return task


def single_steps(states: np.ndarray, actions: np.ndarray) -> tuple[Timestep, tuple]:
    """From states [N, 2], in the graph and by Gymnasium (observation, reward, terminated)."""
    task = graph_mountain_car(len(actions))
    state, _ = jax.jit(task.init)(jax.random.key(0))
    state = state._replace(env=jnp.asarray(states, jnp.float32))
    graph = jax.tree.map(np.asarray, jax.jit(task.step)(state, jnp.asarray(actions))[1])
    env = gym.make("MountainCar-v0").unwrapped
    env.reset()
    rows = []
    for each, action in zip(states.astype(np.float64), actions, strict=True):
        env.state = tuple(each)
        rows.append(env.step(int(action))[:3])
    return graph, tuple(np.array(column) for column in zip(*rows, strict=True))


def test_steps_from_random_states():
    """All positions and velocities; a fifth of them near the wall, and a fifth near the flag."""
    rng = np.random.default_rng(0)
    low, high = np.array([LEFT_END, -SPEED_LIMIT]), np.array([0.6, SPEED_LIMIT])
    states = rng.uniform(low, high, (5000, 2))
    states[:1000, 0] = rng.uniform(LEFT_END, LEFT_END + 0.05, 1000)
    states[1000:2000, 0] = rng.uniform(GOAL - 0.05, GOAL + 0.01, 1000)
    states[:50] = (LEFT_END, 0.0)  # stopped by it before
    states = states.astype(np.float32)
    graph, (observation, reward, terminated) = single_steps(states, rng.integers(0, 3, 5000))
    # float32 may fall on the other side of a threshold only if float64 is at it.
    away = np.abs(observation[:, 0] - GOAL) > TOLERANCE
    away &= np.abs(observation[:, 1]) > TOLERANCE
    np.testing.assert_array_equal((graph.discount == 0)[away], terminated[away])
    np.testing.assert_allclose(graph.next_observation, observation, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(graph.reward, reward)
    stopped = (observation[:, 0] == np.float32(LEFT_END)) & (observation[:, 1] == 0)
    assert stopped.sum() > 100 and 100 < terminated.sum() < 2000
    assert np.all(graph.next_observation[stopped, 1] == 0)
    assert np.sum(np.abs(observation[:, 1]) == np.float32(SPEED_LIMIT)) > 10


def with_the_motion(observation: np.ndarray) -> np.ndarray:
    """Actions [...] of the controller that reaches the flag: push the way that the car rolls."""
    return np.where(observation[..., 1] >= 0, 2, 0)


def test_whole_episodes():
    """The same start states, and never brought together again; the task ends episodes itself."""
    rng, episodes = np.random.default_rng(1), 8
    task = graph_mountain_car(episodes)
    state, _ = jax.jit(task.init)(jax.random.key(2))
    starts = np.asarray(state.env)
    env = gym.make("MountainCar-v0")
    actions = np.ones((200, episodes), np.int32)
    seen = np.zeros((200, episodes, 2), np.float32)
    lengths, truncations = [], []
    for e in range(episodes):
        observation, _ = env.reset(seed=e)
        env.unwrapped.state = tuple(starts[e].astype(np.float64))
        observation, ended, time = starts[e], False, 0
        while not ended:
            # In the first half actions are drawn, so that they last to the limit.
            action = int(rng.integers(3)) if e < 4 else int(with_the_motion(observation))
            observation, _, terminated, truncated, _ = env.step(action)
            actions[time, e], seen[time, e] = action, observation
            ended, time = terminated or truncated, time + 1
        lengths.append(time)
        truncations.append(truncated)
    assert lengths[:4] == [200] * 4 and all(length < 200 for length in lengths[4:])
    assert truncations == [True] * 4 + [False] * 4
    graph = jax.jit(lambda s, a: jax.lax.scan(task.step, s, a)[1])(state, jnp.asarray(actions))
    for e, length in enumerate(lengths):
        own = jax.tree.map(lambda leaf, e=e, n=length: np.asarray(leaf)[:n, e], graph)
        np.testing.assert_allclose(own.next_observation, seen[:length, e], rtol=0, atol=1e-4)
        np.testing.assert_array_equal(own.episode_end, np.arange(length) == length - 1)
        assert bool(own.truncated[-1]) == truncations[e]
        assert own.episode_return[-1] == -length


def test_start_states_are_spread_as_in_gymnasium():
    state, observation = graph_mountain_car(20_000).init(jax.random.key(4))
    assert isinstance(state, GraphState)
    np.testing.assert_array_equal(state.env, observation)
    assert START_RANGE == (-0.6, -0.4)  # MountainCarEnv.reset
    positions = np.asarray(observation[:, 0])
    assert np.all((positions >= -0.6) & (positions <= -0.4)) and np.all(observation[:, 1] == 0)
    deciles = np.quantile(positions, np.linspace(0.1, 0.9, 9))
    np.testing.assert_allclose(deciles, np.linspace(-0.58, -0.42, 9), atol=4e-3)


def test_spec_equals_that_of_gymnasium():
    env, spec = gym.make("MountainCar-v0"), graph_mountain_car(1).spec
    assert spec.observation_space == env.observation_space
    assert spec.action_space.n == env.action_space.n
    assert spec.max_episode_steps == env.spec.max_episode_steps == 200
    assert spec.reward_threshold == env.spec.reward_threshold == -110.0
