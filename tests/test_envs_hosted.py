"""The environments of `envs` itself, behind Gymnasium's interface."""

from __future__ import annotations

import warnings

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from selftuning.configs.errors import ConfigError
from selftuning.envs import registry
from selftuning.envs.hosted import HostedEnv
from selftuning.envs.switching_mdp import SwitchingMDP
from selftuning.envs.task import GraphTask, HostTask
from selftuning.envs.two_colors import TwoColors

IDS = {"TwoColors-v0": TwoColors, "SwitchingMDP-v0": SwitchingMDP}
SETTINGS = {"switch_every": 7}


@pytest.fixture
def own_registry(monkeypatch):
    """Registrations of a test end with it."""
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    monkeypatch.setattr(gym, "registry", gym.envs.registration.registry)


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("settings", [{}, SETTINGS])
def test_gymnasium_finds_nothing_wrong(env_id, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(env_id, render_mode="rgb_array", **settings).unwrapped)


@pytest.mark.parametrize("env_id", IDS)
def test_each_step_equals_the_functional_one(env_id):
    env, functional = gym.make(env_id, **SETTINGS), IDS[env_id](**SETTINGS)
    hosted = env.unwrapped
    assert isinstance(hosted, HostedEnv) and env.spec.max_episode_steps is None
    observation, _ = env.reset(seed=3)
    start_key = jax.random.key(int(np.random.default_rng(3).integers(2**32, dtype=np.uint32)))
    step, observe, reward_of = map(
        jax.jit, (functional.transition, functional.observation, functional.reward)
    )
    key, start_key = jax.random.split(start_key)
    jax.tree.map(np.testing.assert_array_equal, hosted.state, functional.initial(start_key))
    actions = np.random.default_rng(0).integers(0, 4, 50)
    np.testing.assert_array_equal(observation, observe(hosted.state, None))
    for action in actions:
        before, (key, step_key) = hosted.state, jax.random.split(key)
        state = step(before, action, step_key)
        observation, reward, terminated, truncated, info = env.step(action)
        jax.tree.map(np.testing.assert_array_equal, hosted.state, state)
        np.testing.assert_array_equal(observation, observe(state, step_key))
        assert reward == reward_of(before, action, state, step_key)
        assert (terminated, truncated, info) == (False, False, {})
        assert observation.dtype == np.float32 and type(reward) is float
        assert env.observation_space.contains(observation)


@pytest.mark.parametrize("env_id", IDS)
def test_seeds(env_id):
    def run(seed: int | None) -> np.ndarray:
        observations = [env.reset(seed=seed)[0]]
        return np.stack(observations + [env.step(i % 4)[0] for i in range(40)])

    env = gym.make(env_id)
    unseeded, one, following, again, other = (run(seed) for seed in (None, 1, None, 1, 2))
    np.testing.assert_array_equal(one, again)
    for different in (unseeded, following, other):
        assert np.any(different != one)


def test_settings_reach_the_environment():
    env = gym.make("TwoColors-v0", step_reward=0.25, switch_every=3, respawn="all").unwrapped.env
    assert (env.step_reward, env.switch_every, env.respawn) == (0.25, 3, "all")
    env = gym.make("SwitchingMDP-v0", num_states=3, seed=4)
    assert env.observation_space.shape == (3,)
    np.testing.assert_array_equal(env.unwrapped.env.rewards, SwitchingMDP(3, seed=4).rewards)
    # What is compiled for one environment serves all with the same settings.
    same = [gym.make("TwoColors-v0", switch_every=3).unwrapped.env for _ in range(2)]
    assert same[0] is same[1]
    with pytest.raises(ConfigError, match="respawn"):
        gym.make("TwoColors-v0", respawn="none")


