"""In-graph environments of other libraries: one adaptor, pooled starts, a clock that goes on."""

import sys
import warnings
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

import selftuning as st
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import EnvSettings
from selftuning.envs import registry
from selftuning.envs.functional import graph_task
from selftuning.envs.hosted import HostedEnv
from selftuning.envs.task import GraphTask


class State(NamedTuple):
    """Of `Line`: where it is, and where it began."""

    at: Any
    start: Any

    def replace(self, **changes):
        return self._replace(**changes)


class Params(NamedTuple):
    max_steps_in_episode: int = 7
    pay: float = 0.1

    def replace(self, **changes):
        return self._replace(**changes)


class Line:
    """Has the interface of gymnax 0.0.9: walks along a line, and ends beyond 3."""

    def observation_space(self, params):
        return type("Box", (), {"low": -9.0, "high": 9.0, "shape": (2,)})()

    def action_space(self, params):
        return type("Discrete", (), {"n": 2})()

    def reset_env(self, key, params):
        state = State(0, jax.random.uniform(key))
        return jnp.stack([state.at * 1.0, state.start]), state

    def step_env(self, key, state, action, params):
        warnings.warn("a later JAX will refuse this", FutureWarning, stacklevel=1)
        state = state.replace(at=state.at + action)
        done = (state.at > 3) | (state.at >= params.max_steps_in_episode)
        observation = jnp.stack([state.at * 1.0, state.start])
        return observation, state, params.pay, done, {"discount": 1 - done}


@pytest.fixture
def gymnax(monkeypatch):
    """A module of that name with one environment in it."""
    module = ModuleType("gymnax")
    module.registered_envs = ["Line-v0", "Plane-v0"]
    module.make = lambda name, **kwargs: (Line(), Params(**kwargs))
    monkeypatch.setitem(sys.modules, "gymnax", module)
    yield
    registry.gym.registry.pop("gymnax/Line-v0", None)


def run(task, actions):
    """Timesteps [T, B, ...] of a task in-graph, and the first observation."""
    state, first = jax.jit(task.init)(jax.random.key(0))
    _, steps = jax.lax.scan(task.step, state, jnp.asarray(actions))
    return np.asarray(first), jax.tree.map(np.asarray, steps)


@pytest.mark.filterwarnings("error::FutureWarning")  # of what only its authors can change
def test_an_environment_of_another_library_is_a_task(gymnax):
    name = "gymnax:Line-v0"
    assert registry.resolve(name) == name and registry.in_graph(name)
    task = registry.make(name, 3)
    assert task.spec.max_episode_steps == 7 and task.spec.observation_space.shape == (2,)
    first, steps = run(task, np.tile([1, 1, 0], (9, 1)))  # the third one stands still
    np.testing.assert_array_equal(steps.next_observation[:4, 0, 0], [1, 2, 3, 4])
    np.testing.assert_array_equal(np.flatnonzero(steps.episode_end[:, 0]), [3, 7])
    assert not steps.truncated[:, :2].any() and (steps.discount[3, :2] == 0).all()
    # Its own time limit is the task's, which knows truncation from termination.
    np.testing.assert_array_equal(np.flatnonzero(steps.truncated[:, 2]), [6])
    assert steps.discount[6, 2] == 1
    np.testing.assert_allclose(steps.episode_return[3, 0], 0.4, rtol=1e-6)
    assert len(np.unique(first[:, 1])) == 3
    # A start state is not that of the episode before, nor that of its neighbour.
    begun = steps.observation[3, :2]
    assert (begun[:, 0] == 0).all() and len({*begun[:, 1], *first[:, 1]}) == 5


def test_the_host_steps_the_same_environment(gymnax):
    task = registry.make("gymnax:Line-v0", 2, "host")
    first = task.reset(0)
    rows = [task.step(np.ones(2, int)) for _ in range(5)]
    assert [row.next_observation[0, 0] for row in rows] == [1, 2, 3, 4, 1]
    assert rows[3].episode_end.all() and rows[3].observation[0, 1] != first[0, 1]


