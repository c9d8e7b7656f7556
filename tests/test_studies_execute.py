"""Units run: what they measure, and that stopping them changes nothing."""

from dataclasses import replace

import numpy as np
import pytest

from selftuning.envs import registry
from selftuning.studies import execute, measures, plan, population
from selftuning.studies.measures import Cycles
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


def test_values_are_those_of_the_population(tuned):
    unit, result = tuned
    values = result.values
    points, runs = values["return"].shape
    seeds = [run.seed for run in unit.runs]
    outcome = population.run(
        unit.settings, seeds, {"gamma": [run.start["gamma"] for run in unit.runs]}
    )
    cycles = outcome.reward.shape[1]
    each = plan.points_of(cycles, unit.points).cycles
    assert points * each >= cycles
    steps = population.steps_per_cycle(unit.settings)
    np.testing.assert_array_equal(
        values["env_steps"], np.repeat((np.arange(points) + 1)[:, None] * each * steps, runs, 1)
    )
    # The program of a population has the same arithmetic; the last point may go beyond it.
    whole = cycles // each
    ends = outcome.episode_end[:, : whole * each * steps // unit.settings.num_envs]
    returns = outcome.episode_return[:, : ends.shape[1]]
    for point in range(whole):
        rows = slice(point * ends.shape[1] // whole, (point + 1) * ends.shape[1] // whole)
        for run in range(runs):
            ended = ends[run, rows]
            assert values["episodes"][point, run] == ended.sum()
            if ended.any():
                np.testing.assert_allclose(
                    values["return"][point, run], returns[run, rows][ended].mean(), rtol=1e-5
                )
    np.testing.assert_allclose(
        values["gamma"][:whole],
        outcome.hyperparameters["gamma"][:, each - 1 :: each].T[:whole],
        rtol=1e-5,
    )
    assert np.isfinite(values[measures.DIAGNOSTICS + "target_distance"]).all()
    assert (values["finite"] == 1).all()


def test_greedy_returns_are_there_where_they_were_asked_for(tuned):
    unit, result = tuned
    known = ~np.isnan(result.values["greedy"])
    points = len(known)
    assert np.flatnonzero(known.all(1)).tolist() == plan.evaluated(points, 2)
    assert known.sum() == 2 * len(unit.runs)
    assert (result.values["greedy"][known] >= 8).all()  # no episode of CartPole is shorter


def test_start_values_are_those_of_each_run():
    unit = replace(units("--block", "6", "--meta-learning-rate", "1e-9")[1], points=1)
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
        if len(told) > after:
            raise StoppedError

    checkpoint = tmp_path / "unit.safetensors"
    with pytest.raises(StoppedError):
        execute.run(unit, checkpoint, stop)
    first = list(told)
    told.clear()
    result = execute.run(unit, checkpoint, told.append)
    same(result, uninterrupted)
    # What was done before the checkpoint is not done again.
    assert told[0] == first[-1]
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


# Solving, by hand


def test_a_task_is_solved_when_a_hundred_episodes_say_so():
    def cycle(total, episodes):
        return Cycles(np.array([total]), np.array([episodes]), None, {}, {})

    def after(*rows, threshold=10.0):
        solving = measures.unsolved(1)
        for number, row in enumerate(rows):
            steps = np.array([100.0 * (number + 1)])
            solving = measures.solve(solving, cycle([row[0]], [row[1]]), steps, threshold)
        return solving.at[0]

    assert np.isnan(after((990.0, 99)))  # 99 episodes are not enough
    assert after((1000.0, 100)) == 100
    assert after((0.0, 50), (500.0, 50), (500.0, 50)) == 300
    # Cycles without episodes neither count nor push others out.
    assert after((500.0, 50), (0.0, 0), (500.0, 50), (0.0, 0)) == 300
    # It stays solved at the first time.
    assert after((1000.0, 100), (0.0, 100), (1000.0, 100)) == 100
    assert np.isnan(after((1000.0, 100), threshold=None))
    assert after(*[(11.0, 1)] * 150) == 100 * 100


@pytest.mark.parametrize("seed", [0, 1])
def test_solved_within_a_cycle_of_the_exact_step(seed):
    rng = np.random.default_rng(seed)
    cycles, steps, envs, threshold = 200, 8, 4, 60.0
    end = rng.random((1, cycles * steps, envs)) < 0.2
    returns = rng.normal(np.linspace(0, 100, cycles * steps)[None, :, None], 10, end.shape)
    nothing_else = np.empty(0), {}, {}, 0.0
    outcome = population.Outcome(end, returns, *nothing_else)
    exact = population.solved_at(outcome, threshold)[0]
    by_cycle = end.reshape(cycles, steps * envs), returns.reshape(cycles, steps * envs)
    row = Cycles(
        np.where(*by_cycle, 0.0).sum(1)[:, None], by_cycle[0].sum(1)[:, None], None, {}, {}
    )
    at = measures.solve(
        measures.unsolved(1), row, np.arange(1, cycles + 1) * steps * envs, threshold
    ).at[0]
    assert abs(at - exact) <= 2 * steps * envs


def test_a_threshold_comes_with_the_environment():
    assert registry.reward_threshold("CartPole-v1") == 475
    assert registry.reward_threshold("TwoColors-v0") is None