@pytest.mark.parametrize("env_id", IDS)
def test_tasks_of_both_backends(env_id):
    name = env_id.removesuffix("-v0")
    assert registry.resolve(name) == env_id
    graph, host = registry.make(name, 3), registry.make(name, 3, "host")
    assert isinstance(graph, GraphTask) and isinstance(host, HostTask)
    assert graph.spec == host.spec._replace(backend="jax")
    _, first = jax.jit(graph.init)(jax.random.key(0))
    observation = host.reset(0)
    assert observation.shape == first.shape and observation.dtype == first.dtype
    rewards = []
    for i in range(20):
        timestep = host.step(np.array([i % 4, 3 - i % 4, 0]))
        assert not timestep.episode_end.any() and np.all(timestep.discount == 1)
        rewards.append(timestep.reward)
    np.testing.assert_allclose(timestep.episode_return, np.sum(rewards, axis=0), rtol=1e-5)
    assert len(np.unique(timestep.observation, axis=0)) > 1  # seeds of their own
    np.testing.assert_array_equal(host.reset(0), observation)
    host.close()


def test_an_id_with_settings_of_its_own(own_registry):
    spec = {"kwargs": {"switch_every": 2, "step_reward": -1.0}, "max_episode_steps": 5}
    gym.register("Hasty-v0", "selftuning.envs.hosted:TwoColorsEnv", **spec)
    task = registry.make("Hasty", 2, "jax")
    assert isinstance(task, GraphTask) and task.spec.max_episode_steps == 5
    state, step = jax.jit(task.init)(jax.random.key(0))[0], jax.jit(task.step)
    for _ in range(4):
        state, timestep = step(state, jnp.zeros(2, jnp.int32))
        assert np.all(np.isin(timestep.reward, [-1.0, 1.0]))
    assert np.all(state.env.clock == 0)
    assert step(state, jnp.zeros(2, jnp.int32))[1].truncated.all()
    wrapper = gym.envs.registration.WrapperSpec("Any", "module:Any", {})
    gym.register(
        "Wrapped-v0", "selftuning.envs.hosted:TwoColorsEnv", additional_wrappers=(wrapper,)
    )
    with pytest.raises(ConfigError, match=r"'Wrapped-v0'.*TwoColors-v0, SwitchingMDP-v0"):
        registry.make("Wrapped", 1, "jax")


def test_picture_of_two_colors():
    env = registry.make_render_env("TwoColors")
    env.reset(seed=0)
    state = env.unwrapped.state
    image = env.render()
    assert image.shape == (321, 321, 3) and image.dtype == np.uint8

    def corner(cell: jax.Array, away: int = 12) -> tuple[int, ...]:
        row, column = divmod(int(cell), 5)
        return tuple(image[64 * row + away, 64 * column + 32].tolist())

    assert corner(state.first) == (31, 119, 180) and corner(state.second) == (255, 127, 14)
    assert corner(state.agent, 32) == (60, 60, 60)
    white = (255, 255, 255)  # the upper half of the plus, where a minus has none
    assert corner(state.first, 22) == white and corner(state.second, 22) == (255, 127, 14)
    env.unwrapped.state = state._replace(clock=jnp.int32(100_000))
    image = env.render()
    assert corner(state.first, 22) == (31, 119, 180) and corner(state.second, 22) == white
    assert gym.make("TwoColors-v0").unwrapped.render() is None


def test_picture_of_the_switching_mdp():
    env = registry.make_render_env("SwitchingMDP")
    env.reset(seed=0)
    for mdp in range(4):
        env.unwrapped.state = env.unwrapped.state._replace(mdp=jnp.int32(mdp))
        image = env.render()
        assert image.shape == (4 * 64 + 1, 10 * 64 + 1, 3)
        at = int(env.unwrapped.state.at)
        assert image[64 * mdp + 32, 64 * at + 32].tolist() == [60, 60, 60]
        # The strongest colors are those of the active row.
        saturation = np.ptp(image.astype(int), axis=-1).reshape(257, 641)
        rows = [saturation[64 * row + 1 : 64 * row + 64].mean() for row in range(4)]
        assert np.argmax(rows) == mdp
