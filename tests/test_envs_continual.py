"""Lives that change: the clock, the levels, what is cut off, and what each change does."""

from __future__ import annotations

import warnings

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import EnvSettings
from selftuning.envs import lives, registry
from selftuning.envs.acrobot import Acrobot
from selftuning.envs.cartpole import CartPole
from selftuning.envs.changes import CHANGES
from selftuning.envs.continual import Continual, ContinualWrapper, Lifetime
from selftuning.envs.mountain_car import MountainCar
from selftuning.envs.switching_mdp import SwitchingMDP
from selftuning.envs.task import GraphTask, HostTask
from selftuning.envs.two_colors import TwoColors
from tests.random_walks import random_walk

BASES = {"CartPole": "CartPole-v1", "Acrobot": "Acrobot-v1", "MountainCar": "MountainCar-v0"}
TWINS = {"CartPole": CartPole, "Acrobot": Acrobot, "MountainCar": MountainCar}
SHORT = {"levels": 3, "switch_every": 50, "block": 20}


def test_the_clock_survives_resets_and_levels_change_at_their_steps():
    env = Continual(CartPole(), **SHORT)
    states, _, steps = random_walk(env, 16, 200, 400)
    t = np.arange(200)[:, None].repeat(16, 1)
    np.testing.assert_array_equal(states.clock, np.where(t < 150, t, 100 + t % 50))
    np.testing.assert_array_equal(states.level, np.minimum(t // 50, 2))
    assert (steps.discount == 0).sum() > 50  # many episodes have ended between
    # Blocks of 20 begin anew at each level: cut after 20, 40 and 50 steps.
    cut = np.isin((t + 1) % 50, [20, 40, 0])
    np.testing.assert_array_equal(steps.truncated, cut & (steps.discount == 1))
    np.testing.assert_array_equal(steps.episode_end, cut | (steps.discount == 0))
    offsets = env.change.observation(np.zeros(4, np.float32), states.level)
    # What is bootstrapped from is of the level of its episode, what comes next of the new one.
    np.testing.assert_allclose(steps.observation[:-1], (states.env + offsets)[1:], atol=1e-6)
    assert np.all(np.abs(steps.next_observation[49]) < 2.5)  # level 0, which adds nothing
    assert np.all(np.abs(steps.observation[49] - offsets[50]) <= 0.05001)
    assert np.abs(offsets[50]).max() > 2
    inside = ~steps.episode_end
    np.testing.assert_array_equal(steps.next_observation[inside], steps.observation[inside])


@pytest.mark.parametrize("cyclic", [False, True])
def test_a_life_that_is_taken_up_goes_on_where_it_was(cyclic):
    whole = Lifetime(**SHORT, cyclic=cyclic)
    clock = whole.start
    assert clock == 0
    for lived in range(1, 400):
        clock = whole.tick(clock)
        assert Lifetime(**SHORT, cyclic=cyclic, begins=lived).start == clock


def test_both_kinds_of_lives_are_taken_up():
    later = SHORT | {"begins": 60}
    state = Continual(CartPole(), **later).initial(jax.random.PRNGKey(0))
    wrapper = ContinualWrapper(gym.make("CartPole-v1"), **later)
    for _ in range(2):  # a seed begins the life anew, and that is here
        wrapper.reset(seed=3)
        assert (int(state.clock), int(state.level)) == (wrapper.clock, wrapper.level) == (60, 1)
        wrapper.step(0)
    options = EnvSettings(env_kwargs=SHORT)
    assert lives.taken_up("CartPole-v1", options, 60) == options
    taken = lives.taken_up("ContinualCartPole-v0", options, 60)
    assert lives.taken_up("ContinualCartPole-v0", taken, 7).env_kwargs["begins"] == 67
    registered = {name for name in gym.registry if name.startswith("Continual")}
    assert registered == set(lives.CONTINUAL)


@pytest.mark.parametrize(
    ("lived", "begins", "cyclic", "expected"),
    [
        *((0, 0, False, 0), (1, 0, False, 0), (50, 0, False, 0), (51, 0, False, 50)),
        *((150, 0, False, 100), (1000, 0, False, 100), (160, 0, True, 0), (30, 130, False, 100)),
    ],
)
def test_an_agent_is_judged_by_the_whole_of_the_level_that_it_learned_last(
    lived, begins, cyclic, expected
):
    life = {"switch_every": 50, "levels": 3, "block": 0, "cyclic": cyclic, "begins": begins}
    options = EnvSettings(env_kwargs=life)
    judged = lives.as_last("ContinualCartPole-v0", options, lived).env_kwargs
    assert judged == life | {"begins": expected}
    assert lives.as_last("CartPole-v1", options, lived) == options


@pytest.mark.parametrize("make", [TwoColors, SwitchingMDP])
@pytest.mark.parametrize("lived", [1, 50, 51, 399, 1000])
def test_a_stream_that_is_taken_up_goes_on_where_it_was(make, lived):
    def clock(state):
        return [int(x) for name, x in state._asdict().items() if name in ("clock", "mdp", "time")]

    whole, key = make(switch_every=50), jax.random.key(0)
    state, step = whole.initial(key), jax.jit(whole.transition)
    for _ in range(lived):
        state = step(state, 0, key)
    assert clock(make(switch_every=50, begins=lived).initial(key)) == clock(state)
    name, life = f"{make.__name__}-v0", {"switch_every": 50}
    taken = lives.taken_up(name, EnvSettings(env_kwargs=life), lived).env_kwargs
    judged = lives.as_last(name, EnvSettings(env_kwargs=life), lived).env_kwargs
    assert taken == life | {"begins": lived}
    assert judged == life | {"begins": (lived - 1) // 50 % whole.levels * 50}
    drawn = EnvSettings(env_kwargs={"render_mode": "rgb_array"})
    assert lives.as_last(f"selftuning.envs:{name}", drawn, 7).env_kwargs["begins"] == 0
    with pytest.raises(ConfigError, match="begins: -1 is not allowed; it must be a whole number"):
        make(begins=-1)


@pytest.mark.parametrize("name", ["TwoColors-v0", "SwitchingMDP-v0"])
def test_the_clock_of_a_stream_goes_on_where_a_time_limit_cuts_it(name):
    options = EnvSettings(env_kwargs={"switch_every": 15}, max_episode_steps=10)
    task = registry.make(name, 2, "jax", options)
    assert isinstance(task, GraphTask)
    state, _ = jax.jit(task.init)(jax.random.key(0))
    step = jax.jit(task.step)
    for _ in range(37):
        state, _ = step(state, jnp.zeros(2, jnp.int32))
    clocks = {"clock": 37 % 30, "mdp": 37 // 15, "time": 37 % 15}
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        found[getattr(path[-1], "name", "")] = leaf
    shared = clocks.keys() & found.keys()
    assert shared
    for field in shared:
        np.testing.assert_array_equal(found[field], clocks[field])


def test_a_level_that_changes_cuts_episodes_without_blocks():
    env = Continual(MountainCar(), levels=2, switch_every=30, block=0)
    _, _, steps = random_walk(env, 3, 100, 400)
    ends = np.zeros((100, 3), bool)
    ends[29] = True  # and not after 60 or 90 steps: the last level goes on
    np.testing.assert_array_equal(steps.truncated, ends)
    np.testing.assert_array_equal(steps.episode_end, ends)
    np.testing.assert_array_equal(steps.discount, 1.0)


def test_cyclic_lives_begin_again():
    env = Continual(MountainCar(), levels=2, switch_every=30, block=0, cyclic=True)
    states, _, steps = random_walk(env, 2, 130, 400)
    t = np.arange(130)[:, None].repeat(2, 1)
    np.testing.assert_array_equal(states.level, t // 30 % 2)
    np.testing.assert_array_equal(states.clock, t % 60)
    np.testing.assert_array_equal(steps.truncated, (t + 1) % 30 == 0)


def test_integers_and_arrays_have_the_same_life():
    for cyclic in (False, True):
        life = Lifetime(levels=3, switch_every=7, block=3, cyclic=cyclic)
        tick, cut = jax.jit(life.tick), jax.jit(life.is_cut)
        clock, array = 0, jnp.int32(0)
        for step in range(60):
            level, clock, array = life.level(clock), life.tick(clock), tick(array)
            assert clock == int(array) < life.steps
            assert bool(life.is_cut(clock, level)) == bool(cut(array, level))
            last = 2 if not cyclic else (step + 1) // 7 % 3
            assert life.level(clock) == min((step + 1) // 7, last)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", BASES)
def test_in_graph_equals_host(name, change):
    """Step by step from the same states, over all levels, beyond ends of episodes."""
    settings = {**SHORT, "change": change, "change_seed": 3}
    env = Continual(TWINS[name](), **settings)
    states, actions, steps = random_walk(env, 1, 170)
    host = ContinualWrapper(gym.make(BASES[name]).unwrapped, **settings)
    assert host.observation_space == env.observation_space
    host.reset(seed=0)
    changed = 0
    for t in range(170):
        assert (host.clock, host.level) == (states.clock[t, 0], states.level[t, 0])
        host.unwrapped.state = states.env[t, 0].astype(np.float64)
        observation, reward, terminated, truncated, _ = host.step(int(actions[t, 0]))
        np.testing.assert_allclose(steps.next_observation[t, 0], observation, rtol=0, atol=1e-5)
        assert reward == steps.reward[t, 0]
        assert terminated == (steps.discount[t, 0] == 0)
        assert (truncated and not terminated) == steps.truncated[t, 0]
        assert host.observation_space.contains(observation)
        changed += reward == -steps.reward[0, 0]
        if terminated or truncated:
            host.reset()
            if name == "CartPole":  # its pole tells the step after which it has fallen
                host.unwrapped.steps_beyond_terminated = None
    assert change != "reward_sign" or changed == 50  # of level 1


@pytest.mark.parametrize("name", BASES)
def test_registered_ids_on_both_backends(name):
    kwargs = {**SHORT, "change": "offset", "change_seed": 5}
    options = EnvSettings(env_kwargs=kwargs)
    graph = registry.make(f"Continual{name}", 2, "auto", options)
    host = registry.make(f"Continual{name}", 2, "host", options)
    assert isinstance(graph, GraphTask) and isinstance(host, HostTask)
    assert graph.spec == host.spec._replace(backend="jax")
    assert graph.spec.max_episode_steps == 400
    state, _ = jax.jit(graph.init)(jax.random.key(0))
    host.reset(0)
    step = jax.jit(graph.step)
    offset = Continual(TWINS[name](), **kwargs).change.observation
    for t in range(110):
        action = np.array([t % 2, 1])
        state, in_graph = step(state, action)
        on_host = host.step(action)
        if (t + 1) % 50 in (20, 40, 0):
            assert np.all(on_host.episode_end) and np.all(in_graph.episode_end)
            np.testing.assert_array_equal(on_host.discount == 1, on_host.truncated)
            # Both begin near the same point, which is that of the level.
            zero = np.zeros(graph.spec.observation_space.shape, np.float32)
            middle = offset(zero, min((t + 1) // 50, 2))
            for seen in (on_host.observation, in_graph.observation):
                assert np.all(np.abs(seen - middle) < 1.1)
    host.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CartPole's velocities have no bounds
        check_env(gym.make(f"Continual{name}-v0", **kwargs).unwrapped, skip_render_check=True)


def test_the_time_limit_is_that_of_the_protocol():
    options = EnvSettings(env_kwargs={"switch_every": 1600})
    task = registry.make("ContinualMountainCar", 1, "jax", options)
    assert isinstance(task, GraphTask)
    stay = jnp.ones((1700, 1), jnp.int32)
    run = jax.jit(lambda key: jax.lax.scan(task.step, task.init(key)[0], stay)[1])
    steps = run(jax.random.key(0))
    np.testing.assert_array_equal(np.flatnonzero(steps.truncated[:, 0]) + 1, [400, 800, 1200, 1600])


def test_lunar_lander_on_the_host():
    pytest.importorskip("Box2D")
    options = EnvSettings(env_kwargs={**SHORT, "switch_every": 40})
    host = registry.make("ContinualLunarLander", 2, "auto", options)
    assert isinstance(host, HostTask) and host.spec.max_episode_steps == 400
    plain = registry.make("LunarLander-v3", 2, "host")
    np.testing.assert_array_equal(host.reset(4), plain.reset(4))  # level 0
    vectors = np.random.default_rng(0).normal(0, 2, (3, 8))
    for t in range(60):
        after = host.step(np.array([0, 2]))
        assert np.all(after.truncated == ((t + 1) % 40 in (20, 0)))
        if t == 39:
            # The landing craft begins in the middle above the ground.
            assert np.all(np.abs(after.observation[:, 0] - vectors[1, 0]) < 0.1)
            assert np.all(np.abs(after.observation[:, 1] - vectors[1, 1] - 1.4) < 0.1)
            assert np.all(np.abs(after.next_observation[:, 6:]) <= 1)
    options = EnvSettings(env_kwargs={"change": "physics"})
    with pytest.raises(ConfigError, match="change: physics"):
        registry.make("ContinualLunarLander", 1, "auto", options)
    with pytest.raises(ConfigError, match="not available"):
        registry.make("ContinualLunarLander", 1, "jax")


def test_a_life_on_the_host_begins_with_a_seed():
    for env in (
        gym.make("ContinualCartPole-v0", switch_every=5),
        ContinualWrapper(gym.make("CartPole-v1"), switch_every=5),
    ):
        first, _ = env.reset(seed=1)
        for _ in range(5):
            *_, truncated, _ = env.step(0)
        assert truncated
        second, _ = env.reset()
        assert np.abs(second - first).max() > 0.5  # another level
        np.testing.assert_array_equal(env.reset(seed=1)[0], first)


def test_offsets():
    env = Continual(CartPole(), levels=200, change_seed=7)
    vectors = np.stack([env.change.observation(np.zeros(4, np.float32), i) for i in range(200)])
    assert np.all(vectors[0] == 0) and vectors.dtype == np.float32
    assert abs(vectors[1:].std() - 2) < 0.15 and abs(vectors.mean()) < 0.3
    fewer = Continual(CartPole(), levels=10, change_seed=7).change.observation
    np.testing.assert_array_equal(fewer(np.zeros(4, np.float32), 9), vectors[9])
    other = Continual(CartPole(), levels=10, change_seed=8).change.observation
    assert np.all(other(np.zeros(4, np.float32), 9) != vectors[9])
    low = CartPole.observation_space.low + vectors
    assert np.all(env.observation_space.low <= low.min(axis=0))
    assert np.all(env.observation_space.high >= (CartPole.observation_space.high + vectors).max(0))


def test_actions_are_permuted_at_each_level_anew():
    act = Continual(Acrobot(), change="actions", levels=50).change.action
    table = np.array([[act(a, level) for a in range(3)] for level in range(50)])
    np.testing.assert_array_equal(table[0], [0, 1, 2])
    np.testing.assert_array_equal(np.sort(table, axis=1), np.arange(3) * np.ones((50, 1)))
    assert np.all((table[1:] != table[:-1]).any(axis=1))
    assert len(np.unique(table, axis=0)) == 6
    two = Continual(CartPole(), change="actions", levels=4).change.action
    assert [int(two(0, level)) for level in range(4)] == [0, 1, 0, 1]


class FromFive(TwoColors):
    """Actions are 5 to 8."""

    action_space = spaces.Discrete(4, start=5)


def test_actions_that_do_not_begin_at_0():
    act = Continual(FromFive(), change="actions", levels=9).change.action
    assert sorted(int(act(a, 3)) for a in range(5, 9)) == [5, 6, 7, 8]


def test_physics_has_other_factors_at_each_level():
    factors = Continual(CartPole(), change="physics", levels=300).change.factors
    assert factors.shape == (300, 2) and np.all(factors[0] == 1)
    assert 2 / 3 <= factors.min() < 0.68 and 1.48 < factors.max() <= 1.5
    assert abs(np.log(factors).mean()) < 0.03


class WithClock(TwoColors):
    """Its clock goes on over the ends that are made around it."""

    def carry_over(self, start, ended):
        return start._replace(clock=ended.clock)


def test_an_environment_with_a_clock_of_its_own():
    env = Continual(WithClock(switch_every=1000), change="reward_sign", **SHORT)
    states, _, steps = random_walk(env, 4, 120, 400)
    np.testing.assert_array_equal(states.env.clock, np.arange(120)[:, None] * np.ones(4))
    assert np.all(np.isin(steps.reward[:50], np.float32([-0.04, 1, -1])))
    assert np.all(np.isin(steps.reward[50:100], np.float32([0.04, 1, -1])))
    np.testing.assert_array_equal(steps.truncated[:, 0], np.isin(np.arange(120) % 50, [19, 39, 49]))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"change": "weather"}, r"change: 'weather'.*offset \| physics \| actions"),
        ({"change": 3}, "change: 3"),
        ({"levels": 0}, "levels: 0"),
        ({"switch_every": 1.5}, "switch_every"),
        ({"block": -1}, "block: -1"),
        ({"block": True}, "block"),
        ({"change_seed": -1}, "change_seed"),
        ({"cyclic": "yes"}, "cyclic"),
        ({"levels": 2, "switch_every": 2**30}, "levels [*] switch_every"),
    ],
)
def test_bad_settings(settings, said):
    with pytest.raises(ConfigError, match=said) as error:
        gym.make("ContinualCartPole-v0", **settings)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=said):
        ContinualWrapper(gym.make("CartPole-v1"), **settings)


def test_changes_that_an_environment_does_not_allow():
    with pytest.raises(ConfigError, match="change: physics"):
        Continual(TwoColors(), change="physics")
    with pytest.raises(ConfigError, match="change: offset"):
        ContinualWrapper(gym.make("FrozenLake-v1"), change="offset")
    with pytest.raises(ConfigError, match="change: actions"):
        ContinualWrapper(gym.make("Pendulum-v1"), change="actions")


@pytest.mark.parametrize("env", ["ContinualCartPole", "ContinualLunarLander"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"switch_evry": 3}, "env_kwargs of switch_evry: .* did you mean switch_every"),
        ({"gravity": 3}, "env_kwargs of gravity: .* they are change, levels, switch_every, block"),
        ({"change": "foo"}, "env_kwargs of change: 'foo' is not allowed; it must be offset"),
    ],
)
def test_an_argument_that_is_wrong_is_named(wrong, said, env):
    if "Lunar" in env:
        pytest.importorskip("Box2D")
    for backend in ("jax", "host") if "Cart" in env else ("host",):
        with pytest.raises(ConfigError, match=said):
            registry.make(env, 1, backend, EnvSettings(wrong))
