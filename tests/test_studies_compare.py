"""Two studies beside each other, from scores that are known."""

import numpy as np
import polars as pl
import pytest

from selftuning.studies import compare, verdicts
from selftuning.studies.outcome import outcome_of
from tests import synthetic_study
from tests.known_scores import ABOUT, BAD, BAD5, GOOD, GOOD5, POINTS, measured


def compared(*both):
    """The answer to two studies beside each other."""
    outcome = outcome_of(compare.beside([*both]))
    margin = verdicts.margin_of(outcome).value
    judged = verdicts.judged(compare.pairs(outcome, [*both]), margin)
    return compare.answer(outcome, judged, margin), outcome


def test_the_same_study_twice_shows_no_difference():
    one = measured({"none": BAD, "bmg": GOOD})
    said, found = compared(one, one)
    assert [c.name for c in found.contestants if "best" not in c.name] == [
        "none A",
        "none B",
        "bmg A",
        "bmg B",
    ]
    assert found.contestants[0].starts == [{"gamma": 0.7}, {"gamma": 0.99}]
    assert said[0].startswith("Do they end differently? Nothing shown: ")
    assert "no tuning: 304, 304, 0 [0, 0], better with probability 0.50 [" in said[0]
    assert "seed by seed" in said[1]
    assert "Speed is not compared" in said[2]
    assert compare._differences([one, one]) == []


def test_a_version_that_broke_something_is_found():
    old = measured({"none": BAD5, "bmg": GOOD5}, "--seeds", "5")
    broken = [[50, 60, 55, 52, 51], [70, 65, 60, 71, 72]]
    new = measured({"none": BAD5, "bmg": broken}, "--period", "3", "--seeds", "5")
    new = new._replace(
        origin=new.origin | {"code": "2"}, about={"none-0": ABOUT | {"seconds": 4.0}}
    )
    said, _ = compared(old, new)
    assert said[0].startswith("Do they end differently? 1 of 2 methods ends differently: ")
    assert said[0].endswith("worse in B.")
    text = " ".join(compare._differences([old, new]))
    assert "run.tuning.period is 2 in A and 3 in B." in text
    assert "The code is 1 in A and 2 in B." in text


def test_other_seeds_alone_show_nothing():
    """The tutorial's example: in 95 of 100 repetitions at least."""
    rng = np.random.default_rng(0)

    def drawn(first):
        part = measured({"none": BAD, "mg": GOOD, "bmg": GOOD}, "--seed", str(first))
        seeds = part.table["seed"] + first
        runs = part.table["method"] + pl.lit(" ") + part.table["run"].cast(str)
        return part._replace(table=part.table.with_columns(seed=seeds)), runs

    (one, _), (two, _) = drawn(0), drawn(100)

    def noisy(part):
        noise = rng.normal(0, 60, (3, 6)).repeat(POINTS)
        return part._replace(table=part.table.with_columns(pl.col("return") + noise))

    shown = sum("Nothing shown" not in compared(noisy(one), noisy(two))[0][0] for _ in range(100))
    assert shown <= 5


def test_what_cannot_be_compared_says_so():
    one = measured({"none": BAD})
    other = measured({"bmg": GOOD})
    with pytest.raises(ValueError, match="share no method; theirs are none and bmg"):
        compare.beside([one, other])
    acrobot = measured({"none": BAD}, "--env", "Acrobot-v1")
    with pytest.raises(ValueError, match="env CartPole and Acrobot-v1 are not the same"):
        compare.beside([one, acrobot])


def test_on_several_environments_each_says_how_b_differs_from_a(tmp_path):
    """The same on one of them, and worse on the other."""
    given = {"methods": "none,bmg", "starts": {"gamma": (0.7, 0.99)}, "seeds": 5}
    old = synthetic_study.study(**given, tasks={"Acrobot": {"steps": 300_000}}).measured
    worse = pl.when(pl.col("env") == "Acrobot-v1").then(pl.col("return") - 200)
    new = old._replace(table=old.table.with_columns(worse.otherwise("return").alias("return")))
    outcome = outcome_of(compare.beside([old, new]))
    said = {
        env: compare._judged(task, [old, new], "?")["answer"][0]
        for env, task in outcome.tasks.items()
    }
    assert set(said) == {"CartPole-v1", "Acrobot-v1"}
    assert "2 of 2 methods end differently" in said["Acrobot-v1"]
    assert "Nothing shown" in said["CartPole-v1"]
