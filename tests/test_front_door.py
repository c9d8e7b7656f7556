"""The front door: an agent in two lines of Python."""

import os
import signal
import subprocess
import sys
import threading

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import MountainCarEnv

import selftuning as st
from selftuning.envs import registry
from selftuning.envs.cartpole import CartPole

AGENT = {"hidden": [8], "rollout_length": 32, "epochs": 1, "minibatches": 2}
SMALL = AGENT | {"steps": 4_000, "progress": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "it"
    return st.train("CartPole", seed=3, start={"gamma": 0.7}, out=out, **SMALL)


def test_importing_it_loads_nothing_heavy():
    code = "import selftuning as st, sys; st.ConfigError, st.loss_term; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_public_name_is_there_and_documented():
    for name in st.__all__:
        assert getattr(st, name).__doc__, name
    assert set(st.__all__) <= set(dir(st))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = st.nothing


def test_a_run_is_arrays_that_can_be_plotted(run):
    (cycles,) = run.env_steps.shape
    assert run.env_steps[-1] == run.summary["env_steps"] >= 4_000
    assert (np.diff(run.env_steps) == 8 * 32).all()
    assert run.returns.shape == run.rewards.shape == (cycles,)
    assert run.hyperparameters["gamma"].shape == (cycles,)
    assert run.hyperparameters["gamma"][-1] == np.float32(run.agent.hyperparameters["gamma"])
    assert abs(run.hyperparameters["gamma"][0] - 0.7) < 0.05


def test_the_curve_is_that_of_its_episodes(run):
    for c in (0, 3, -1):
        before = run.episodes.returns[run.episodes.env_steps <= run.env_steps[c]][-100:]
        assert run.returns[c] == pytest.approx(before.mean()) if len(before) else np.nan
    assert run.returns[-1] == pytest.approx(run.summary["last_100_return"])


def test_what_is_written_is_what_the_command_line_writes(run):
    assert {"config.yaml", "summary.json", "metrics.jsonl", "plots", "checkpoints"} <= {
        path.name for path in run.directory.iterdir()
    }
    assert run.evaluation.mean == run.summary["eval_return_mean"]
    low, high = run.evaluation.interval
    assert low < run.evaluation.mean < high


def test_nothing_is_written_unless_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = st.train("CartPole", **SMALL)
    assert made.directory is None and made.evaluation is None and not list(tmp_path.iterdir())


def test_the_same_seed_gives_the_same_run_with_and_without_a_directory(run):
    again = st.train("CartPole", seed=3, start={"gamma": 0.7}, **SMALL)
    np.testing.assert_array_equal(again.returns, run.returns)
    np.testing.assert_array_equal(again.hyperparameters["gamma"], run.hyperparameters["gamma"])


def test_it_acts_on_one_observation_and_on_a_batch(run):
    env = gym.make("CartPole-v1")
    observation, _ = env.reset(seed=0)
    action, state = run.agent.act(observation)
    assert env.action_space.contains(action)
    batch = np.stack([observation, -observation, observation])
    actions, _ = run.agent.act(batch, state)
    assert actions.shape == (3,) and actions[0] == actions[2] == action


def test_drawn_actions_follow_from_the_state_and_vary(run):
    many = np.zeros((200, 4), np.float32)
    one, state = run.agent.act(many, greedy=False)
    again, _ = run.agent.act(many, greedy=False)
    other, _ = run.agent.act(many, state, greedy=False)
    np.testing.assert_array_equal(one, again)
    assert 0 < one.mean() < 1 and (one != other).any()


def test_an_observation_of_another_shape_is_refused(run):
    with pytest.raises(st.ConfigError, match=r"observation: shape \(3,\) .* must be \(4,\)"):
        run.agent.act(np.zeros(3))


def test_a_loaded_agent_is_the_one_that_was_saved(run):
    agent = st.load(run.directory)
    observations = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    np.testing.assert_array_equal(agent.act(observations)[0], run.agent.act(observations)[0])
    drawn = agent.act(observations, greedy=False)[0]
    np.testing.assert_array_equal(drawn, run.agent.act(observations, greedy=False)[0])
    assert agent.env_steps == run.env_steps[-1]
    assert agent.hyperparameters == pytest.approx(run.agent.hyperparameters)
    np.testing.assert_array_equal(agent.evaluate(4).rewards, run.evaluate(4).rewards)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"episodes": 0}, "episodes: 0 is not allowed; it must be a whole number of at least 1"),
        ({"episodes": "a"}, "episodes: 'a'"),
        ({"episodes": 1.5}, "episodes: 1.5"),
        ({"seed": -1}, "seed: -1 is not allowed"),
    ],
)
def test_an_evaluation_says_what_it_cannot_do(run, arguments, said):
    with pytest.raises(st.ConfigError, match=said):
        run.evaluate(**arguments)


