"""Units run: what they measure, and that stopping them changes nothing."""

import io
from dataclasses import replace

import jax
import numpy as np
import pytest
from rich.console import Console

from selftuning.configs import studies
from selftuning.envs import registry
from selftuning.studies import execute, measures, plan, vmapped
from selftuning.studies.measures import Cycles
from selftuning.training.metrics import EpisodeStatistics, finished_episodes
from selftuning.training.run import train
from selftuning.training.runner import make_runner
from tests.small_studies import small


def nothing(_part):
    pass


def units(*arguments):
    return plan.units_of(small(*arguments).settings)


@pytest.fixture(scope="module")
def tuned():
    """The first unit of bmg, with all runs from one start, and its result."""
    unit = units()[2]
    assert (unit.method, [run.start["gamma"] for run in unit.runs]) == ("bmg", [0.7] * 3)
    return unit, execute.run(unit, None, nothing)


def same(one, two):
    assert one.values.keys() == two.values.keys()
    for name, x in one.values.items():
        np.testing.assert_array_equal(x, two.values[name], err_msg=name)


def test_values_are_those_of_a_run(tuned):
    """As `run.py` makes it alone, but for rounding."""
    unit, result = tuned
    values, settings = result.values, unit.settings
    points = len(values["return"])
    task, agent = vmapped.task_and_agent(settings)
    runner = make_runner(task, agent, settings)
    each = -(-vmapped.cycles_for(settings) // points)
    np.testing.assert_array_equal(
        values["env_steps"][:, 0], np.arange(1, points + 1) * each * runner.steps_per_cycle
    )
    for number, run in enumerate(unit.runs):
        state = runner.init(jax.random.PRNGKey(run.seed), run.start)
        _, metrics = runner.compile(state, points * each)(state)
        metrics = jax.tree.map(np.asarray, metrics)
        for point in range(points // 2):  # later rounding has become another course of things
            rows = slice(point * each, (point + 1) * each)
            ended = metrics.episode_end[rows]
            assert values["episodes"][point, number] == ended.sum()
            if ended.any():
                mean = metrics.episode_return[rows][ended].mean()
                np.testing.assert_allclose(values["return"][point, number], mean, rtol=1e-5)
            gamma = metrics.hyperparameters["gamma"][rows][-1]
            np.testing.assert_allclose(values["gamma"][point, number], gamma, rtol=1e-4)
    assert np.isfinite(values[measures.DIAGNOSTICS + "target_distance"]).all()
    assert (values["finite"] == 1).all()


def test_greedy_returns_are_there_where_they_were_asked_for(tuned):
    unit, result = tuned
    known = ~np.isnan(result.values["greedy"])
    points = len(known)
    assert np.flatnonzero(known.all(1)).tolist() == plan.evaluated(points, 2)
    assert known.sum() == 2 * len(unit.runs)
    assert (result.values["greedy"][known] >= 8).all()  # no episode of CartPole is shorter


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_a_life_is_evaluated_at_the_level_that_it_has_come_to(backend):
    """Signs of rewards say which level it is; 750 and 1,500 steps of one environment are lived."""
    life = ["change=reward_sign", "switch_every=500", "levels=3", "block=0"]
    asked = ("--env", "ContinualCartPole", "--env-kwargs", *life, "--backend", backend)
    values = execute.run(units(*asked, "--points", "4")[-1], None, nothing).values
    judged = values["greedy"][~np.isnan(values["greedy"]).all(1)]
    np.testing.assert_array_equal(np.sign(judged), [[-1] * judged.shape[1], [1] * judged.shape[1]])


def test_a_run_is_the_same_to_the_last_bit_whatever_other_starts_there_are(tuned):
    unit, result = tuned
    starts = [run.start for run in unit.runs]
    (again,) = (
        one
        for one in units("--start", "gamma=0.6,0.7,0.9,0.99")
        if one.method == unit.method and [run.start for run in one.runs] == starts
    )
    assert again.name != unit.name
    same(execute.run(again, None, nothing), result)


@pytest.mark.slow
def test_start_values_are_those_of_each_run():
    still = ("--meta-optimizer", "adam", "--meta-learning-rate", "1e-9")
    unit = replace(units("--block", "6", "--mixed-blocks", *still)[1], points=1)
    result = execute.run(unit, None, nothing)
    np.testing.assert_allclose(result.values["gamma"][-1], [0.7] * 3 + [0.99] * 3, rtol=1e-5)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 5])
