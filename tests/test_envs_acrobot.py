"""The in-graph Acrobot against Gymnasium's Acrobot-v1, step by step."""

from __future__ import annotations

from typing import NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.envs import registry
from selftuning.envs.acrobot import START_RANGE
from selftuning.envs.functional import GraphState
from selftuning.envs.task import GraphTask, Timestep

TOLERANCE = 1e-5


class Steps(NamedTuple):
    """Steps of Gymnasium's Acrobot-v1, one row each."""

    state: np.ndarray  # [N, 4] float64: before the step
    action: np.ndarray  # [N] int
    next_state: np.ndarray  # [N, 4] float64
    observation: np.ndarray  # [N, 6] float32: after the step
    reward: np.ndarray  # [N] float
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool


def graph_acrobot(num_envs: int) -> GraphTask:
    task = registry.make("Acrobot-v1", num_envs, "jax")
    assert isinstance(task, GraphTask)
    return task


def gymnasium_steps(states: np.ndarray, actions: np.ndarray) -> Steps:
    """Single steps from states [N, 4] with actions [N]."""
    env = gym.make("Acrobot-v1").unwrapped
    env.reset()
    rows = []
    for state, action in zip(states.astype(np.float64), actions, strict=True):
        env.state = state.copy()
        observation, reward, terminated, truncated, _ = env.step(action)
        rows.append((state, action, env.state, observation, reward, terminated, truncated))
    return Steps(*(np.array(column) for column in zip(*rows, strict=True)))


def graph_step(steps: Steps) -> Timestep:
    """The same single steps in the graph."""
    task = graph_acrobot(len(steps.action))
    state, _ = jax.jit(task.init)(jax.random.key(0))
    state = state._replace(env=jnp.asarray(steps.state, jnp.float32))
    return jax.tree.map(np.asarray, jax.jit(task.step)(state, jnp.asarray(steps.action))[1])


def height(state: np.ndarray) -> np.ndarray:
    """How far the end of the links [...] of states [..., 4] is above where the episode ends."""
    return -np.cos(state[..., 0]) - np.cos(state[..., 0] + state[..., 1]) - 1.0


def assert_equal(graph: Timestep, steps: Steps) -> None:
    np.testing.assert_allclose(graph.next_observation, steps.observation, rtol=0, atol=TOLERANCE)
    # float32 may fall on the other side of a threshold only if float64 is at it.
    flipped = (graph.discount == 0) != steps.terminated
    assert np.all(np.abs(height(steps.next_state)[flipped]) < TOLERANCE)
    assert flipped.sum() <= 1
    np.testing.assert_array_equal(graph.reward[~flipped], steps.reward[~flipped])
    np.testing.assert_array_equal(graph.reward, np.where(graph.discount == 0, 0.0, -1.0))


def test_steps_from_random_states():
    """Up to velocities that episodes reach; all angles, so that they are wrapped as well."""
    rng = np.random.default_rng(0)
    speeds = [2 * np.pi, 3 * np.pi]
    states = rng.uniform(-1, 1, (3000, 4)) * np.array([np.pi, np.pi, *speeds])
    steps = gymnasium_steps(states.astype(np.float32), rng.integers(0, 3, 3000))
    assert_equal(graph_step(steps), steps)
    assert 100 < steps.terminated.sum() < 2900
    turned = np.abs(steps.next_state - steps.state)[:, :2] > np.pi  # across the seam
    assert np.all(turned.sum(axis=0) > 50)


def test_steps_at_the_bounds_of_the_velocities():
    """The integration itself is at its end there: it multiplies rounding by up to 1e5."""
    rng = np.random.default_rng(1)
    states = rng.uniform(-1, 1, (3000, 4)) * np.array([np.pi, np.pi, 4 * np.pi, 9 * np.pi])
    steps = gymnasium_steps(states.astype(np.float32), rng.integers(0, 3, 3000))
    graph = graph_step(steps)
    error = np.abs(graph.next_observation - steps.observation).max(axis=-1)
    assert np.median(error) < 1e-6 and np.mean(error < 1e-4) > 0.99 and error.max() < 1e-2
    high = np.array([4 * np.pi, 9 * np.pi], np.float32)
    bounded = np.abs(steps.observation[:, 4:]) == high
    assert np.all(bounded.sum(axis=0) > 100)
    assert np.mean(np.abs(graph.next_observation[:, 4:]) == high, where=bounded) > 0.99
    assert np.all(np.abs(graph.next_observation[:, 4:]) <= high)


def push(observation: np.ndarray, rng: np.random.Generator) -> int:
    """Pushes the way that the second link turns, at times another one."""
    return int(rng.integers(3)) if rng.random() < 0.3 else 2 * int(observation[5] > 0)


