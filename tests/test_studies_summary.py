"""Numbers of a study, from scores that are known."""

import json

import numpy as np
import pytest

from selftuning.studies import contestants, summary
from tests.known_scores import BAD, GOOD, measured, study


def test_the_target_is_the_environments_unless_the_study_names_one():
    assert study({"none": BAD}).target == 475
    assert study({"none": BAD}, "--target", "300").target == 300


def test_numbers_by_hand():
    one = study({"none": BAD, "bmg": GOOD}, "--target", "300")
    found = summary.summarise(one)
    json.dumps(found, allow_nan=False)
    none = found["methods"]["none"]
    assert none["runs"] == 6
    assert none["starts"] == 2
    assert none["env_steps"] == 2000
    assert none["last_tenth"]["mean"]["value"] == pytest.approx((110 + 499) / 2)
    assert none["last_tenth"]["median"]["value"] == pytest.approx((110 + 499) / 2)
    assert none["last_tenth"]["optimality_gap"]["value"] == pytest.approx(190 / 2)
    assert none["last_tenth"]["iqm"]["value"] == pytest.approx((110 + 120 + 498 + 499) / 4)
    assert none["whole_run"]["mean"]["value"] == none["last_tenth"]["mean"]["value"]
    assert (none["solved"], none["solved_at"]) == (3, None)
    assert (found["methods"]["bmg"]["solved"], found["methods"]["bmg"]["solved_at"]) == (6, 500)
    assert none["worst_start"]["start"] == {"gamma": 0.7}
    assert none["worst_start"]["last_tenth"]["value"] == pytest.approx(110)
    assert none["best_start"]["runs"] == [499, 500, 498]
    best = found["methods"]["best of none"]
    assert (best["starts"], best["runs"], best["solved"]) == (1, 3, 3)
    # Start by start, three quarters: all of the first pairs, and half of the second.
    pairs = [(x > y) + (x == y) / 2 for x in GOOD[1] for y in BAD[1]]
    chance = found["better"]["bmg"]["none"]
    assert chance["value"] == pytest.approx((1 + np.mean(pairs)) / 2)
    assert found["better"]["none"]["bmg"]["value"] == pytest.approx(1 - chance["value"])
    assert found["better"]["none"]["bmg"]["low"] == pytest.approx(1 - chance["high"])


def test_convergence_is_told_by_what_is_left_between_the_starts():
    scores, ends = (
        {"none": BAD, "bmg": GOOD, "mg": GOOD},
        {"bmg": [0.9899, 0.99], "mg": [0.75, 0.99]},
    )
    one = study(scores, "--tune", "entropy", **ends)
    found = {
        (entry["method"], entry["hyperparameter"]): entry
        for entry in summary.summarise(one)["convergence"]
    }
    assert ("none", "gamma") not in found
    bmg, mg = found["bmg", "gamma"], found["mg", "gamma"]
    assert bmg["converged"] and bmg["spread_left"] < 0.01
    assert not mg["converged"] and 0.5 < mg["spread_left"] < 1
    assert mg["starts"] == [0.7, 0.99]
    # Starts that do not differ in a hyperparameter cannot converge in it.
    assert found["bmg", "entropy"]["converged"] is None


def test_before_the_first_episode_nothing_is_made_up():
    filled = contestants._filled(np.array([[np.nan, 3.0, np.nan, 5.0], [1.0, np.nan, np.nan, 2.0]]))
    np.testing.assert_array_equal(filled, [[3, 3, 3, 5], [1, 1, 1, 2]])


def test_long_curves_are_thinned_and_keep_their_mean():
    one = contestants.contestants(measured({"none": BAD}))[0]
    steps = np.arange(1, 1001) * 10
    curve = np.random.default_rng(0).normal(size=(3, 1000))
    long = one._replace(steps=steps, curves=[curve], starts=[{}])
    at, (thin,) = contestants.curve_of(long)
    assert thin.shape == (3, 100)
    np.testing.assert_allclose(thin.mean(1), curve.mean(1))
    assert at[-1] == 10_000
    at, (ends,) = contestants.thinned(long, [curve])
    np.testing.assert_array_equal(ends[:, -1], curve[:, -1])
    np.testing.assert_array_equal(long.last[0], curve[:, -100:].mean(1))
