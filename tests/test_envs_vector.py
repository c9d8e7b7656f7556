"""Tasks on the host: `gymnasium.vector` with same-step auto-reset."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from selftuning.configs.errors import ConfigError
from selftuning.envs import registry
from selftuning.envs.task import HostTask
from selftuning.envs.vector import host_task


class Counting(gym.Env):
    """Observes [episode, step of it]; ends after `length` steps. The reward is the action.

    It writes every observation into one array, as environments do that save copies.
    """

    def __init__(self, length: int = 3, action_space: gym.Space | None = None):
        self.observation_space = spaces.Box(0, np.inf, (2,), np.float32)
        self.action_space = action_space or spaces.Discrete(3, start=1)
        self.length = length
        self.at = np.zeros(2, np.float32)

    def reset(self, *, seed=None, options=None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.at[:] = self.at[0] + 1, 0
        return self.at, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        self.at[1] += 1
        return self.at, float(np.sum(action)), bool(self.at[1] == self.length), False, {}


class Showing(gym.Env):
    """Shows a constant `shown` of `space`; one step to an episode."""

    def __init__(self, space: gym.Space, shown: Any):
        self.observation_space, self.shown = space, shown
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return self.shown, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        return self.shown, 0.0, True, False, {}


class Sampling(Showing):
    """Draws its observations from its own space, not from `np_random`."""

    def reset(self, *, seed=None, options=None) -> tuple[Any, dict]:
        return self.observation_space.sample(), {}


@pytest.fixture
def register(monkeypatch):
    """Registers environments for one test; returns the id."""
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    monkeypatch.setattr(gym, "registry", gym.envs.registration.registry)

    def add(entry_point, **kwargs) -> str:
        gym.register("Mine-v0", entry_point, disable_env_checker=True, **kwargs)
        return "Mine-v0"

    return add


def test_same_step_autoreset_with_the_true_final_observation(register):
    task = host_task(register(Counting), 2)
    np.testing.assert_array_equal(task.reset(0), [[1, 0], [1, 0]])
    steps = [task.step(np.array([0, 2])) for _ in range(7)]
    seen = [step.observation[0].tolist() for step in steps]
    successors = [step.next_observation[0].tolist() for step in steps]
    assert seen == [[1, 1], [1, 2], [2, 0], [2, 1], [2, 2], [3, 0], [3, 1]]
    assert successors == [[1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3], [3, 1]]
    assert [step.discount[0] for step in steps] == [1, 1, 0, 1, 1, 0, 1]
    assert [bool(step.episode_end[1]) for step in steps] == [0, 0, 1, 0, 0, 1, 0]
    assert not any(step.truncated.any() for step in steps)
    # Actions count from 0, the environment's from 1; no step of the vector is without reward.
    np.testing.assert_array_equal([step.reward for step in steps], [[1, 3]] * 7)
    assert [step.episode_length[1] for step in steps] == [1, 2, 3, 1, 2, 3, 1]
    assert [step.episode_return[1] for step in steps] == [3, 6, 9, 3, 6, 9, 3]


def test_environments_end_on_their_own(register):
    lengths = iter((2, 3))
    task = host_task(register(lambda: Counting(next(lengths))), 2)
    task.reset(0)
    ends = [task.step(np.zeros(2, np.int32)).episode_end.tolist() for _ in range(6)]
    assert [row[0] for row in ends] == [0, 1, 0, 1, 0, 1]
    assert [row[1] for row in ends] == [0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(("length", "terminates"), [(100, False), (4, True)])
def test_truncation_only_where_nothing_terminates(register, length, terminates):
    env_id = register(Counting, kwargs={"length": length}, max_episode_steps=4)
    task = host_task(env_id, 1)
    task.reset(0)
    steps = [task.step(np.zeros(1, np.int32)) for _ in range(8)]
    assert [bool(step.episode_end[0]) for step in steps] == [0, 0, 0, 1] * 2
    assert [bool(step.truncated[0]) for step in steps] == [0, 0, 0, not terminates] * 2
    assert [step.discount[0] for step in steps] == [1, 1, 1, 0 if terminates else 1] * 2
    assert steps[3].next_observation.tolist() == [[1, 4]]
    assert task.spec.max_episode_steps == 4


def test_timesteps_keep_their_arrays(register):
    task = host_task(register(Counting), 1)
    task.reset(0)
    first = task.step(np.zeros(1, np.int32))
    copies = [np.copy(array) for array in first]
    for _ in range(5):
        task.step(np.zeros(1, np.int32))
    for array, copy in zip(first, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_reset_begins_anew(register):
    task = host_task(register(Counting), 1)
    task.reset(0)
    task.step(np.zeros(1, np.int32))
    np.testing.assert_array_equal(task.reset(0), [[2, 0]])
    step = task.step(np.zeros(1, np.int32))
    assert step.episode_length.tolist() == [1] and step.episode_return.tolist() == [1]


def test_box_actions_are_clipped(register):
    space = spaces.Box(np.array([-1.0, 0.0]), np.array([2.0, 0.1]), dtype=np.float64)
    task = host_task(register(Counting, kwargs={"action_space": space}), 3)
    assert task.spec.action_space.dtype == np.float32
    task.reset(0)
    actions = np.array([[9, 9], [-9, -9], [0.5, 0.05]], np.float32)
    np.testing.assert_allclose(task.step(actions).reward, [2.1, -1.0, 0.55], rtol=1e-6)


def trajectory(task: HostTask, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    observations = [task.reset(seed)]
    observations.extend(task.step(rng.integers(0, 2, task.num_envs)).observation for _ in range(80))
    return observations


def test_seeds():
    tasks = [host_task("CartPole-v1", 3) for _ in range(2)]
    one, same, again, other = (
        np.stack(trajectory(task, seed))
        for task, seed in ((tasks[0], 5), (tasks[1], 5), (tasks[0], 5), (tasks[1], 6))
    )
    np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(one, again)
    # Neighbouring seeds have no start in common, and neither have two environments.
    assert len(np.unique(np.concatenate([one[0, :, 0], other[0, :, 0]]))) == 6


def test_environments_that_sample_their_space_are_seeded(register):
    env_id = register(Sampling, kwargs={"space": spaces.Box(0.0, 1.0, (1,)), "shown": [0.0]})
    one, same, other = (np.stack(trajectory(host_task(env_id, 2), seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert np.all(one != other)


@pytest.mark.parametrize(
    ("space", "shown", "view", "seen"),
    [
        (spaces.Discrete(4, start=5), 7, spaces.Discrete(4, dtype=np.int32), 2),
        (
            spaces.MultiDiscrete([3, 4], start=[0, 10]),
            np.array([2, 11]),
            spaces.MultiDiscrete([3, 4], dtype=np.int32),
            [2, 1],
        ),
        (spaces.MultiBinary(3), np.array([0, 1, 1], np.int8), spaces.MultiBinary(3), [0, 1, 1]),
        (
            spaces.Box(0, 255, (2, 2, 1), np.uint8),
            np.full((2, 2, 1), 200, np.uint8),
            spaces.Box(0, 255, (2, 2, 1), np.uint8),
            [[[200], [200]], [[200], [200]]],
        ),
        (
            spaces.Box(-1e300, 1e300, (1,), np.float64),
            np.array([0.5]),
            spaces.Box(-np.inf, np.inf, (1,), np.float32),
            [0.5],
        ),
        (
            spaces.Box(0, 2**40, (1,), np.int64),
            np.array([3]),
            spaces.Box(0, 2**40, (1,), np.float32),
            [3],
        ),
        (
            spaces.Dict(
                {"a": spaces.Discrete(3), "b": spaces.Tuple([spaces.Box(-1.0, 1.0, (2,))])}
            ),
            {"a": 1, "b": (np.array([0.5, -0.5], np.float32),)},
            spaces.Box(np.float32([0, 0, 0, -1, -1]), np.float32(1), (5,), np.float32),
            [0, 1, 0, 0.5, -0.5],
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, gym.Space) else "",
)
def test_observation_spaces(register, space, shown, view, seen):
    task = host_task(register(Showing, kwargs={"space": space, "shown": shown}), 2)
    assert task.spec.observation_space == view
    first, step = task.reset(0), task.step(np.zeros(2, np.int32))
    for array in (first, step.observation, step.next_observation):
        np.testing.assert_array_equal(array, [seen, seen])
        assert array.dtype == view.dtype


@pytest.mark.parametrize(
    ("space", "shown"),
    [
        (spaces.Text(3), "abc"),
        (spaces.Sequence(spaces.Discrete(2)), (0,)),
        (spaces.Dict({"a": spaces.Text(3)}), {"a": "abc"}),
    ],
)
def test_unsupported_observation_spaces(register, space, shown):
    with pytest.raises(ConfigError, match=r"env: 'Mine-v0' .*supported: Box, Discrete, M") as error:
        host_task(register(Showing, kwargs={"space": space, "shown": shown}), 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 2**20, (1,), np.int32),
        spaces.Tuple([spaces.Discrete(2)]),
    ],
)
def test_unsupported_action_spaces(register, space):
    with pytest.raises(
        ConfigError,
        match=r"'Mine-v0' .*supported: Discrete, M.* Box of floats or of a few whole numbers$",
    ) as error:
        host_task(register(Counting, kwargs={"action_space": space}), 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "FrozenLake-v1", "Pendulum-v1"])
def test_no_warnings_reach_the_user(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = registry.make(env_id, 2, "host")
        task.reset(0)
        space = task.spec.action_space
        for _ in range(210):
            task.step(np.zeros((2, *space.shape), space.dtype))
        task.close()


def test_timesteps_are_like_those_of_the_graph():
    import jax

    host, graph = (registry.make("CartPole-v1", 3, backend) for backend in ("host", "jax"))
    state, graph_first = graph.init(jax.random.key(0))
    host_first = host.reset(0)
    _, graph_step = graph.step(state, np.zeros(3, np.int32))
    host_step = host.step(np.zeros(3, np.int32))
    for a, b in zip((host_first, *host_step), (graph_first, *graph_step), strict=True):
        # Sums are of 64 bit where there are some.
        assert (a.shape, a.dtype.kind) == (b.shape, b.dtype.kind)
    assert host.spec._replace(backend="jax") == graph.spec