def test_a_unit_that_was_stopped_goes_on_and_ends_the_same(tuned, after, tmp_path, monkeypatch):
    unit, uninterrupted = tuned
    monkeypatch.setattr(execute, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    told = []

    def stop(part):
        told.append(part)
        if len(told) > after + 2:  # it begins, it is compiled
            raise StoppedError

    checkpoint = tmp_path / "unit.safetensors"
    with pytest.raises(StoppedError):
        execute.run(unit, checkpoint, stop)
    first, points = list(told), len(next(iter(uninterrupted.values.values())))
    assert first == [0.0, *(n / points for n in range(after + 2))]
    told.clear()
    result = execute.run(unit, checkpoint, told.append)
    same(result, uninterrupted)
    # What was done before the checkpoint is not done again.
    assert told[:3] == [0.0, after / points, first[-1]]
    assert result.about["begun_at_point"] == after


def test_a_damaged_or_strange_checkpoint_is_not_used(tuned, tmp_path, monkeypatch, capsys):
    unit, uninterrupted = tuned
    monkeypatch.setattr(execute, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    checkpoint = tmp_path / "unit.safetensors"
    execute.run(unit, checkpoint, nothing)
    content = bytearray(checkpoint.read_bytes())
    content[-3] ^= 1
    checkpoint.write_bytes(content)
    same(execute.run(unit, checkpoint, nothing), uninterrupted)
    assert "begins anew" in capsys.readouterr().err
    other = replace(unit, settings=replace(unit.settings, eval_episodes=4))
    result = execute.run(other, checkpoint, nothing)
    assert result.about["begun_at_point"] == 0
    assert "is of another study" in capsys.readouterr().err


def test_without_a_directory_there_are_no_checkpoints(tuned, tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    execute.run(tuned[0], tmp_path / "elsewhere" / "unit.safetensors", nothing)
    assert not list(tmp_path.iterdir())


def test_a_run_on_the_host(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    unit = units("--backend", "host", "--steps", "1500", "--points", "4")[-1]
    result = execute.run(unit, tmp_path / "unit.safetensors", nothing)
    values = result.values
    assert not list(tmp_path.iterdir())  # its environments cannot be kept
    assert {x.shape for x in values.values()} == {(len(values["reward"]), 1)}
    assert values["env_steps"][-1, 0] >= 1500
    assert values["episodes"].sum() > 5
    assert np.isfinite(values["greedy"][-1, 0])
    np.testing.assert_allclose(values["reward"], 1)
    np.testing.assert_allclose(values["gamma"][-1], 0.99, atol=0.02)
    # Another run in the same process begins anew, with the same numbers.
    same(execute.run(unit, None, nothing), result)


def test_calibration_runs_nothing_that_counts(tuned):
    unit, result = tuned
    found = execute.calibrate(unit)
    assert found.points == len(result.values["return"])
    assert found.seconds == found.point_seconds * found.points > 0
    same(execute.run(unit, None, nothing), result)


# Solving


def cycles_of(end, returns):
    """Cycles of one run [N, S, B]."""
    return Cycles(None, None, None, {}, {}, (end[:, None], returns[:, None]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cuts", [[], [1, 2, 50, 51, 150], list(range(0, 200, 7))])
def test_runs_and_studies_agree_on_when_a_task_was_solved(seed, cuts):
    """To the step, wherever they are cut."""
    rng = np.random.default_rng(seed)
    cycles, steps, envs, threshold = 200, 8, 4, 60.0
    end = rng.random((cycles, steps, envs)) < 0.2
    means = np.linspace(0, 100, cycles * steps).reshape(cycles, steps, 1)
    returns = rng.normal(means, 30, end.shape).astype(np.float32)
    statistics = EpisodeStatistics(threshold)
    statistics.add(finished_episodes(end, returns, 0))
    solving = measures.unsolved(1)
    for rows in np.split(np.arange(cycles), cuts):
        if len(rows):
            before = rows[0] * steps * envs
            solving = measures.solve(
                solving, cycles_of(end[rows], returns[rows]), before, threshold
            )
    assert solving.at[0] == statistics.solved_at is not None
    # By hand: the first entry at which the last hundred have that mean.
    ended, when = returns[end].astype(float), np.flatnonzero(end.ravel())
    first = next(n for n in range(99, len(ended)) if ended[n - 99 : n + 1].mean() >= threshold)
    assert statistics.solved_at == (when[first] // envs + 1) * envs
    assert statistics.solved_at % (steps * envs)  # within a cycle
    never = measures.solve(measures.unsolved(1), cycles_of(end, returns), 0, None)
    assert np.isnan(never.at[0])


@pytest.mark.slow
def test_a_run_and_a_study_of_that_run_solve_it_at_the_same_step(monkeypatch):
    make = registry.make

    def easier(*arguments, **keywords):
        task = make(*arguments, **keywords)
        return task._replace(spec=task.spec._replace(reward_threshold=25.0))

    monkeypatch.setattr(registry, "make", easier)
    (unit,) = units(
        "--methods", "bmg,-outer", "--seeds", "1", "--start", "gamma=0.9", "--seed", "3"
    )
    solved = execute.run(unit, None, nothing).values["solved_at"]
    (run,) = unit.runs
    settings = replace(studies.started(unit.settings, run.start), seed=run.seed)
    console = Console(file=io.StringIO())
    summary = train(settings, console, keep=False).summary
    assert 1000 < summary["solved_at_env_steps"] < 6000
    assert solved[-1, 0] == summary["solved_at_env_steps"]


def test_a_threshold_comes_with_the_environment():
    assert registry.reward_threshold("CartPole-v1") == 475
    assert registry.reward_threshold("TwoColors-v0") is None