def test_what_is_no_run_cannot_be_loaded(tmp_path):
    for path, said in ((3, "run: 3 is not allowed"), (tmp_path, "cannot read .*config.yaml")):
        with pytest.raises(st.ConfigError, match=said):
            st.load(path)


def test_a_run_is_not_overwritten(run):
    with pytest.raises(st.ConfigError, match="has a run with seed 3, not 0"):
        st.train("CartPole", out=run.directory, **SMALL)


def test_environments_may_be_functions_classes_functional_ones_and_tasks():
    small = SMALL | {"steps": 600, "meta": "none"}
    by_id = st.train("CartPole", backend="host", **small)
    by_function = st.train(lambda: gym.make("CartPole-v1"), **small)
    assert by_function.agent.settings.env.startswith("given/")
    assert by_function.summary["backend"] == "host"
    assert by_function.evaluate(3).rewards.shape == (3,)
    # But for the settings that belong to CartPole it is the same run.
    np.testing.assert_array_equal(by_function.returns, by_id.returns)
    assert by_id.env_steps[-1] == by_function.env_steps[-1]
    assert st.train(MountainCarEnv, **small).summary["env_id"].startswith("given/MountainCarEnv")
    functional = st.train(CartPole(), **small)
    assert functional.summary["backend"] == "jax"
    task = registry.make("CartPole-v1", 8)
    given = st.train(task, **small)
    in_graph = st.train("CartPole", **small)
    assert given.evaluate(6).rewards.shape == (6,)
    assert given.env_steps[-1] == in_graph.env_steps[-1]


def test_callbacks_see_every_chunk_and_end_a_run():
    seen = []

    def after_two(snapshot):
        seen.append(snapshot)
        return len(seen) == 2

    stopped = st.train("CartPole", callback=after_two, **SMALL)
    assert stopped.interrupted and stopped.env_steps[-1] < 4_000
    assert seen[0].hyperparameters.keys() >= {"gamma", "entropy"}

    class PrunedError(Exception):
        pass

    def prune(snapshot):
        raise PrunedError

    with pytest.raises(PrunedError):
        st.train("CartPole", callback=prune, **SMALL)


def test_ctrl_c_returns_what_was_learned():
    seen = []

    def interrupt(snapshot):
        if not seen:  # a second one would end it at once
            os.kill(os.getpid(), signal.SIGINT)
        seen.append(snapshot)

    before = signal.getsignal(signal.SIGINT)
    stopped = st.train("CartPole", callback=interrupt, **SMALL)
    assert stopped.interrupted and 0 < stopped.env_steps[-1] < 4_000
    assert stopped.agent.act(np.zeros(4))[0] in (0, 1)
    assert signal.getsignal(signal.SIGINT) is before


