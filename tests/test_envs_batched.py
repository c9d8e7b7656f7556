"""Batched environments of other libraries: the contract of tasks, beside Gymnasium's own."""

import sys

import gymnasium as gym
import numpy as np
import pytest

import selftuning as st
from selftuning import cli
from selftuning.configs import presets
from selftuning.configs.errors import ConfigError, FailedEnvironmentError
from selftuning.configs.settings import EnvSettings
from selftuning.envs import registry
from selftuning.envs.task import HostTask

LEARNS_LITTLE = {"algorithm": "actor_critic", "rollout_length": 16, "num_envs": 2, "steps": 128}


@pytest.fixture
def envpool():
    """EnvPool, which is no part of what tests need."""
    return pytest.importorskip("envpool")


def drawn(task, steps, seed=0):
    """Actions [T, B, ...] of a task."""
    space = task.spec.action_space
    space.seed(seed)
    return np.array([[space.sample() for _ in range(task.num_envs)] for _ in range(steps)])


def run(task, actions, seed=0):
    """Observations [T, B, ...] that are acted on, and timesteps [T, B, ...]."""
    seen, rows = [task.reset(seed)], []
    for action in actions:
        rows.append(task.step(action))
        seen.append(rows[-1].observation)
    return np.array(seen[:-1]), type(rows[0])(*(np.array(x) for x in zip(*rows, strict=True)))


def same(one, two):
    return all(np.array_equal(x, y) for x, y in zip(one, two, strict=True))


def message(*args, **kwargs):
    with pytest.raises(ConfigError) as caught:
        registry.make(*args, **kwargs)
    return str(caught.value)


def test_cartpole_of_envpool_does_what_gymnasium_does(envpool):
    task = registry.make("envpool:CartPole", 5)
    assert isinstance(task, HostTask) and task.spec.env_id == "envpool:CartPole-v1"
    assert task.spec.max_episode_steps == 500 and task.spec.reward_threshold == 475
    actions = drawn(task, 200)
    seen, steps = run(task, actions)
    ends = steps.episode_end
    assert ends.sum() > 20 and not steps.truncated.any()
    np.testing.assert_array_equal(steps.discount, 1.0 - ends)
    assert steps.episode_return.dtype == np.float64 and steps.reward.dtype == np.float32
    # The first step of an episode has a reward of 1 too: none is spent on a reset.
    np.testing.assert_array_equal(steps.episode_return, steps.episode_length)
    np.testing.assert_array_equal(steps.reward, 1.0)
    single = gym.make("CartPole-v1").unwrapped
    for t, i in np.ndindex(ends.shape):
        single.reset()
        single.state = seen[t, i].astype(np.float64)
        successor, _, terminated, *_ = single.step(int(actions[t, i]))
        np.testing.assert_allclose(steps.next_observation[t, i], successor, atol=1e-5)
        assert terminated == ends[t, i]
    assert (np.abs(steps.observation[ends]) <= 0.05).all()  # where episodes begin
    np.testing.assert_array_equal(steps.observation[~ends], steps.next_observation[~ends])


@pytest.mark.parametrize("name", ["envpool:CartPole-v1", "envpool:LunarLander-v3", "ale:Breakout"])
def test_seeds_reproduce_all_that_is_drawn(name):
    if name.startswith("envpool"):
        pytest.importorskip("envpool")
    one, two = (registry.make(name, 3) for _ in range(2))
    actions = drawn(one, 150 if name.startswith("envpool") else 30)
    first = run(one, actions, seed=3)
    assert same(first[1], run(two, actions, seed=3)[1])
    assert same(first[1], run(one, actions, seed=3)[1]), "after it has been used"
    assert not np.array_equal(first[0], run(one, actions, seed=4)[0])
    assert len(np.unique(first[0][0].reshape(3, -1), axis=0)) == 3


def test_the_time_limit_is_truncation(envpool):
    """A policy that balances reaches it; what falls in the last step has ended by itself."""
    task = registry.make("envpool:CartPole-v1", 4)
    observation, rows = task.reset(1), []
    for _ in range(501):
        rows.append(task.step((observation @ [0.1, 0.5, 2.0, 1.0] > 0).astype(np.int32)))
        observation = rows[-1].observation
    assert not any(row.episode_end.any() for row in rows[:499])
    assert rows[499].truncated.all() and (rows[499].discount == 1).all()
    np.testing.assert_array_equal(rows[499].episode_return, 500.0)
    assert (np.abs(rows[499].next_observation - rows[499].observation) > 0).all()
    np.testing.assert_array_equal(rows[500].episode_length, 1)
    falls = run(registry.make("envpool:CartPole-v1", 1), np.ones((20, 1), int))[1]
    length = int(falls.episode_length[np.flatnonzero(falls.episode_end)[0], 0])
    for limit, terminated in ((length, True), (length - 1, False)):
        options = EnvSettings(max_episode_steps=limit)
        steps = run(
            registry.make("envpool:CartPole-v1", 1, options=options), np.ones((limit, 1), int)
        )[1]
        assert steps.episode_end[-1, 0] and steps.truncated[-1, 0] != terminated
        assert steps.discount[-1, 0] == 1 - terminated


