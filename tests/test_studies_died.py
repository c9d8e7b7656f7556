"""Runs that died, and returns that are no numbers: the lowest score, in all statistics."""

import json
import math

import polars as pl
import pytest

from selftuning.studies import contestants, summary
from selftuning.studies import table as studies_table
from selftuning.studies.outcome import outcome_of
from tests.known_scores import BAD, BAD5, GOOD, GOOD5, measured


def dying(method, run, point, **values):
    """A study in which a run dies at a point, or has other values from there on."""
    part = measured({"none": BAD5, "bmg": GOOD5}, "--seeds", "5")
    here = (pl.col("method") == method) & (pl.col("run") == run) & (pl.col("point") >= point)
    values = {"finite": False, **values}
    columns = [
        pl.when(here).then(pl.lit(value)).otherwise(name).alias(name)
        for name, value in values.items()
    ]
    return part._replace(table=part.table.with_columns(columns))


@pytest.mark.parametrize("point", [0, 14, 19])
@pytest.mark.parametrize("known", [True, False])
def test_a_run_that_died_has_the_lowest_score_of_the_study_from_there(point, known):
    """Whatever its environment still returned: it has no policy any more."""
    values = {} if known else dict.fromkeys(("return", "greedy"))
    one = outcome_of(dying("bmg", 2, point, **values))
    bmg = one.named("bmg")
    assert bmg.curves[0][2].tolist() == [490.0] * point + [80.0] * (20 - point)
    assert bmg.last[0][2] == (80 if point < 19 else (490 + 80) / 2)
    assert bmg.whole[0][2] == pytest.approx((490 * point + 80 * (20 - point)) / 20)
    assert bmg.greedy[0].tolist() == [495, 500, 80, 492, 498]
    found = summary.summarise(one)
    assert found["methods"]["bmg"]["diverged"] == 1
    assert found["methods"]["bmg"]["greedy"]["value"] == pytest.approx((413 + 499.4) / 2)
    assert "bmg: parameters of 1 of 10 runs became NaN" in " ".join(found["notes"])


@pytest.mark.parametrize("value", [math.nan, -math.inf, math.inf])
def test_returns_that_are_no_numbers_are_the_lowest_too(value):
    """An environment may say so of a run whose parameters are fine."""
    table = dying("bmg", 2, 14, finite=True).table
    series = table["return"].to_numpy(writable=True).copy()
    here = (table["method"] == "bmg") & (table["run"] == 2) & (table["point"] >= 14)
    series[here.to_numpy()] = value
    part = dying("bmg", 2, 14, finite=True)
    from_unit = studies_table._series("return", series)  # as a unit's results become rows
    one = outcome_of(part._replace(table=table.with_columns(from_unit.alias("return"))))
    assert one.named("bmg").last[0][2] == 80
    summary.summarise(one)


def test_a_run_that_died_before_an_episode_ended_does_not_say_what_all_are_judged_by():
    one = outcome_of(dying("bmg", 2, 0, episodes=0, **{"return": None}))
    assert one.measure == contestants.RETURN
    assert one.named("bmg").last[0][2] == 80


def test_a_study_in_which_all_runs_died_has_a_report():
    part = measured({"none": BAD, "bmg": GOOD})
    unknown = [pl.lit(None, pl.Float64).alias(name) for name in ("return", "reward", "greedy")]
    dead = part.table.with_columns(*unknown, finite=pl.lit(False), episodes=pl.lit(0))
    found = summary.summarise(outcome_of(part._replace(table=dead)))
    assert found["methods"]["bmg"]["diverged"] == 6
    assert found["methods"]["bmg"]["last_tenth"]["mean"]["value"] == 0
    json.dumps(found, allow_nan=False)
