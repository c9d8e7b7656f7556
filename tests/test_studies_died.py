"""Runs that died, and returns that are no numbers: the lowest score, in all statistics."""

import json
import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from selftuning.configs.searches import SearchSettings
from selftuning.studies import contestants, summary
from selftuning.studies import table as studies_table
from selftuning.studies.outcome import outcome_of
from selftuning.studies.searches import search
from selftuning.training.runner import TrainState
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


# Searches


def test_members_that_died_copy_one_that_lives():
    dead, unknown = search.DIED, jnp.nan
    for score, replaced, copied in (
        ([dead, 1.0, dead, 2.0], [0, 2], [3]),  # more than the quarter that is replaced
        ([dead, 1.0, 3.0, 2.0], [0], [2]),
        ([dead, dead, dead, 2.0], [0, 1, 2], [3]),
        ([dead, unknown, unknown, 2.0], [0], [3]),
        ([dead, dead, dead, dead], [], []),  # nobody is left
        ([dead, unknown, unknown, unknown], [], []),
    ):
        keys = jax.random.split(jax.random.PRNGKey(0), 50)
        chosen = partial(search.exploit, score=jnp.array(score), fraction=0.25)
        sources = jax.vmap(chosen)(keys)
        moved = np.unique(np.nonzero(np.asarray(sources) != np.arange(4))[1])
        assert moved.tolist() == replaced
        assert np.unique(np.asarray(sources)[:, replaced]).tolist() == copied


class _Agent(NamedTuple):
    params: jax.Array


def test_a_population_replaces_what_died_with_its_environment():
    """A policy of NaN may leave an environment of NaN, in which nobody can go on."""
    members = TrainState(_Agent(jnp.arange(3.0)), jnp.arange(3.0) * 10, jnp.arange(3), jnp.eye(3))
    nothing = jnp.zeros(3)
    state = search.SearchState(
        members,
        total=jnp.array([jnp.nan, 6.0, 4.0]),
        weight=jnp.full(3, 2.0),
        score=nothing,
        best=jnp.int32(-1),
        key=jax.random.PRNGKey(0),
    )
    config = SearchSettings(members=3, explore=False)
    for total, alive in (
        (jnp.array([jnp.nan, 6.0, 4.0]), True),
        (jnp.array([-jnp.inf, 6.0, 4.0]), True),
        (jnp.array([90.0, 6.0, 4.0]), jnp.array([False, True, True])),  # good returns, no policy
    ):
        after, source = search.compare(state._replace(total=total), {}, config, alive)
        assert source.tolist() == [1, 1, 2]
        assert after.best == 1
        assert after.score.tolist() == [3, 3, 2]
        assert after.members.agent.params.tolist() == [1, 1, 2]
        assert after.members.env.tolist() == [10, 10, 20]
        assert after.members.observation.tolist() == [1, 1, 2]
        np.testing.assert_array_equal(after.members.key, members.key)  # luck of its own
    none, source = search.compare(state, {}, config, jnp.full(3, False))
    assert (none.best, source.tolist()) == (-1, [0, 1, 2])
    # A random search keeps the best of those that live.
    config = SearchSettings(members=3, exploit=False)
    after, _ = search.compare(
        state._replace(total=jnp.array([9.0, -6.0, -4.0])),
        {},
        config,
        jnp.array([False, True, True]),
    )
    assert after.best == 2
