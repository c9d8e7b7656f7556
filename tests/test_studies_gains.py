"""Differences of interquartile means: whole seeds are drawn, for both and for all starts."""

import numpy as np
import pytest
from scipy import stats

from selftuning.studies import gains, statistics
from selftuning.studies.contestants import Contestant
from selftuning.studies.report import differences
from tests import synthetic_study


def contestant(name, scores, seeds=None):
    """One whose runs end with scores [S, N]."""
    scores = np.asarray(scores, float)
    seeds = np.arange(scores.shape[1]) if seeds is None else np.asarray(seeds)
    unknown = [np.full(len(seeds), np.nan)] * len(scores)
    starts = [{"gamma": 0.5 + 0.01 * number} for number in range(len(scores))]
    return Contestant(
        name=name,
        label=name,
        kind="runs",
        tuned=(),
        starts=starts,
        seeds=[seeds] * len(scores),
        steps=np.arange(1, 11),
        curves=[np.stack([row] * 10, 1) for row in scores],
        paths={},
        greedy=unknown,
        solved_at=unknown,
        diverged=[np.zeros(len(seeds), bool)] * len(scores),
    )


def test_one_start_is_scipys_paired_bootstrap():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 9))
    found = gains.gain(contestant("a", [one]), contestant("b", [other]), 2000)

    def difference(x, y, axis):
        return statistics.interquartile_mean(x, axis=axis) - statistics.interquartile_mean(
            y, axis=axis
        )

    ends = stats.bootstrap(
        (one, other),
        difference,
        paired=True,
        n_resamples=2000,
        batch=1000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert found.value == pytest.approx(difference(one, other, -1))
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))


def test_what_is_lucky_for_both_is_no_uncertainty_of_their_difference():
    rng = np.random.default_rng(2)
    luck = rng.normal(0, 100, 20)
    one, other = (level + luck + rng.normal(0, 1, (3, 20)) for level in (5.0, 0.0))
    found = gains.gain(contestant("a", one), contestant("b", other))
    assert found.low > 3
    assert found.high < 7
    alone = statistics.estimate(list(one), statistics.interquartile_mean)
    assert float(alone.high - alone.low) > 10 * (found.high - found.low)


def test_only_seeds_that_both_have_are_compared():
    one = contestant("a", [[1.0, 2.0, 3.0, 400.0]], [1, 2, 3, 4])
    other = contestant("b", [[0.0, 0.0, 0.0, 0.0]], [0, 1, 2, 3])
    found = gains.gain(one, other)
    assert found == gains.gain(contestant("a", [[1.0, 2.0, 3.0]]), contestant("b", [[0.0] * 3]))
    single = gains.gain(one, contestant("b", [[5.0, 5.0]], [0, 1]))
    assert single == (1.0 - 5.0, None, None)
    assert gains.gain(one, contestant("b", [[0.0]], [9])) is None


@pytest.mark.parametrize(("seeds", "least", "most"), [(3, 0.6, 0.9), (30, 0.89, 0.99)])
def test_intervals_of_few_seeds_are_too_narrow_and_of_many_right(seeds, least, most):
    """As the page says; IQMs of symmetric scores differ by as much as their means do."""
    rng = np.random.default_rng(seeds)
    covered = 0
    for _ in range(200):
        luck = rng.normal(0, 3, seeds)
        one, other = (level + luck + rng.normal(0, 2, (2, seeds)) for level in (1.0, 0.0))
        found = gains.gain(contestant("a", one), contestant("b", other), 400)
        covered += found.low <= 1.0 <= found.high
    assert least < covered / 200 < most


def test_a_study_compares_with_runs_that_do_not_tune_and_with_the_outer_values():
    outcome = synthetic_study.study(methods="none,outer,bmg", starts={"gamma": (0.7, 0.9)}, seeds=3)
    found = gains.of_study(outcome)
    assert set(found["bmg"]) == {"none", "outer"}
    assert set(found["none"]) == {"outer"}
    methods = {one.name: {"label": one.label} for one in outcome.contestants}
    (section,) = differences.section(methods, found, outcome.score)
    assert section.table.head == ["contestant", "less no tuning", "less fixed at the outer values"]
    assert differences.section(methods, {"bmg": {}}, outcome.score) == []