def test_arguments_and_mistakes(gymnax, monkeypatch):
    task = registry.make("gymnax:Line-v0", 2, options=EnvSettings({"pay": 2.0}))
    assert isinstance(task, GraphTask)
    assert (run(task, np.ones((2, 2), int))[1].reward == 2.0).all()
    with pytest.raises(ConfigError, match="one of gymnax's: Line-v0"):
        registry.make("gymnax:Lime-v0", 2)
    monkeypatch.setitem(sys.modules, "jumanji", None)
    with pytest.raises(ConfigError, match=r'needs another package: pip install "selftuning\[jum'):
        registry.make("jumanji:Snake-v1", 2)


def test_pooled_starts_are_not_used_twice_while_episodes_are_long():
    """Seventeen environments, each of whose starts is a number that is drawn once."""
    drawn = SimpleNamespace(
        observation_space=spaces.Box(0, 1, (1,)),
        action_space=spaces.Discrete(2),
        reset=lambda key: ((), jax.random.uniform(key, (1,))),
        step=lambda key, state, action: ((), jnp.zeros(1), 1.0, action == 1, False),
    )
    task = graph_task(drawn, 17)
    actions = np.zeros((200, 17), int)
    actions[::20] = 1
    first, steps = run(task, actions)
    starts = np.concatenate([first[:, 0], steps.observation[steps.episode_end][:, 0]])
    assert len(starts) == 17 * 11 and len(np.unique(starts)) == len(starts)


class Clock(FuncEnv):
    """Shows how many steps it has had, in all episodes; an action of 1 ends one."""

    observation_space = spaces.Box(0, np.inf, (1,))
    action_space = spaces.Discrete(2)

    def initial(self, rng, params=None):
        return {"clock": jnp.int32(0), "ended": jnp.bool_(False)}

    def carry_over(self, start, ended):
        return start | {"clock": ended["clock"]}

    def transition(self, state, action, rng, params=None):
        return {"clock": state["clock"] + 1, "ended": action == 1}

    def observation(self, state, rng, params=None):
        return state["clock"][None].astype(jnp.float32)

    def reward(self, state, action, next_state, rng, params=None):
        return 0.1

    def terminal(self, state, rng, params=None):
        return state["ended"]


def test_a_clock_goes_on_when_an_episode_ends():
    actions = np.zeros((9, 2), int)
    actions[4] = 1
    _, steps = run(graph_task(Clock(), 2), actions)
    np.testing.assert_array_equal(steps.observation[:, 0, 0], range(1, 10))
    assert steps.episode_length[-1, 0] == 4

    class Hosted(HostedEnv):
        functional = Clock

    env = Hosted()
    env.reset(seed=0)
    env.step(1)
    assert env.reset()[0] == [1.0] and env.reset(seed=1)[0] == [0.0]


def test_returns_in_graph_lose_no_digits():
    _, steps = run(graph_task(Clock(), 1), np.zeros((20_000, 1), int))
    np.testing.assert_allclose(
        steps.episode_return[-1, 0], 20_000 * float(np.float32(0.1)), rtol=1e-7
    )


def test_composite_observations_in_graph_are_those_of_gymnasium():
    space = spaces.Dict({"b": spaces.Discrete(3), "a": spaces.Box(-1, 1, (2, 2))})
    value = {"b": 2, "a": np.arange(4.0).reshape(2, 2).astype(np.float32)}
    env = SimpleNamespace(
        observation_space=space,
        action_space=spaces.Discrete(2),
        reset=lambda key: ((), value),
        step=lambda key, state, action: ((), value, 1.0, False, False),
    )
    first, _ = run(graph_task(env, 2), np.zeros((1, 2), int))
    np.testing.assert_array_equal(first[1], spaces.flatten(space, value))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "brax:inverted_pendulum",
        "gymnax:Breakout-MinAtar",
        "navix:Navix-Empty-5x5-v0",
        "jumanji:Snake-v1",
        "pgx:minatar-breakout",
        "phys2d/CartPole-v1",
        "phys2d/Pendulum-v0",
        "tabular/Blackjack-v0",
        "tabular/CliffWalking-v0",
    ],
)
def test_real_libraries(name):
    pytest.importorskip(
        name.partition(":")[0].split("/")[0].replace("phys2d", "flax").replace("tabular", "flax")
    )
    run_of = st.train(name, steps=256, num_envs=4, rollout_length=8, meta="none", progress=False)
    assert run_of.summary["backend"] == "jax" and not run_of.summary["diverged"]