def test_it_trains_in_another_thread():
    made = []
    thread = threading.Thread(target=lambda: made.append(st.train("CartPole", **SMALL)))
    thread.start()
    thread.join()
    assert made[0].env_steps[-1] >= 4_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stepz": 3}, "stepz: there is no such setting; did you mean steps?"),
        ({"extension": ["x"]}, "extension: there is no such setting; did you mean extensions?"),
        ({"learning_rate": 0.1}, 'did you mean start={"learning_rate": VALUE}?'),
        ({"ent_coef": 0.1}, 'did you mean start={"entropy": VALUE}?'),
        ({"meta": "none", "tune": ["gamma"]}, "tune: gamma is not allowed; it must be left out"),
        (
            {"inner_optimizer": "rms", "start": {"momentum": 0.5}},
            "start of momentum: 0.5 is not allowed; it must be left out with inner_optimizer rms",
        ),
        ({"steps": "many"}, "steps: 'many' is not allowed; it must be a whole number"),
        ({"steps": 1.5}, "steps: 1.5 is not allowed; it must be a whole number"),
        ({"steps": 0}, "steps: 0 is not allowed"),
        ({"steps": 10**400}, r"steps: 10+\.\.\. .401 characters. is not allowed"),
        ({"max_grad_norm": -(10**400)}, "max_grad_norm: -inf is not allowed"),
        ({"start": {"gamma": 10**400}}, "start of gamma: inf is not allowed"),
        ({"preset": ["stacx"]}, r"preset: \['stacx'\] is not allowed; it must be actor_critic"),
        ({"steps": True}, "steps: True is not allowed"),
        ({"meta": "genetic"}, "meta: 'genetic' is not allowed; it must be none | mg | bmg"),
        ({"meta": None}, "meta: None is not allowed"),
        ({"meta_learning_rate": "x"}, "meta_learning_rate: 'x' is not allowed; .* a number"),
        ({"meta_learning_rate": -1}, "meta_learning_rate: -1"),
        ({"hidden": 5}, "hidden: 5 is not allowed; it must be a list of whole numbers"),
        ({"hidden": "64,64"}, "hidden: '64,64' is not allowed"),
        ({"hidden": [0]}, "^hidden: 0 is not allowed"),
        ({"heads": -1}, "^heads: -1 is not allowed"),
        ({"normalize_advantage": 3}, "normalize_advantage: 3 .* True or False"),
        ({"start": {"gama": 0.5}}, "start: no hyperparameter is called 'gama'"),
        ({"start": {"gamma": 2}}, "start of gamma: 2"),
        ({"start": {"gamma": "x"}}, "start of gamma: 'x' is not allowed; it must be a number"),
        ({"start": {"gamma": 0.0}}, r"fix=\["),
        ({"bounds": 3}, "bounds: 3 is not allowed; it must be a mapping"),
        ({"bounds": {"gamma": 0.5}}, r"bounds of gamma: 0.5 is not allowed; .* pair \(low, high\)"),
        ({"fix": 3}, "fix: 3 is not allowed; it must be a list of names"),
        ({"fix": "gamma", "tune": ["gamma"]}, "tune gamma: said twice"),
        ({"preset": "muzero"}, "preset: 'muzero' is not allowed"),
        ({"extensions": ["none_such"]}, "no module none_such"),
        ({"extensions": 3}, "extensions: 3 is not allowed; it must be a list"),
        ({"settings": {}}, "settings: {} is not allowed; it must be a RunSettings"),
        ({"callback": 3}, "callback: 3 is not allowed; it must be a function"),
        ({"out": ""}, "out: '' is not allowed; it must be the path of a directory"),
        ({"out": 3}, "out: 3 is not allowed"),
        ({"wandb": "x"}, "wandb: 'x' is not allowed; it must be off | offline | online"),
        ({"wandb": "offline"}, "wandb: .*offline.* is not allowed; .* unless there is an out"),
        ({"env": "CartPoleX"}, "closest: CartPole"),
        ({"env": 3}, "env: 3 is not allowed; it must be a Gymnasium id"),
        ({"env": gym.make("CartPole-v1")}, "it must be a function that makes such"),
        ({"env": lambda: 3}, "has made 3, which is no gymnasium.Env"),
        ({"env": lambda: 1 / 0}, "env: <lambda>: ZeroDivisionError: .*test_front_door.py, line"),
        ({"env": CartPole}, r"an object of that class: CartPole\(\)"),
    ],
)
def test_mistakes_are_config_errors_of_one_line(changes, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(st.ConfigError, match=said) as error:
        st.train(**({"env": "CartPole", "progress": False} | changes))
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("train", [st.train, st.train_many])
def test_what_to_expect_is_said_in_the_words_of_keywords_where_it_was_called(train):
    fixed = {"meta": "none", "start": {"gamma": 0.5}, "num_envs": 2}
    with pytest.warns(UserWarning, match=r'with outer=\{"gamma": 0.5\} they are') as said:
        train("CartPole", callback=lambda _: True, **SMALL | fixed)
    assert said[0].filename == __file__


def test_settings_may_come_as_one_object():
    run = st.train("CartPole", meta="mg", num_envs=2, **SMALL)
    again = st.train(settings=run.settings, progress=False)
    np.testing.assert_array_equal(run.returns, again.returns)
    other = st.train(settings=run.settings, seed=run.settings.seed + 1, progress=False)
    assert other.settings.tuning.method == "mg" and (other.returns != run.returns).any()


def test_numbers_may_be_those_of_numpy():
    run = st.train(
        "CartPole", **SMALL | {"steps": np.int64(300), "start": {"gamma": np.float32(0.5)}}
    )
    assert run.settings.hyperparameters["gamma"].start == 0.5 and type(run.settings.steps) is int


@pytest.fixture(scope="module")
def runs():
    return st.train_many("CartPole", seeds=[3, 4], starts={"gamma": [0.7, 0.9]}, **SMALL)


class TestMany:
    def test_all_seeds_of_all_starts_are_there(self, runs):
        assert len(runs) == 4 and runs.seeds.tolist() == [3, 4, 3, 4]
        starts = [run.settings.hyperparameters["gamma"].start for run in runs]
        assert starts == [0.7, 0.7, 0.9, 0.9]
        assert runs.returns.shape == runs.hyperparameters["gamma"].shape == (4, len(runs.env_steps))
        assert runs.select(gamma=0.9, seed=4)[0] is runs[3]
        with pytest.raises(st.ConfigError, match="there is no run with"):
            runs.select(gamma=0.1)

    def test_each_is_the_run_that_it_would_be_alone(self, runs, run):
        alone, one = run, runs[0]
        assert one.env_steps[-1] == alone.env_steps[-1]
        # Sums of several runs side by side are rounded differently: the beginning tells.
        np.testing.assert_allclose(one.returns[:4], alone.returns[:4], rtol=1e-6)
        path, other = one.hyperparameters["gamma"], alone.hyperparameters["gamma"]
        np.testing.assert_allclose(path[:4], other[:4], rtol=1e-4)

    def test_each_acts(self, runs):
        assert runs[2].evaluate(2).rewards.shape == (2,)
        assert runs[2].agent.act(np.zeros(4))[0] in (0, 1)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"starts": {"gama": [1]}}, "no hyperparameter in use is called 'gama'"),
            ({"starts": {"gamma": [2.0]}}, "start of gamma: 2"),
            ({"starts": {"gamma": []}}, "starts of gamma: .* a list of numbers"),
            ({"starts": {"gamma": "0.7"}}, "starts of gamma: '0.7' is not allowed"),
            ({"starts": 3}, "starts: 3 is not allowed; it must be a mapping"),
            ({"starts": {"gamma": [0.7]}, "start": {"gamma": 0.8}}, "start of gamma: .* left out"),
            ({"seeds": []}, "seeds: none is not allowed"),
            ({"seeds": [1.5]}, "seeds: .1.5. is not allowed; it must be a list of whole"),
            ({"seeds": [0, 0]}, "seeds: .* without repetition"),
            ({"seeds": 3}, "seeds: 3 is not allowed"),
            ({"seed": 3}, "seed: 3 is not allowed; it must be left out"),
            ({"env": "Pendulum"}, "stepped inside jit"),
        ],
    )
    def test_mistakes_are_config_errors(self, changes, said):
        with pytest.raises(st.ConfigError, match=said):
            st.train_many(**({"env": "CartPole", "progress": False} | changes))


def test_composite_observations_are_taken_as_the_environment_has_them():
    class Both(gym.Env):
        observation_space = gym.spaces.Dict(
            {
                "where": gym.spaces.Box(-1, 1, (2,), np.float32),
                "what": gym.spaces.Discrete(3, start=1),
            }
        )
        action_space = gym.spaces.Box(-2.0, 2.0, (1,), np.float32)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

        def step(self, action):
            assert self.action_space.contains(action)
            return self.observation_space.sample(), 0.0, False, True, {}

    run = st.train(Both, **SMALL | {"steps": 300})
    space = run.agent.observation_space
    one = space.sample()
    action, _ = run.agent.act(one)
    assert run.agent.action_space.contains(action)
    batch = {"where": np.stack([one["where"]] * 3), "what": np.array([one["what"]] * 3)}
    actions, _ = run.agent.act(batch)
    np.testing.assert_allclose(actions, np.stack([action] * 3), rtol=1e-5)


def test_a_path_stays_what_it_is_in_a_message(tmp_path):
    directory = tmp_path / "a--b"
    directory.mkdir()
    (directory / "mine").write_text("")
    with pytest.raises(st.ConfigError, match=r"^out: .*a--b"):
        st.train("CartPole", steps=1000, out=directory, progress=False)
