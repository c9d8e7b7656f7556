"""The statistics themselves, where the truth is known: do they hold it as often as they promise?

docs/studies.md says what is measured here, also where it falls short.
"""

import numpy as np
import pytest
from scipy import stats

from selftuning.studies import means, statistics, superiority, verdicts
from tests import known_scores

SEEDS = (3, 5, 10, 20)
DRAWS = 4000


def normal(rng, shape):
    return rng.normal(0.0, 1.0, shape)


def failing(rng, shape):
    """One run in ten fails: returns of 0 beside some of about 1, less the mean."""
    return np.where(rng.random(shape) < 0.1, 0.0, rng.normal(1.0, 0.1, shape)) - 0.9


def covered(draw, seeds):
    values = draw(np.random.default_rng(0), (DRAWS, seeds))
    low, high = means.over_seeds(values).interval()
    return ((low <= 0) & (high >= 0)).mean()


@pytest.mark.parametrize("seeds", SEEDS)
def test_intervals_of_means_hold_the_truth_as_often_as_they_say(seeds):
    assert covered(normal, seeds) == pytest.approx(0.95, abs=0.012)


def test_rare_failures_that_no_seed_shows_are_what_they_miss():
    """As docs/studies.md says: nobody knows of a failure that he has not seen."""
    for seeds in SEEDS:
        assert 0.7 < covered(failing, seeds) < 0.93


@pytest.mark.parametrize("seeds", SEEDS)
def test_differences_of_other_seeds_do_too(seeds):
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        found = means.difference(rng.normal(0, 1, seeds), rng.normal(0, 3, seeds))
        low, high = found.interval()
        held += low <= 0 <= high
        assert (found.p < 0.05) == (not low <= 0 <= high)
    assert 0.93 <= held / 1000 <= 0.985


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("starts", [1, 4])
def test_intervals_of_probabilities_hold_the_truth(seeds, starts):
    rng = np.random.default_rng(2)
    for shift in (0.0, 1.0, 3.0):
        true, held = stats.norm.cdf(shift / np.sqrt(2)), 0
        for _ in range(200):
            ones = list(rng.normal(shift, 1, (starts, seeds)))
            found = superiority.probability_of_improvement(
                ones, list(rng.normal(0, 1, (starts, seeds)))
            )
            held += found.low <= true <= found.high
        assert held / 200 >= 0.9


def test_bootstrap_intervals_are_too_narrow_for_few_seeds():
    """Those of interquartile mean, median and gap: as docs/studies.md says."""
    rng = np.random.default_rng(3)
    for aggregate in (statistics.interquartile_mean, statistics.median):
        held = []
        for seeds in SEEDS:
            count = 0
            for _ in range(100):
                found = statistics.estimate(list(rng.normal(0, 1, (4, seeds))), aggregate, 200)
                count += found.low <= 0 <= found.high
            held.append(count / 100)
        assert held[0] < 0.95
        assert held[3] >= 0.88


def test_holm_rejects_no_more_than_it_may():
    rng = np.random.default_rng(4)
    ps = rng.random((2000, 6))
    wrong = sum(
        any(p < 1 - level for p, level in zip(row, means.holm(row), strict=True)) for row in ps
    )
    assert wrong / 2000 == pytest.approx(0.05, abs=0.015)
    # Step by step, by hand: 0.05 / 3, then 0.05 / 2; what comes after a failure fails.
    assert means.holm([0.02, 0.001, 0.2]) == pytest.approx([1 - 0.025, 1 - 0.05 / 3, 0.95])
    assert means.holm([0.04, 0.045]) == pytest.approx([0.975, 0.975])
    assert means.holm([]) == []


# Verdicts where there is nothing to find


def claims(scores, questions):
    """Whether anything is claimed on these questions."""
    found = verdicts.of_study(known_scores.outcome(scores))
    return any(
        one.standing in ("better", "worse")
        for one in found.each
        if one.compared.question in questions
    )


def alike(rng, seeds):
    """Nothing differs, but for the luck of seeds, which all runs of a seed share."""
    luck = rng.normal(0, 20, seeds)
    draw = lambda starts: 400 + luck + rng.normal(0, 30, (starts, seeds))  # noqa: E731
    return {"none": draw(4), "outer": draw(1), "mg": draw(4), "bmg": draw(4)}


def useless(rng, seeds):
    """Some starts are bad, some on the border of it, and tuning changes nothing."""
    level = np.array([100, 300, 375, 377, 380, 400])[:, None]
    draw = lambda: level + rng.normal(0, 30, (6, seeds))  # noqa: E731
    return {"none": draw(), "outer": rng.normal(400, 30, (1, seeds)), "mg": draw(), "bmg": draw()}


def brittle(rng, seeds):
    """Nothing differs, and one run in ten fails."""
    draw = lambda starts: 480 + 400 * failing(rng, (starts, seeds))  # noqa: E731
    return {"none": draw(4), "outer": draw(1), "mg": draw(4), "bmg": draw(4)}


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(
    ("study", "questions"),
    [
        (alike, (verdicts.BAD, verdicts.GOOD, verdicts.OUTER)),
        (brittle, (verdicts.BAD, verdicts.GOOD, verdicts.OUTER)),
        (useless, (verdicts.BAD, verdicts.GOOD)),
    ],
)
def test_verdicts_are_wrong_no_more_often_than_they_may_be(study, questions, seeds):
    rng = np.random.default_rng(5)
    wrong = sum(claims(study(rng, seeds), questions) for _ in range(100))
    assert wrong <= 9  # of 100 at 5%, more than 9 are a matter of 3 in 100


def by_the_others(none, outer):
    return verdicts.bad_for_each_seed(none, outer[None], 10.0, [None] * len(none))


def test_bad_starts_told_by_all_seeds_would_be_the_unlucky_ones():
    """Why the other seeds tell it: runs that are called bad for being unlucky look rescued."""
    rng = np.random.default_rng(6)
    wrong = np.zeros(2)
    for _ in range(400):
        none, tuned = 400 + rng.normal(0, 30, (2, 12, 5))
        outer = rng.normal(412, 30, 5)
        by_all = np.repeat((none.mean(1) < outer.mean() - 10)[:, None], 5, 1)
        for number, bad in enumerate((by_all, by_the_others(none, outer))):
            kept = bad.any(0)
            if kept.sum() > 1:
                gains = np.mean((tuned - none)[:, kept], 0, where=bad[:, kept])
                wrong[number] += means.over_seeds(gains).interval()[0] > 0
    by_all, by_others = wrong / 400
    assert by_all > 0.05  # of 0.025 on this side
    assert by_others < 0.04


def test_verdicts_find_what_there_is():
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(50):
        none = np.array([100, 150, 490])[:, None] + rng.normal(0, 8, (3, 5))
        tuned = np.array([430, 440, 430])[:, None] + rng.normal(0, 8, (3, 5))
        scores = {"none": none, "outer": rng.normal(490, 8, (1, 5)), "bmg": tuned}
        by = {one.compared.question: one.standing for one in _verdicts(scores)}
        found += by == {
            verdicts.BAD: "better",
            verdicts.GOOD: "worse",
            verdicts.OUTER: "worse",
        }
    assert found >= 40


def _verdicts(scores):
    return verdicts.of_study(known_scores.outcome(scores)).each