def test_a_limit_beyond_that_of_the_library(envpool):
    options = EnvSettings(max_episode_steps=1100)
    task = registry.make("envpool:HalfCheetah-v4", 1, options=options)
    assert task.spec.observation_space.dtype == np.float32
    steps = run(task, drawn(task, 1101))[1]
    np.testing.assert_array_equal(np.flatnonzero(steps.episode_end), [1099])
    assert steps.truncated[1099, 0]
    total = np.cumsum(steps.reward[:1100, 0].astype(np.float64))
    np.testing.assert_allclose(steps.episode_return[:1100, 0], total, rtol=1e-12)


def test_dictionaries_are_flattened_as_gymnasium_does_it(envpool):
    task = registry.make("envpool:CheetahRun-v1", 2)
    assert isinstance(task.spec.own_spaces[0], gym.spaces.Dict)
    assert np.isinf(task.spec.observation_space.low).all()
    seeds = (np.random.SeedSequence(0).generate_state(2) >> 1).tolist()
    pool = envpool.make_gymnasium("CheetahRun-v1", num_envs=2, seed=seeds)
    own, seen = [pool.reset()[0]], [task.reset(0)]
    for action in drawn(task, 5):
        own.append(pool.step(action)[0])
        seen.append(task.step(action).observation)
    for theirs, ours in zip(own, seen, strict=True):
        flat = np.concatenate([theirs["position"], theirs["velocity"]], axis=1)
        np.testing.assert_array_equal(ours, flat.astype(np.float32))


@pytest.mark.parametrize("name", ["envpool:CartPole-v1", "ale:Pong"])
def test_sticky_actions_begin_anew_with_an_episode(name):
    if name.startswith("envpool"):
        pytest.importorskip("envpool")
    always = EnvSettings(sticky_actions=1.0, max_episode_steps=8)
    task = registry.make(name, 2, options=always)
    plain = registry.make(name, 2, options=EnvSettings(max_episode_steps=8))
    actions = drawn(task, 8)
    held = np.repeat(actions[:1], 8, axis=0)
    assert same(run(task, actions)[1], run(plain, held)[1])


def test_games_of_atari_are_truncated_with_the_image_that_they_show():
    """Where ale-py truncates one itself, its newest image is missing."""
    limit = 12
    short = registry.make("ale:Pong", 2, options=EnvSettings(max_episode_steps=limit))
    whole = registry.make("ale:Pong", 2)
    assert whole.spec.max_episode_steps == 27_000
    assert short.spec.observation_space.shape == (4, 84, 84)
    assert short.spec.observation_space.dtype == np.uint8
    actions = drawn(short, limit + 3)
    _, steps = run(short, actions)
    seen, longer = run(whole, actions)
    np.testing.assert_array_equal(steps.next_observation[:limit], longer.next_observation[:limit])
    np.testing.assert_array_equal(seen[1:], longer.next_observation[:-1])
    np.testing.assert_array_equal(np.flatnonzero(steps.episode_end[:, 0]), [limit - 1])
    assert steps.truncated[limit - 1].all() and (steps.discount == 1).all()
    begun = steps.observation[limit - 1]
    assert (begun[:, :3] == 0).all() and (begun[:, 3] > 0).any()  # one image, and none before
    np.testing.assert_array_equal(steps.episode_length[:, 0], [*range(1, limit + 1), 1, 2, 3])


def test_returns_of_atari_are_those_of_whole_games():
    """Of Pong without a paddle that moves: 21 points are lost; rewards are learned from clipped."""
    clipped = EnvSettings({"noop_max": 1}, clip_rewards=True)
    task = registry.make("ale:Pong", 1, options=clipped)
    assert task.spec.clip_rewards
    _, steps = run(task, np.zeros((1100, 1), int))
    end = np.flatnonzero(steps.episode_end)[0]
    assert steps.discount[end, 0] == 0 and not steps.truncated[end, 0]
    assert steps.episode_return[end, 0] == -21 == steps.reward[: end + 1].sum()
    assert steps.episode_length[end, 0] == end + 1 and steps.episode_length[end + 1, 0] == 1
    # Aliens are worth more than a point, and a game has several lives.
    task = registry.make("ale:SpaceInvaders", 1)
    _, steps = run(task, np.ones((400, 1), int))
    worth = np.unique(steps.reward)
    assert worth.max() >= 5 and steps.episode_return.max() == steps.reward.cumsum().max()


