"""What the benchmarks measure, on runs small enough to count by hand."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from selftuning.benchmarks import cartpole, tables
from selftuning.studies import population
from selftuning.studies.population import Outcome
from selftuning.training import host_devices

TWO_DEVICES = "--xla_force_host_platform_device_count=2"
EIGHT_DEVICES = "--xla_force_host_platform_device_count=8"


def outcome(ends, returns, greedy=((0.0,),)):
    return Outcome(np.array(ends, bool), np.array(returns, float), np.array(greedy), {}, {}, 0.0)


def test_solved_at_counts_steps_of_all_environments_in_time_order():
    """Two environments end an episode every step; the mean of 100 passes 1 after 60 ones of 2."""
    steps = 200
    returns = np.zeros((1, steps, 2))
    returns[0, 50:] = 2.0  # episodes 100, 101, ... return 2
    runs = outcome(np.ones((1, steps, 2)), returns)
    # 50 of the last 100 episodes are of return 2 once episode 149 has ended: row 74.
    assert population.solved_at(runs, 1.0)[0] == 75 * 2
    assert population.solved_at(runs, 2.5)[0] == np.inf


def test_greedy_at_is_the_first_evaluation_that_passes():
    ends = np.zeros((2, 50, 2))
    runs = outcome(ends, ends, [[1, 5, 3, 9], [0, 0, 0, 0]])
    np.testing.assert_array_equal(population.greedy_at(runs, 5.0), [50.0, np.inf])


def test_curves_weigh_steps_alike_and_carry_the_last_known_value():
    ends, returns = np.zeros((1, 120, 1)), np.zeros((1, 120, 1))
    ends[0, 1], returns[0, 1] = True, 4.0
    ends[0, 60:], returns[0, 60:] = True, 10.0
    curve = population.curves(outcome(ends, returns))
    np.testing.assert_array_equal(curve[0], [4.0] * 30 + [10.0] * 30)
    assert population.last_tenth(curve)[0] == 10.0


def test_intervals_hold_the_mean_and_shrink_with_seeds():
    rng = np.random.default_rng(0)
    few, many = (population.interval(rng.normal(5, 1, (3, n))) for n in (4, 400))
    for mean, low, high in (few, many):
        assert low < mean < high
    assert many[2] - many[1] < few[2] - few[1]
    median, low, high = population.median_interval(np.arange(21.0))
    assert median == 10
    assert low < 10 < high


@pytest.mark.slow
def test_a_population_starts_where_it_is_told_and_is_tuned():
    settings = cartpole.settings_for("bmg", steps=1000)
    runs = population.run(settings, [3, 4], {"gamma": [0.5, 0.9]})
    np.testing.assert_allclose(runs.hyperparameters["gamma"][:, 0], [0.5, 0.9], atol=0.02)
    assert np.all(runs.hyperparameters["gamma"][:, 0] != runs.hyperparameters["gamma"][:, -1])
    assert runs.diagnostics["meta_gradient/gamma"].shape == runs.hyperparameters["gamma"].shape
    assert 1000 <= runs.env_steps < 1300


def test_tables_of_the_docs_are_the_results():
    for page in tables.PAGES:
        text = (tables.DOCS / page).read_text(encoding="utf-8")
        assert "<!-- end -->" in text
        assert tables.render(text) == text, (
            f"{page} is out of date: python -m selftuning.benchmarks.tables"
        )


@pytest.mark.slow
def test_where_a_run_is_cut_changes_nothing(monkeypatch):
    settings = cartpole.settings_for("none", steps=6000)
    starts, told = {"gamma": [0.5, 0.9]}, []
    whole = population.run(settings, [3, 4], starts, evaluations=2)
    monkeypatch.setattr(population, "_REPORTS", 5)  # 12 cycles of a part: 3, 3, 3 and 3
    cut = population.run(settings, [3, 4], starts, 2, progress=lambda *x: told.append(x))
    for a, b in zip(jax.tree.leaves(whole[:5]), jax.tree.leaves(cut[:5]), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(whole.reward, np.ones((2, 24)))  # CartPole's
    np.testing.assert_array_equal(cut.reward, whole.reward)
    size = population.steps_per_cycle(settings)
    assert whole.env_steps == cut.env_steps == 24 * size
    assert told == [(3 * size * n, whole.env_steps) for n in range(1, 9)]
    # Rewards are 1, so returns count steps: in one piece and in time order.
    end, returns = cut.episode_end, cut.episode_return
    assert end.shape == (2, 24 * size // 4, 4)
    np.testing.assert_array_equal(returns[:, 1:], np.where(end[:, :-1], 0, returns[:, :-1]) + 1)


def test_binned_weighs_repeats_and_ends_with_its_part():
    values = np.array([[1.0, 3.0, np.nan, 5.0]])
    weights = np.array([[1.0, 3.0, 0.0, 2.0]])
    # Steps of 120: the parts are of two; entries end with steps 2, 3, 60 and 120.
    line = population.binned(values, weights, np.array([2, 3, 60, 120]))
    np.testing.assert_array_equal(line[0], [1.0] + [3.0] * 58 + [5.0])
    both = population.binned(values, weights, np.array([1, 2, 60, 120]))
    np.testing.assert_array_equal(both[0, :2], [2.5, 2.5])
    late = population.binned(values, weights * [[0, 0, 0, 1]], np.array([2, 3, 60, 120]))
    assert np.all(np.isnan(late[0, :59])) and late[0, 59] == 5.0


@pytest.mark.slow
def test_runs_on_several_devices_are_the_same_runs(tmp_path):
    """In other processes: the number of devices is settled when JAX uses the first one."""
    results = {}
    flags_of = {"one": "", "two": TWO_DEVICES, "eight": EIGHT_DEVICES}
    for name, flags in flags_of.items():
        more = [] if name == "one" else ["sharded"]
        path = tmp_path / f"{name}.npz"
        command = [sys.executable, "-m", "tests.sharded_population", str(path), *more]
        environment = os.environ | {"XLA_FLAGS": flags}
        subprocess.run(command, check=True, env=environment, capture_output=True)
        results[name] = dict(np.load(path))
    assert [int(r.pop("devices")) for r in results.values()] == [1, 2, 8]
    for name, one in results["one"].items():
        assert one.shape[0] == 3
        for several in ("two", "eight"):
            # Other batch sizes round differently; the first cycles show no more than that.
            first, second = one[:, :5], results[several][name][:, :5]
            np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)


def test_flags_that_are_set_already_stay(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", TWO_DEVICES)
    host_devices.enable()
    assert os.environ["XLA_FLAGS"] == TWO_DEVICES
    monkeypatch.setenv("XLA_FLAGS", "--xla_something=1")
    host_devices.enable()
    cores = len(os.sched_getaffinity(0))
    assert os.environ["XLA_FLAGS"].startswith("--xla_something=1 ")
    assert f"device_count={cores}" in os.environ["XLA_FLAGS"]
