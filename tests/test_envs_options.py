"""Arguments, wrappers, limits, frames, sticky actions and clipped rewards; odd environments."""

import sys
from types import ModuleType, SimpleNamespace

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

import selftuning as st
from selftuning.configs import cli, files, keywords, presets
from selftuning.configs.errors import ConfigError, FailedEnvironmentError
from selftuning.configs.settings import EnvSettings
from selftuning.envs import registry, single
from selftuning.envs.task import GraphTask, HostTask
from selftuning.envs.vector import host_task
from selftuning.training.rollout import collect_in_graph, collect_on_host


class Odd(gym.Env):
    """Counts its steps; what it shows, pays and says is up to its arguments."""

    action_space = spaces.Discrete(2)

    def __init__(self, render_mode=None, length=10, reward=1.0, scale=1.0, info=None, fails=None):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.length, self.reward, self.scale, self.info = length, reward, scale, info
        self.fails = fails

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), self.said()

    def step(self, action):
        self.t += 1
        if self.t == self.fails:
            raise ConnectionError("simulator\nwent away")
        observation = np.array([self.t, action], np.float32) * self.scale
        return observation, self.reward, self.t >= self.length, False, self.said()

    def said(self):
        ragged = np.arange(int(self.np_random.integers(1, 5)))
        return {"ragged": {"x": ragged}, "mixed": {"x": 1 if len(ragged) > 2 else ragged}}.get(
            self.info, {}
        )


class Doubled(gym.RewardWrapper):
    def reward(self, reward):
        return 2 * reward


class Broken(gym.Wrapper):
    def __init__(self, env):
        raise KeyError("nothing")


@pytest.fixture
def odd(monkeypatch):
    """Registers `Odd` with arguments; wrappers are found in the module `own_wrappers`."""
    module = ModuleType("own_wrappers")
    module.Doubled, module.Broken = Doubled, Broken
    monkeypatch.setitem(sys.modules, "own_wrappers", module)

    def register(**kwargs):
        gym.register("Odd-v0", Odd, kwargs=kwargs, reward_threshold=100.0)
        return "Odd-v0"

    yield register
    gym.registry.pop("Odd-v0", None)


def steps_of(task, actions):
    """Timesteps of a task, stacked [T, B, ...], and the first observation."""
    if isinstance(task, HostTask):
        first = task.reset(0)
        rows = [task.step(np.asarray(action)) for action in actions]
    else:
        step = jax.jit(task.step)
        state, first = task.init(jax.random.key(0))
        rows = []
        for action in actions:
            state, row = step(state, jnp.asarray(action))
            rows.append(row)
    return np.asarray(first), jax.tree.map(lambda *x: np.stack(x), *rows)


def test_flags_keywords_and_files_say_the_same(tmp_path):
    flags = "--env-kwargs gravity=-5.0 names=[a,b] --wrapper one:A two:B --max-episode-steps 7"
    flags += " --frame-stack 3 --sticky-actions 0.25 --clip-rewards"
    settings = cli.parse(flags.split()).settings
    asked = EnvSettings(
        {"gravity": -5.0, "names": ["a", "b"]}, ("one:A", "two:B"), 7, 3, 0.25, True
    )
    assert settings.environment == asked
    typed = vars(asked) | {"wrapper": asked.wrappers}
    del typed["wrappers"]
    assert keywords.run_settings(None, None, None, None, typed) == settings
    (tmp_path / "config.yaml").write_text(files.dump(settings))
    assert files.load(tmp_path / "config.yaml") == settings
    study = cli.parse(["study", *flags.split()]).settings
    assert study.run.environment == asked


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--env-kwargs gravity", "--env-kwargs: 'gravity' is not allowed; it must be name=value"),
        ("--wrapper TimeLimit", "--wrapper: 'TimeLimit' .* module:Name"),
        ("--sticky-actions 2", "--sticky-actions: 2.0 .* between 0 and 1"),
        ("--frame-stack 0", "--frame-stack: 0 .* between 1 and 100"),
        ("--max-episode-steps -1", "--max-episode-steps: -1 .* between 0 and"),
    ],
)
def test_mistakes_are_told_by_name(flags, said):
    with pytest.raises(ConfigError, match=said):
        cli.parse(flags.split())


def test_what_no_file_can_hold_is_refused():
    with pytest.raises(ConfigError, match="env_kwargs of x"):
        st.train("CartPole", env_kwargs={"x": object()})


def test_a_module_before_the_id_changes_no_preset():
    for name in ("Pendulum-v1", "ALE/Pong-v5", "LunarLander-v3"):
        plain, named = presets.for_env(name), presets.for_env(f"some.module:{name}")
        assert plain.agent == named.agent and plain.steps == named.steps


