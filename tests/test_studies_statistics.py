"""Aggregates and their intervals: rliable's numbers, definitions by hand, and coverage."""

import numpy as np
import pytest
from scipy import stats

from selftuning.studies import statistics, superiority

# Six runs of one method and five of another on four tasks.
X = np.array(
    [
        [0.334, 0.535, 0.688, 0.559],
        [0.222, 0.953, 1.084, 0.521],
        [0.093, 0.096, 0.304, 0.601],
        [0.321, 0.148, 1.118, 0.264],
        [0.165, 1.236, 0.916, 0.56],
        [0.353, 0.144, 1.095, 1.86],
    ]
).T
Y = np.array(
    [
        [0.132, 1.108, 1.778, 0.939],
        [0.217, 0.521, 0.401, 0.516],
        [0.782, 0.391, 0.152, 0.556],
        [0.595, 0.563, 2.891, 0.474],
        [0.341, 0.288, 0.794, 0.931],
    ]
).T
# What rliable 1.2.0 says of them: value, ends of the interval of 50,000 resamples.
RLIABLE = {
    ("x", "iqm"): (0.49633333, 0.35824792, 0.68683333),
    ("x", "mean"): (0.59041667, 0.45154167, 0.74929167),
    ("x", "median"): (0.62308333, 0.38833333, 0.83183542),
    ("x", "optimality_gap"): (0.467625, 0.36329167, 0.56945833),
    ("y", "iqm"): (0.5593, 0.4264, 0.7416),
    ("y", "mean"): (0.7185, 0.4954, 0.9712025),
    ("y", "median"): (0.6287, 0.473, 0.785),
    ("y", "optimality_gap"): (0.42035, 0.3044, 0.53485125),
}
NOISE = 0.015  # of an end of an interval, from resampling


@pytest.mark.parametrize(("method", "name"), RLIABLE)
def test_aggregates_are_those_of_rliable(method, name):
    value, low, high = RLIABLE[method, name]
    found = statistics.estimate({"x": X, "y": Y}[method], statistics.AGGREGATES[name])
    assert found.value == pytest.approx(value, abs=1e-7)
    assert found.low == pytest.approx(low, abs=NOISE)
    assert found.high == pytest.approx(high, abs=NOISE)


def test_probability_of_improvement_is_that_of_rliable():
    """rliable's bootstrap says 0.258 to 0.633; intervals have tests of their own."""
    found = superiority.probability_of_improvement(X, Y)
    assert found.value == pytest.approx(0.44166666666666665, abs=1e-12)
    assert found.low == pytest.approx(0.258, abs=0.05)
    assert found.high == pytest.approx(0.633, abs=0.05)


def test_performance_profile_is_that_of_rliable():
    found = statistics.performance_profile(X, np.array([0.0, 0.3, 0.6, 0.9, 1.5]), 2000)
    expected = [1.0, 0.70833333, 0.375, 0.29166667, 0.04166667]
    np.testing.assert_allclose(found.value, expected, atol=1e-7)
    np.testing.assert_allclose(found.low, [1, 0.541667, 0.208333, 0.125, 0], atol=0.05)
    np.testing.assert_allclose(found.high, [1, 0.875, 0.541667, 0.458333, 0.125], atol=0.05)


def test_improvement_is_the_u_statistic_and_ties_count_half():
    x, y = np.array([1.0, 2.0, 2.0, 5.0]), np.array([2.0, 3.0, 0.0])
    found = superiority.probability_of_improvement([x], [y])
    assert found.value == pytest.approx(stats.mannwhitneyu(x, y).statistic / 12)
    same = superiority.probability_of_improvement([x], [x])
    assert same.value == 0.5 and same.low < 0.5 < same.high


def test_three_runs_that_all_win_are_no_certainty():
    """Chance alone makes all of three better than three others once in ten; of five, in 126."""
    for runs, shown in ((3, False), (5, True)):
        won = superiority.probability_of_improvement([np.arange(runs) + 9.0], [np.arange(runs)])
        assert (won.value, won.high) == (1, 1)
        assert bool(won.low > 0.5) is shown
        lost = superiority.probability_of_improvement([np.arange(runs)], [np.arange(runs) + 9.0])
        assert lost == pytest.approx((0, 0, 1 - won.low))


def test_tasks_may_have_different_numbers_of_runs():
    scores = [np.array([0.0, 1.0]), np.array([2.0, 4.0, 6.0])]
    assert statistics.estimate(scores, statistics.mean, 100).value == 2.25
    assert statistics.estimate(scores, statistics.median, 100).value == 2.25
    assert statistics.estimate(scores, statistics.optimality_gap(5.0), 100).value == pytest.approx(
        5 - (0.5 + 11 / 3) / 2
    )


def test_runs_are_drawn_within_their_task():
    """Runs of a task are alike: what differs between tasks is no uncertainty."""
    scores = [np.full(5, 1.0), np.full(5, 100.0)]
    for aggregate in statistics.AGGREGATES.values():
        found = statistics.estimate(scores, aggregate, 100)
        assert found.low == found.value == found.high
    nearly = [np.array([1.0, 1.1, 1.0]), np.full(3, 100.0)]
    found = statistics.estimate(nearly, statistics.mean, 1000)
    assert 50.5 <= found.low < found.value < found.high <= 50.55


@pytest.mark.parametrize(
    "scores", [[], [np.array([1.0])], [np.array([1.0, np.nan])], [np.zeros((2, 2))]]
)
def test_what_says_nothing_is_an_error(scores):
    with pytest.raises(ValueError, match="scores"):
        statistics.estimate(scores, statistics.mean)
    with pytest.raises(ValueError, match=r"scores|tasks"):
        superiority.probability_of_improvement(scores, [np.zeros(3)] * 2)


def test_a_curve_is_an_estimate_at_each_point():
    rng = np.random.default_rng(0)
    curves = [rng.normal(size=(5, 7)), rng.normal(size=(4, 7))]
    found = statistics.estimate_curve(curves, statistics.interquartile_mean, 300)
    for point in range(7):
        at = [curve[:, point] for curve in curves]
        expected = statistics.estimate(at, statistics.interquartile_mean, 300)
        for part, other in zip(found, expected, strict=True):
            assert part[point] == pytest.approx(other)


def test_one_task_can_stand_against_all_of_another_method():
    rng = np.random.default_rng(0)
    scores, other = [rng.normal(size=6), rng.normal(1.0, size=5)], rng.normal(size=7)
    found = superiority.probability_of_improvement(scores, [other])
    each = [superiority.probability_of_improvement([x], [other]) for x in scores]
    for part, parts in zip(found, zip(*each, strict=True), strict=True):
        assert part == pytest.approx(np.mean(parts))
    # Its runs are in the comparison of each task: they are not independent.
    twice = superiority.probability_of_improvement(scores, [other, other])
    assert twice.value == found.value
    assert found.high - found.low > twice.high - twice.low
    with pytest.raises(ValueError, match="2 and 3 tasks"):
        superiority.probability_of_improvement(scores, [other] * 3)
