"""Numbers and words of a study, from scores that are known."""

import json
import math

import numpy as np
import polars as pl
import pytest

from selftuning.configs import studies
from selftuning.studies import answers, compare, contestants, known, summary
from selftuning.studies.outcome import outcome_of
from selftuning.studies.study_files import Measured
from tests.small_studies import small

POINTS = 20
ABOUT = {
    "study": "0" * 64,
    "seconds": 2.0,
    "compile_seconds": 1.0,
    "begun_at_point": 0,
    "device": "cpu",
    "machine": "a machine",
    "versions": {"jax": "1"},
}


def measured(scores, *arguments, reward=False, missing=(), **ends):
    """A study in which every run of a method has the same score all along.

    Args:
      scores: method -> start -> run of that start -> score.
      arguments: of the study.
      reward: whether no episode has ended.
      missing: units.
      ends: method -> start -> gamma at the end.
    """
    settings = small("--methods", ",".join(scores), *arguments).settings
    rows = []
    for name, by_start in scores.items():
        starts = studies.starts(settings, name)
        run = 0
        for number, (start, runs) in enumerate(zip(starts, by_start, strict=True)):
            gamma = start.get("gamma", 0.99)
            for seed, score in enumerate(runs):
                for point in range(POINTS):
                    share = (point + 1) / POINTS
                    end = ends[name][number] if name in ends else gamma
                    rows.append(
                        {
                            "method": name,
                            "run": run,
                            "seed": seed,
                            "start_gamma": None if settings.methods[name].kind != "runs" else gamma,
                            "point": point,
                            "env_steps": 100 * (point + 1),
                            "return": None if reward else float(score),
                            "episodes": 0 if reward else 3,
                            "reward": float(score),
                            "solved_at": 500 if score >= 475 and point >= 4 else None,
                            "greedy": float(score) if point == POINTS - 1 else None,
                            "finite": not math.isnan(score),
                            "gamma": gamma + share * (end - gamma),
                            "lambda": 0.95,
                            "entropy": 0.01,
                            "critic": 0.5,
                        }
                    )
                run += 1
    origin = {"command": "python run.py study", "begun": "now", "code": "1"}
    table = pl.DataFrame(rows, infer_schema_length=None)
    about = {"none-0": ABOUT}
    return Measured(settings, origin, table, about, list(missing), known.asked(settings))


def study(*args, **kwargs):
    return outcome_of(measured(*args, **kwargs))


GOOD = [[495, 500, 490], [500, 498, 499]]
BAD = [[100, 120, 110], [499, 500, 498]]


def test_better_from_a_bad_start():
    one = study({"none": BAD, "bmg": GOOD}, none=[0.7, 0.99], bmg=[0.99, 0.99])
    first, second = answers.answer(one)
    assert first.startswith("Yes: bmg ends at an interquartile mean return of 498.0 [")
    assert "no tuning at 307 [" in first
    assert "probability 0.7" in first
    assert second.startswith("From the worst start (gamma 0.7) it ends at a mean of 495 [")
    assert "instead of 110 [" in second
    assert "level with no tuning, best start (gamma 0.99)" in second


def test_worse_and_undecided_are_said_too():
    worse = study({"none": GOOD, "bmg": [[1, 2, 3], [3, 2, 1]]})
    assert answers.answer(worse)[0].startswith("No, it harms: bmg")
    assert "it ends below no tuning, best start" in answers.answer(worse)[1]
    noisy = [[100, 500, 300], [480, 90, 310]]
    level = study({"none": noisy, "mg": [row[::-1] for row in noisy]})
    assert answers.answer(level)[0].startswith("Not shown: mg")


def test_the_best_tuned_method_is_compared_with_all_that_is_better_informed():
    one = study({"none": BAD, "mg": BAD, "bmg": GOOD, "outer": [[450, 451, 452]]})
    second = answers.answer(one)[1]
    assert "above mg" in second
    assert "above fixed at the outer values (451" in second
    assert any("named first" in note for note in answers.notes(one))