def test_arguments_reach_the_environment_and_take_it_to_the_host(odd):
    (env, _) = single.make(
        single.specification(gym.spec(odd()), EnvSettings({"length": 3})), EnvSettings()
    )
    assert env.unwrapped.length == 3
    options = EnvSettings({"sutton_barto_reward": True})
    assert isinstance(registry.make("CartPole-v1", 1), GraphTask)
    task = registry.make("CartPole-v1", 1, options=options)
    assert isinstance(task, HostTask) and task.step is not None
    task.reset(0)
    assert task.step(np.zeros(1, int)).reward == 0.0  # and not 1
    with pytest.raises(ConfigError, match=r"backend: jax .* host or auto with env_kwargs"):
        registry.make("CartPole-v1", 1, "jax", options)
    assert not registry.in_graph("CartPole-v1", options=options)
    with pytest.raises(ConfigError, match=r"env_kwargs of colour: CartPole-v1 has no such"):
        registry.make("CartPole-v1", 1, options=EnvSettings({"colour": 1}))
    # Those of an environment that is hosted here are its own settings.
    task = registry.make("TwoColors-v0", 1, options=EnvSettings({"step_reward": 0.5}))
    assert isinstance(task, GraphTask)


def test_wrappers_change_what_is_learned_from_and_not_what_is_reported(odd):
    task = registry.make(odd(), 2, options=EnvSettings(wrappers=("own_wrappers:Doubled",) * 2))
    _, steps = steps_of(task, np.zeros((12, 2), int))
    assert (steps.reward == 4.0).all()
    np.testing.assert_array_equal(steps.episode_return[:, 0], [*range(1, 11), 1, 2])
    for name, said in (("Broken", "wrapper: own_wrappers:Broken: KeyError"), ("None_", "wrapper")):
        with pytest.raises(ConfigError, match=said):
            registry.make("Odd", 1, options=EnvSettings(wrappers=(f"own_wrappers:{name}",)))


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_limits_frames_and_clipping_are_the_same_on_both_backends(backend):
    options = EnvSettings(max_episode_steps=4, frame_stack=3, clip_rewards=True)
    task = registry.make("CartPole-v1", 2, backend, options)
    assert task.spec.observation_space.shape == (12,) and task.spec.max_episode_steps == 4
    first, steps = steps_of(task, np.ones((6, 2), int))
    np.testing.assert_array_equal(first[:, :4], first[:, 8:])
    assert steps.truncated[3].all() and not steps.truncated[[0, 1, 2, 4, 5]].any()
    last = steps.next_observation  # [T, B, 12]
    np.testing.assert_array_equal(last[1:4, :, :8], last[:3, :, 4:])  # moves on by a frame
    np.testing.assert_array_equal(last[0, :, :8], np.concatenate([first[:, :4]] * 2, axis=1))
    begun = steps.observation[3]  # a new episode: its first observation three times
    np.testing.assert_array_equal(begun[:, :4], begun[:, 8:])
    assert not np.array_equal(begun[:, 8:], last[3, :, 8:])
    np.testing.assert_array_equal(steps.observation[:3], last[:3])


@pytest.mark.parametrize(
    ("shape", "joined"),
    [((5,), (15,)), ((84, 83), (84, 83, 3)), ((10, 9, 4), (10, 9, 12)), ((4, 10, 9), (12, 10, 9))],
)
def test_frames_keep_their_order(shape, joined):
    frames = np.arange(3 * np.prod(shape)).reshape(3, *shape)
    result = single.join_frames(frames, np)
    assert result.shape == joined
    np.testing.assert_array_equal(np.asarray(single.join_frames(jnp.asarray(frames), jnp)), result)
    axis = 0 if shape[0] == 4 else -1
    if len(shape) == 3:
        np.testing.assert_array_equal(np.split(result, 3, axis), frames)