@pytest.mark.parametrize("name", ["envpool:CartPole-v1", "ale:Pong"])
def test_runs_are_trained_saved_and_evaluated(name, tmp_path, capsys):
    if name.startswith("envpool"):
        pytest.importorskip("envpool")
    options = {"max_episode_steps": 10}
    if name.startswith("ale"):  # small images, which compile quickly
        options |= {"env_kwargs": {"img_height": 8, "img_width": 8}, "torso": "mlp"}
    run = st.train(name, out=tmp_path / "run", eval_episodes=3, **options, **LEARNS_LITTLE)
    assert run.evaluation.steps.max() <= 10
    again = st.load(tmp_path / "run").evaluate(3)
    np.testing.assert_array_equal(again.rewards, run.evaluation.rewards)
    assert cli.main(["eval", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "eval-1.json").exists()
    capsys.readouterr()
    assert cli.main(["eval", str(tmp_path / "run"), "--video"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"env: '{name}' cannot be drawn" in said


def test_mistakes_of_names_are_told_in_a_line(monkeypatch):
    assert "one of ale's: Pong, " in message("ale:pong", 1)
    games = message("ale:Zzzzzzzz", 1).partition("one of ale's: ")[2].split(", ")
    assert len(games) > 57 and {"Alien", "MontezumaRevenge", "Zaxxon"} <= set(games)
    for package, name, extra in (
        ("envpool", "envpool:Pong-v5", "envpool"),
        ("ale_py", "ale:Pong", "atari"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        assert f'needs another package: pip install "selftuning[{extra}]"' in message(name, 1)


def test_mistakes_of_names_of_envpool(envpool):
    assert registry.resolve("envpool:HalfCheetah") == "envpool:HalfCheetah-v5"
    assert "one of envpool's: CartPole-v1" in message("envpool:CartPoel", 1)
    assert len(message("envpool:zzz", 1)) < 200
    assert presets.for_env("envpool:CartPole-v1").steps == 100_000
    assert presets.for_env("envpool:Pong-v5").steps == 10_000_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backend": "jax"}, ("backend: jax", "host or auto")),
        ({"workers": 1}, ("env_workers: 1", "0 for ale:Pong")),
        ({"options": EnvSettings(wrappers=("own:Wrapper",))}, ("wrapper: own:Wrapper", "left out")),
        ({"options": EnvSettings(frame_stack=2)}, ("frame_stack: 2", "1 for ale:Pong")),
        ({"options": EnvSettings({"stack": 1})}, ("env_kwargs: 'stack'", "stack_num")),
        ({"options": EnvSettings({"stack_num": "x"})}, ("env_kwargs of stack_num", "type int")),
        ({"options": EnvSettings({"img_width": 0})}, ("env_kwargs of img_width: 0", "above 0")),
        ({"options": EnvSettings({"reward_clipping": True})}, ("left to clip_rewards",)),
        ({"options": EnvSettings({"episodic_life": True})}, ("whole game",)),
        ({"options": EnvSettings({"seed": 1})}, ("left to seed",)),
    ],
)
def test_what_cannot_be_had_is_told_in_a_line(arguments, words):
    said = message("ale:Pong", 2, **arguments)
    assert all(word in said for word in words), said


def test_arguments_of_atari():
    assert presets.for_env("ale:Pong").steps == 10_000_000
    settings = {"stack_num": 2, "img_height": 42, "frameskip": 2, "repeat_action_probability": 0.25}
    task = registry.make("ale:Pong", 1, options=EnvSettings(settings))
    assert task.spec.observation_space.shape == (2, 42, 84)
    assert task.spec.max_episode_steps == 54_000
    assert registry.reward_threshold("ale:Pong") is None and not registry.in_graph("ale:Pong")


def test_errors_of_a_library_name_the_step():
    task = registry.make("ale:Pong", 2)
    task.reset(0)
    task.step(np.zeros(2, int))
    with pytest.raises(FailedEnvironmentError, match="ale:Pong, step 2 of each: AssertionError"):
        task.step(np.zeros(3, int))