def test_single_seeds_have_no_intervals():
    one = study({"none": [[100], [499]], "bmg": [[490], [500]]}, "--seeds", "1")
    assert answers.answer(one)[0].startswith("One run of each says little: bmg ends at")
    assert "[" not in answers.answer(one)[0]
    assert any(note.startswith("One seed") for note in answers.notes(one))
    assert summary.describe(one.contestants[0], 475)["last_tenth"]["iqm"]["low"] is None
    assert summary.summarise(one)["better"]["bmg"] == {}


def test_few_seeds_lost_runs_and_missing_parts_are_noted():
    one = study({"none": BAD, "bmg": GOOD}, missing=["bmg-1"])
    text = " ".join(answers.notes(one))
    assert "not finished: 1 of its programs" in text
    assert "With only 3 seeds, intervals are too narrow" in text
    lost = measured({"none": BAD, "bmg": GOOD})
    table = lost.table.with_columns(
        pl.when((pl.col("method") == "bmg") & (pl.col("run") == 2))
        .then(False)
        .otherwise("finite")
        .alias("finite")
    )
    text = " ".join(answers.notes(outcome_of(lost._replace(table=table))))
    assert "bmg: parameters of 1 of 6 runs became NaN" in text


def test_without_a_tuned_or_an_untuned_method_there_is_no_verdict():
    only = study({"none": BAD})
    assert "no tuned agent in this study" in answers.answer(only)[1]
    tuned = study({"bmg": GOOD, "mg": BAD})
    assert "no untuned agent" in answers.answer(tuned)[1]
    assert answers.answer(tuned)[0].index("bmg") < answers.answer(tuned)[0].index("; mg")


def test_tasks_without_episodes_are_judged_by_reward():
    one = study({"none": [[0.1, 0.2, 0.1], [0.1, 0.1, 0.2]], "bmg": [[0.3] * 3] * 2}, reward=True)
    assert one.measure == contestants.REWARD
    assert one.score == "reward a step"
    assert (one.target, one.target_is) == (pytest.approx(0.3), "the best run of all")
    assert "reward a step of 0.3" in answers.answer(one)[0]


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


# Two studies beside each other


def test_the_same_study_twice_shows_no_difference():
    one = measured({"none": BAD, "bmg": GOOD})
    both = [one, one]
    beside = compare.beside(both)
    found = outcome_of(beside)
    assert [c.name for c in found.contestants if "best" not in c.name] == [
        "none A",
        "none B",
        "bmg A",
        "bmg B",
    ]
    assert found.contestants[0].starts == [{"gamma": 0.7}, {"gamma": 0.99}]
    first, second = compare.answer(found, both)
    assert first.startswith("No difference shown")
    assert "bmg 0.0 [" in first
    assert second.endswith("B has 1.00 of the speed of A.")
    assert compare._differences(both) == []


def test_a_version_that_broke_something_is_found():
    old = measured({"none": BAD, "bmg": GOOD})
    new = measured({"none": BAD, "bmg": [[50, 60, 55], [70, 65, 60]]}, "--period", "3")
    new = new._replace(
        origin=new.origin | {"code": "2"}, about={"none-0": ABOUT | {"seconds": 4.0}}
    )
    both = [old, new]
    study = outcome_of(compare.beside(both))
    first, second = compare.answer(study, both)
    assert first.startswith("1 of 2 methods end differently")
    assert second.endswith("B has 0.50 of the speed of A.")
    text = " ".join(compare._differences(both))
    assert "run.tuning.period is 2 in A and 3 in B." in text
    assert "The code is 1 in A and 2 in B." in text


def test_what_cannot_be_compared_says_so():
    one = measured({"none": BAD})
    other = measured({"bmg": GOOD})
    with pytest.raises(ValueError, match="share no method; theirs are none and bmg"):
        compare.beside([one, other])
    acrobot = measured({"none": BAD}, "--env", "Acrobot-v1")
    with pytest.raises(ValueError, match="env CartPole and Acrobot-v1 are not the same"):
        compare.beside([one, acrobot])
