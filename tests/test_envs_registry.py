"""Names of environments: resolving, choosing a backend, and errors of one line."""

from __future__ import annotations

import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from selftuning.configs.errors import ConfigError
from selftuning.envs import registry
from selftuning.envs.task import GraphTask, HostTask


class Still(gym.Env):
    """Nothing moves, and nothing can be drawn."""

    observation_space = spaces.Box(-1.0, 1.0, (2,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, {}


def needs_box2d() -> gym.Env:
    raise gym.error.DependencyNotInstalled(
        'Box2D is not installed,\nrun `pip install "gymnasium[box2d]"`'
    )


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """Registrations of a test end with it."""
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    monkeypatch.setattr(gym, "registry", gym.envs.registration.registry)


def message_of(function, *args) -> str:
    with pytest.raises(ConfigError) as error:
        function(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "env_id"),
    [
        ("CartPole", "CartPole-v1"),
        ("CartPole-v1", "CartPole-v1"),
        ("CartPole-v0", "CartPole-v0"),
        ("phys2d/CartPole", "phys2d/CartPole-v1"),
        ("gymnasium:CartPole", "gymnasium:CartPole-v1"),
    ],
)
def test_resolve(name, env_id):
    assert registry.resolve(name) == env_id
    assert registry.resolve(env_id) == env_id


def test_resolve_takes_the_newest_version_by_number():
    for version in (2, 10, 9):
        gym.register(f"Mine/Still-v{version}", Still)
    assert registry.resolve("Mine/Still") == "Mine/Still-v10"


def test_resolve_imports_a_module_that_registers(tmp_path, monkeypatch):
    source = "import gymnasium\ngymnasium.register('FromModule-v3', 'os:path')\n"
    (tmp_path / "module_with_env.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.resolve("module_with_env:FromModule") == "module_with_env:FromModule-v3"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CartPoel", ("'CartPoel'", "closest: CartPole-v1")),
        ("cartpole-v1", ("'cartpole-v1'", "closest: CartPole-v1")),
        ("CartPole-v7", ("'CartPole-v7'", "versions: CartPole-v1, CartPole-v0")),
        ("Zzzzzz", ("'Zzzzzz'", "pprint_registry")),
        ("", ("''", "allowed")),
        ("no spaces", ("'no spaces'", "allowed")),
        ("no_such_module:Env-v0", ("no module no_such_module is found",)),
        ("../path:Env-v0", ("'../path'", "the name of a module")),
    ],
)
def test_unknown_names(name, words):
    message = message_of(registry.resolve, name)
    assert message.startswith("env: ")
    assert all(word in message for word in words), message


def test_atari_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    for env_id in [env_id for env_id in gym.registry if env_id.startswith("ALE/")]:
        del gym.registry[env_id]
    assert "selftuning[atari]" in message_of(registry.resolve, "ALE/Pong-v5")


def test_missing_packages_are_named():
    gym.register("Heavy-v0", needs_box2d)
    gym.register("Lost-v0", "no_such_module:Env")
    for call in (lambda name: registry.make(name, 1), registry.make_render_env):
        assert "gymnasium[box2d]" in message_of(call, "Heavy")
        assert "no_such_module" in message_of(call, "Lost")


@pytest.mark.parametrize(
    ("env_id", "backend", "kind"),
    [
        ("CartPole", "auto", GraphTask),
        ("CartPole-v1", "jax", GraphTask),
        ("CartPole-v1", "host", HostTask),
        ("CartPole-v0", "auto", HostTask),
        ("gymnasium:Acrobot", "auto", GraphTask),
        ("gymnasium:MountainCar", "auto", GraphTask),
        ("Pendulum", "auto", HostTask),
        ("TwoColors", "auto", GraphTask),
        ("TwoColors-v0", "host", HostTask),
    ],
)
def test_backends(env_id, backend, kind):
    task = registry.make(env_id, 2, backend)
    assert isinstance(task, kind) and task.num_envs == 2
    assert task.spec.backend == ("jax" if kind is GraphTask else "host")
    assert f"gymnasium:{task.spec.env_id}".endswith(registry.resolve(env_id))


def test_a_twin_stands_only_for_what_it_equals():
    del gym.registry["CartPole-v1"]
    gym.register("CartPole-v1", Still, max_episode_steps=500)
    assert isinstance(registry.make("CartPole-v1", 1), HostTask)
    assert "jax" in message_of(registry.make, "CartPole-v1", 1, "jax")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("CartPole", 0), ("num_envs", "0", "at least 1")),
        (("CartPole", -3, "host"), ("num_envs", "-3", "at least 1")),
        (("CartPole", 1, "gpu"), ("backend", "'gpu'", "auto | jax | host")),
        (("Pendulum", 1, "jax"), ("backend", "'jax'", "Pendulum-v1", "'host'", "CartPole-v1")),
    ],
)
def test_bad_arguments(args, words):
    message = message_of(registry.make, *args)
    assert all(word in message for word in words), message


def test_render_env(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        env = registry.make_render_env("CartPole")
    assert env.spec.id == "CartPole-v1"
    assert env.action_space == registry.make("CartPole", 1).spec.action_space
    observation, _ = env.reset(seed=1)
    assert observation.dtype == np.float32
    env.step(np.int32(1))
    image = env.render()
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    env.close()
    assert capfd.readouterr().out == ""


def test_render_env_of_what_cannot_be_drawn():
    gym.register("Still-v0", Still)
    assert "'Still-v0' cannot be drawn" in message_of(registry.make_render_env, "Still")


def test_render_env_without_the_package_for_drawing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    assert "gymnasium[classic-control]" in message_of(registry.make_render_env, "CartPole").replace(
        "classic_control", "classic-control"
    )


def test_an_environment_that_was_given_as_an_object_is_not_made_from_its_name():
    with pytest.raises(ConfigError, match=r"'given/Mine-v0' was given in Python, .* st.load gives"):
        registry.resolve("given/Mine-v0")
