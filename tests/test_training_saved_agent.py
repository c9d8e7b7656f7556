"""Saved runs act in every later version: with their parameters, and without their training."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
from gymnasium import spaces
from rich.console import Console

from selftuning.agents import moments, self_tuning
from selftuning.configs import files
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from selftuning.envs import registry, space_files
from selftuning.envs.task import TaskSpec
from selftuning.training import checkpoints, saved_agent
from selftuning.training.evaluate_run import evaluate_run

RUNS_V1 = Path(__file__).parent / "data" / "runs-v1"
NAMES = ("cartpole", "two-colors", "pendulum", "q-lambda")

OBSERVATIONS, ACTIONS = spaces.Box(-np.inf, np.inf, (3,), np.float32), spaces.Discrete(2)
SPEC = TaskSpec("Nowhere-v0", OBSERVATIONS, ACTIONS, None, None, "host")
SMALL = AgentSettings(algorithm="actor_critic", hidden=(4,), rollout_length=2)


def settings_of(**changes):
    return RunSettings(env="Nowhere-v0", num_envs=2, **{"agent": SMALL} | changes)


def saved(run, settings=None):
    """A run of an environment that is not installed, as far as `saved_agent` writes it."""
    settings = settings or settings_of()
    functions = self_tuning.make(OBSERVATIONS, ACTIONS, settings)
    state = functions.init(jax.random.PRNGKey(3), {"gamma": 0.7})
    run.mkdir(exist_ok=True)
    (run / files.NAME).write_text(files.dump(settings))
    saved_agent.save(run, functions, state, SPEC, 1234)
    return functions, state


@pytest.fixture
def run_v1(request, tmp_path):
    """A copy of a run of version 0.1."""
    return Path(shutil.copytree(RUNS_V1 / request.param, tmp_path / request.param))


@pytest.mark.parametrize("run_v1", NAMES, indirect=True)
def test_a_run_of_version_0_1_acts_as_it_did(run_v1):
    """What it does was recorded with the version that trained it."""
    recorded = json.loads((run_v1 / "acts.json").read_text())
    agent = saved_agent.load(run_v1)
    observation = np.asarray(recorded["observation"], np.float32)
    greedy = agent.functions.mode(agent.params, observation)
    act, key = agent.functions.act, jax.random.PRNGKey(0)
    drawn, log_prob = act(agent.params, observation, key)
    unit, first = 1.0, recorded["greedy"]
    if isinstance(agent.action_space, spaces.Box):
        # Actions were in the units of the task, and clipped by it, about 0.
        unit, first = agent.action_space.high, np.clip(first, -2.0, 2.0)
    np.testing.assert_allclose(greedy, first, rtol=1e-5)
    np.testing.assert_allclose(drawn * unit, recorded["drawn"], rtol=1e-4)
    np.testing.assert_allclose(log_prob - np.log(unit), recorded["log_prob"], rtol=1e-4)
    summary = json.loads((run_v1 / "summary.json").read_text())
    assert agent.env_steps == summary["env_steps"]
    for name, value in summary["hyperparameters"].items():
        assert agent.hyperparameters[name] == np.float32(value["end"])


@pytest.mark.parametrize("run_v1", NAMES, indirect=True)
def test_a_run_of_version_0_1_is_evaluated_as_it_was(run_v1):
    settings = files.load(run_v1 / files.NAME, trained=True)
    written = evaluate_run(run_v1, settings, False, False, False, Console(quiet=True))
    before = json.loads((run_v1 / "eval-1.json").read_text())
    now = json.loads(written.read_text())
    assert written.name == "eval-2.json" and now.pop("policy") == "greedy"
    assert now.pop("agent") == "last"
    assert now.keys() == before.keys()
    for name, value in before.items():
        if isinstance(value, (float, list)):
            np.testing.assert_allclose(now[name], value, rtol=1e-4)
        else:
            assert now[name] == value


@pytest.mark.parametrize("run_v1", ["q-lambda"], indirect=True)
def test_a_killed_run_of_version_0_1_takes_hyperparameters_from_its_log(run_v1):
    whole = saved_agent.load(run_v1).hyperparameters
    (run_v1 / "summary.json").unlink()
    with (run_v1 / "metrics.jsonl").open("a") as log:
        log.write('{"env_steps": 9999999, "hyperparameters/epsilon": 0.5}\n{"env_st')
    assert saved_agent.load(run_v1).hyperparameters == whole
    (run_v1 / "metrics.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"neither summary\.json nor metrics\.jsonl"):
        saved_agent.load(run_v1)


def test_an_agent_acts_where_its_environment_is_not_installed(tmp_path):
    functions, state = saved(tmp_path)
    agent = saved_agent.load(tmp_path)
    assert (agent.observation_space, agent.action_space) == (OBSERVATIONS, ACTIONS)
    assert agent.env_steps == 1234 and agent.hyperparameters["gamma"] == np.float32(0.7)
    observation = np.ones(3, np.float32)
    expected = functions.mode(functions.params(state), observation[None])[0]
    assert agent.act(observation)[0] == expected
    with pytest.raises(ConfigError, match="Nowhere"):
        evaluate_run(tmp_path, agent.settings, False, False, False, Console(quiet=True))


def test_acting_needs_nothing_of_the_training_state(tmp_path):
    """Whatever later versions make of optimisers, history and context."""
    functions, state = saved(tmp_path)
    path = checkpoints.path_in(tmp_path)
    file = checkpoints.read(path)
    left = {name: x for name, x in file.arrays.items() if not name.startswith("training/")}
    left["training/optimizer/of/another/time"] = np.zeros(0)
    checkpoints.save(path, left, file.env_steps, file.about)
    params = saved_agent.load(tmp_path).params
    jax.tree.map(np.testing.assert_array_equal, params, functions.params(state))


@pytest.mark.parametrize(
    "settings",
    [
        settings_of(),
        settings_of(tuning=TuningSettings(context="rich", context_hidden=(4,), target_steps=4)),
        settings_of(
            agent=dataclasses.replace(SMALL, heads=2, correction="vtrace", outer_critic=True)
        ),
        settings_of(agent=dataclasses.replace(SMALL, hidden=(256, 256))),  # is not packed
    ],
    ids=["small", "network", "heads", "large"],
)
def test_the_whole_state_is_read_back_bit_for_bit(settings, tmp_path):
    functions, state = saved(tmp_path, settings)
    file = checkpoints.read(checkpoints.path_in(tmp_path))
    again, _ = saved_agent.training_state(file, functions)
    assert file.env_steps == 1234
    assert jax.tree.structure(again) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, again, jax.device_get(state))


def test_other_tools_read_parameters_and_hyperparameters_by_their_names(tmp_path):
    functions, state = saved(tmp_path)
    seen = moments.with_samples(
        moments.nothing((3,)), np.random.default_rng(0).normal(0.5, 2.0, (50, 3))
    )
    state = state._replace(statistics=state.statistics._replace(observation=seen))
    saved_agent.save(tmp_path, functions, state, SPEC, 1234)
    arrays = safetensors.numpy.load_file(checkpoints.path_in(tmp_path))
    assert {name for name in arrays if name.startswith("parameters/")} == {
        f"parameters/{net}/{layer}/{array}"
        for net in ("policy", "value")
        for layer in ("linear", "mlp/~/linear_0")
        for array in ("w", "b")
    }
    assert arrays["hyperparameters/gamma"] == np.float32(0.7)
    x = (np.ones(3, np.float32) - arrays["scales/shift"]) * arrays["scales/factor"]
    for layer, f in (("mlp/~/linear_0", np.tanh), ("linear", lambda x: x)):
        w, b = (arrays[f"parameters/policy/{layer}/{array}"] for array in ("w", "b"))
        x = f(x @ w + b)
    act, key = functions.act, jax.random.PRNGKey(0)
    log_prob = act(functions.params(state), np.ones((2, 3)), key)
    drawn, said = (np.asarray(part) for part in log_prob)
    np.testing.assert_allclose(said, (x - np.log(np.exp(x).sum()))[drawn], rtol=1e-5)


def test_the_lines_of_the_documentation_read_an_agent(tmp_path, capsys):
    saved(tmp_path)
    text = (Path(__file__).parent.parent / "docs" / "files.md").read_text()
    lines = text.partition('```python title="read_agent.py"')[2].partition("```")[0]
    exec(lines.replace("RUN", str(tmp_path)), {})
    assert capsys.readouterr().out == "(4, 2) 0.7\n"


def test_a_hyperparameter_that_a_run_did_not_have_keeps_its_default(tmp_path):
    saved(tmp_path)
    config, path = tmp_path / files.NAME, checkpoints.path_in(tmp_path)
    data = files.read(config)
    del data["hyperparameters"]["critic"], data["agent"]["activation"]
    config.write_text(json.dumps(data))
    file = checkpoints.read(path)
    left = {name: x for name, x in file.arrays.items() if name != "hyperparameters/critic"}
    checkpoints.save(path, left, file.env_steps, file.about)
    agent = saved_agent.load(tmp_path)
    default = RunSettings().hyperparameters["critic"]
    assert agent.settings.hyperparameters["critic"] == default
    assert agent.hyperparameters["critic"] == default.start


def test_a_changed_environment_is_not_evaluated(tmp_path):
    settings = dataclasses.replace(settings_of(), env="CartPole-v1", eval_episodes=1)
    saved(tmp_path, settings)
    with pytest.raises(ConfigError, match=r"CartPole-v1' has observations in Box.*trained with"):
        evaluate_run(tmp_path, settings, False, False, False, Console(quiet=True))


SPACES = [
    spaces.Box(-np.inf, np.array([1, np.inf], np.float32)),
    spaces.Box(0, 255, (84, 84, 3), np.uint8),
    spaces.Box(-1.5, 1.5, (2,), np.float64),
    spaces.Box(np.array([[1, 2]]), np.array([[2**40, 4]]), dtype=np.int64),
    spaces.Box(-1, 1, (), np.float32),
    spaces.Discrete(5, start=-2),
    spaces.Discrete(3, dtype=np.int32),
    spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [2, 3]]),
    spaces.MultiBinary((2, 3)),
    spaces.MultiBinary(4),
    spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Tuple([spaces.Box(0, 1), ACTIONS])}),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_space_is_the_same_after_json(space):
    again = space_files.from_plain(json.loads(json.dumps(space_files.to_plain(space))))
    assert again == space and again.dtype == space.dtype
    if isinstance(space, spaces.Dict):
        assert list(again) == list(space)  # which orders flattened observations
    json.dumps(space_files.to_plain(space), allow_nan=False)


def test_images_have_two_bounds_and_not_thousands():
    assert len(json.dumps(space_files.to_plain(SPACES[1]))) < 200


@pytest.mark.parametrize("env", ["Taxi", "Blackjack-v1", "CartPole-v1", "Pendulum-v1"])
def test_spaces_of_environments_are_the_same_after_json(env):
    task = registry.make(env, 1)
    for space in saved_agent.own_spaces(task.spec):
        assert space_files.from_plain(space_files.to_plain(space)) == space