def test_sticky_actions_repeat_as_often_as_they_should():
    """In-graph: the environment shows which action it got, and that of an episode's start."""
    options = EnvSettings(sticky_actions=0.3, max_episode_steps=50)
    for backend in ("jax", "host"):
        task = registry.make("CartPole-v1", 8, backend, options)
        actions = np.tile(np.arange(2)[None], (300, 4)) ^ (np.arange(300) % 2)[:, None]  # 0 1 0 1
        first, steps = steps_of(task, actions)
        before = np.concatenate([first[None], steps.observation[:-1]])
        got = steps.next_observation[..., 1] > before[..., 1]  # the cart is pushed to the right
        begun = np.concatenate([np.ones((1, 8), bool), steps.episode_end[:-1]])
        stuck = got != actions
        assert not stuck[begun].any()
        # Actions alternate: a repeated one that was itself repeated is right again by chance. Of
        # those after an action that was taken, three in ten are not.
        taken = np.concatenate([np.zeros((1, 8), bool), ~stuck[:-1]]) & ~begun
        assert abs(stuck[taken].mean() - 0.3) < 0.05


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_agents_learn_from_clipped_rewards(backend):
    options = EnvSettings(clip_rewards=True)
    env = "TwoColors-v0" if backend == "jax" else "Pendulum-v1"
    task = registry.make(env, 2, backend, options)
    act = lambda _, observation, key: (jnp.zeros((2, 1)), jnp.zeros(2))  # noqa: E731
    algorithm = SimpleNamespace(act=act, to_task=lambda action: action)
    algorithm.follow = lambda _, seen, observation, end: observation
    if backend == "jax":
        algorithm.to_task = lambda action: action[:, 0].astype(int)
        state, observation = task.init(jax.random.key(0))
        collect = collect_in_graph(task, algorithm, 5)
        trajectory, steps = collect({}, state, observation, jax.random.PRNGKey(0))[-2:]
    else:
        collect = collect_on_host(task, algorithm, 5)
        trajectory, steps = collect({}, task.reset(0), jax.random.PRNGKey(0))[-2:]
        assert steps.reward.min() < -1
    np.testing.assert_array_equal(trajectory.reward, np.clip(steps.reward, -1, 1))
    sums = np.cumsum(steps.reward, axis=0)
    np.testing.assert_allclose(steps.episode_return, sums, rtol=1e-5)


@pytest.mark.parametrize("info", ["ragged", "mixed"])
def test_infos_that_nobody_reads_may_be_anything(odd, info):
    task = host_task(odd(info=info), 3)
    assert steps_of(task, np.zeros((25, 3), int))[1].episode_end.sum() == 6


def test_returns_are_summed_in_64_bit(odd):
    task = host_task(odd(reward=0.1, length=1000), 1)
    _, steps = steps_of(task, np.zeros((1000, 1), int))
    assert abs(steps.episode_return[-1, 0] - 100.0) < 1e-9


def test_rewards_in_arrays_and_large_whole_numbers(odd):
    task = host_task(odd(reward=np.array([1.5])), 1)
    assert steps_of(task, np.zeros((3, 1), int))[1].reward.tolist() == [[1.5]] * 3
    view = registry.AgentView(_Shown(spaces.Box(0, 2**32 - 1, (1,), np.uint32)))
    observation, _ = view.reset()
    assert observation == np.float32(3_000_000_000) and observation.dtype == np.float32


class _Shown(gym.Env):
    action_space = spaces.Discrete(2)

    def __init__(self, space):
        self.observation_space = space

    def reset(self, *, seed=None, options=None):
        return np.array([3_000_000_000], np.uint32), {}


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"fails": 4}, "environment 0 of 2, its step 4: ConnectionError: simulator went away"),
        (
            {"reward": None},
            r"environment 0 of 2, its step 1: a reward of None, .*_options.py, line \d+\)",
        ),
        ({"scale": np.ones((3, 1))}, "environment 0 of 2, its step 1: an observation of shape"),
    ],
)
def test_errors_say_which_environment_and_when(odd, kwargs, said):
    with pytest.raises(FailedEnvironmentError, match=said) as error:
        steps_of(host_task(odd(**kwargs), 2), np.zeros((5, 2), int))
    assert "\n" not in str(error.value)


def test_text_is_refused_by_name(odd):
    space = spaces.Dict({"seen": spaces.Box(0, 1, (2,)), "order": spaces.Text(9)})
    with pytest.raises(ConfigError, match=r"'order' is text: leave it out.*--wrapper module:Name"):
        registry.AgentView(_Shown(space))


def test_the_same_settings_train_evaluate_and_load(odd, tmp_path):
    run = st.train(
        odd(length=5),
        steps=64,
        num_envs=2,
        rollout_length=4,
        meta="none",
        eval_episodes=2,
        env_kwargs={"reward": 3.0},
        wrapper=["own_wrappers:Doubled"],
        frame_stack=2,
        max_episode_steps=4,
        out=tmp_path / "run",
    )
    assert set(run.episodes.returns) == {12.0}
    assert run.evaluation.returns.tolist() == [12.0, 12.0]
    agent = st.load(tmp_path / "run")
    assert agent.evaluate().returns.tolist() == [12.0, 12.0]


@pytest.mark.slow
def test_minigrid_by_its_own_name():
    task = registry.make("MiniGrid-DoorKey-6x6-v0", 2)
    space = task.spec.observation_space
    assert space.shape == (7, 7, 20) and space.dtype == np.float32 and space.high.max() == 1
    first, _ = steps_of(task, np.zeros((2, 2), int))
    np.testing.assert_array_equal(first.sum(-1), 3.0)  # an object, a colour and a state each
    flat = EnvSettings(wrappers=("minigrid.wrappers:FlatObsWrapper",))
    assert (
        len(registry.make("MiniGrid-Empty-8x8", 1, options=flat).spec.observation_space.shape) == 1
    )