@pytest.fixture(scope="module")
def episodes() -> list[Steps]:
    """Whole episodes of Gymnasium's environment, its time limit included: [T, ...] each."""
    env, rng = gym.make("Acrobot-v1"), np.random.default_rng(3)
    episodes = []
    for episode in range(12):
        observation, _ = env.reset(seed=episode)
        rows, ended = [], False
        while not ended:
            state = np.array(env.unwrapped.state, np.float64)
            # In the first four nothing is done, so that they last to the limit.
            action = 1 if episode < 4 else push(observation, rng)
            observation, reward, terminated, truncated, _ = env.step(action)
            next_state = np.array(env.unwrapped.state)
            row = (state, action, next_state, observation, reward, terminated, truncated)
            rows.append(row)
            ended = terminated or truncated
        episodes.append(Steps(*(np.array(column) for column in zip(*rows, strict=True))))
    return episodes


def test_whole_episodes(episodes):
    """Each step from Gymnasium's state, while the task counts and ends episodes itself."""
    lengths = np.array([len(steps.action) for steps in episodes])
    assert np.all(lengths[:4] == 500) and np.all(lengths[4:] < 500)
    assert [bool(steps.truncated[-1]) for steps in episodes] == [True] * 4 + [False] * 8

    def filled(column: str) -> np.ndarray:  # [T, E, ...], each episode's last row repeated
        rows = [getattr(steps, column) for steps in episodes]
        return np.stack([row[np.minimum(np.arange(500), len(row) - 1)] for row in rows], axis=1)

    task = graph_acrobot(len(episodes))

    def synchronised(state: GraphState, inputs: tuple) -> tuple[GraphState, Timestep]:
        return task.step(state._replace(env=inputs[0]), inputs[1])

    inputs = filled("state").astype(np.float32), filled("action")
    init = jax.jit(task.init)(jax.random.key(0))[0]
    _, graph = jax.jit(lambda s, i: jax.lax.scan(synchronised, s, i))(init, inputs)
    for e, steps in enumerate(episodes):
        own = jax.tree.map(lambda leaf, e=e: np.asarray(leaf)[: lengths[e], e], graph)
        assert_equal(own, steps)
        np.testing.assert_array_equal(own.truncated, steps.truncated)
        np.testing.assert_array_equal(own.episode_end, steps.terminated | steps.truncated)
        assert own.episode_end[-1] and own.episode_length[-1] == lengths[e]
        assert own.episode_return[-1] == steps.reward.sum()


def test_trajectories_stay_together_for_a_while(episodes):
    """Never brought together again: 60 steps agree; later ones need not, for it is chaotic."""
    steps = [jax.tree.map(lambda leaf: leaf[:60], episode) for episode in episodes]
    task = graph_acrobot(len(steps))
    state, _ = jax.jit(task.init)(jax.random.key(0))
    starts = jnp.asarray(np.stack([s.state[0] for s in steps]), jnp.float32)
    actions = jnp.asarray(np.stack([s.action for s in steps], axis=1))
    run = jax.jit(lambda s, a: jax.lax.scan(task.step, s, a)[1])
    graph = run(state._replace(env=starts), actions)
    observations = np.stack([s.observation for s in steps], axis=1)
    np.testing.assert_allclose(graph.next_observation, observations, rtol=0, atol=1e-3)


def test_start_states_are_spread_as_in_gymnasium():
    state, observation = graph_acrobot(20_000).init(jax.random.key(4))
    assert START_RANGE == 0.1  # AcrobotEnv.reset draws from [-0.1, 0.1]
    assert np.all(np.abs(state.env) <= START_RANGE)
    deciles = np.quantile(state.env, np.linspace(0.1, 0.9, 9), axis=0)
    np.testing.assert_allclose(
        deciles, np.linspace(-0.08, 0.08, 9)[:, None] * np.ones(4), atol=4e-3
    )
    angles = np.asarray(state.env[:, :2])
    expected = np.stack([np.cos(angles), np.sin(angles)], axis=-1).reshape(-1, 4)
    np.testing.assert_allclose(observation[:, :4], expected, atol=1e-6)
    np.testing.assert_array_equal(observation[:, 4:], state.env[:, 2:])


def test_spec_equals_that_of_gymnasium():
    env, spec = gym.make("Acrobot-v1"), graph_acrobot(1).spec
    assert spec.observation_space == env.observation_space
    assert spec.action_space.n == env.action_space.n
    assert spec.max_episode_steps == env.spec.max_episode_steps == 500
    assert spec.reward_threshold == env.spec.reward_threshold == -100.0
