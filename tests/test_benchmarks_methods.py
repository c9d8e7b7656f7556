"""Benchmarks of methods: what their tables are made of, on outcomes made up here."""

import json
from dataclasses import replace

import numpy as np
import pytest

from selftuning.benchmarks import lunar_lander, methods, record, tables
from selftuning.benchmarks.cartpole import FIXED
from selftuning.configs.validate import validate
from selftuning.studies import population
from selftuning.studies.population import BINS, Outcome
from selftuning.studies.searches import search_results
from selftuning.studies.searches.search_results import Result


def steady(returns):
    """Runs of 60 steps of two environments in each of which an episode ends, [R] or [R, 60]."""
    returns = np.broadcast_to(
        np.asarray(returns, float).reshape(len(returns), -1), (len(returns), 60)
    )
    both = np.stack([returns, returns], 2)
    return Outcome(np.ones(both.shape, bool), both, (), {}, {}, 3.0)


def found(returns, episodes, steps, best=None):
    """A search [R, P, N] that says nothing of hyperparameters."""
    returns, episodes = np.asarray(returns, float), np.asarray(episodes)
    best = np.zeros((len(returns), returns.shape[2]), int) if best is None else np.asarray(best)
    nothing = np.zeros(len(returns), int)
    reward = np.ones_like(returns)
    return Result(
        returns, episodes, reward, {}, best, episodes, np.asarray(steps), nothing, (), "return", 2.0
    )


# Starts and steps


def test_the_starts_are_every_combination_in_the_order_of_the_rows():
    runs, starts = methods.runs_of([4, 7])
    assert runs == [4, 7] * 8
    rows = list(zip(*(starts[name] for name in methods.NAMES), strict=True))
    assert rows[::2] == rows[1::2] == methods.STARTS
    assert len(set(methods.STARTS)) == 8
    for name, values in methods.as_members().items():
        assert values == starts[name][::2]
        assert len(set(values)) == 2


@pytest.mark.parametrize("task", list(methods.THRESHOLDS))
def test_the_contestants_are_allowed_from_every_start(task):
    settings = methods.settings_for(task)
    for name in (*methods.SELF_TUNED, FIXED):
        for start in methods.STARTS:
            contestant = methods.with_contestant(settings, name)
            specs = dict(contestant.hyperparameters)
            for value, h in zip(start, methods.NAMES, strict=True):
                specs[h] = replace(specs[h], start=value)
            validate(replace(contestant, hyperparameters=specs))
    assert methods.with_contestant(settings, FIXED).tuning.method == "none"
    assert methods.with_contestant(settings, "stacx").agent.heads == 3


def test_the_options_are_allowed_and_differ():
    settings = methods.settings_for("CartPole")
    changed = [change(settings) for change in methods.OPTIONS.values()]
    for one in changed:
        validate(one)
    assert changed[0] == settings
    assert all(a != b for i, a in enumerate(changed) for b in changed[:i])


def test_budgets_count_the_steps_of_all_members(monkeypatch):
    """With "member" a search costs what the eight runs of a seed cost, with "run" one of them."""
    spent = {}

    def runs(settings, seeds, starts):
        spent[settings.tuning.method, settings.agent.heads] = len(seeds) * settings.steps
        return steady(np.arange(len(seeds)))

    def finds(settings, seeds, within, ranges, starts):
        assert ranges is None
        assert within.members == 8
        assert starts in (None, methods.as_members())
        steps = settings.steps * (within.members if within.budget == "member" else 1)
        life = steps // within.members
        assert life // within.interval == 30
        ones = np.ones((len(seeds), 8, BINS))
        return found(ones, ones.astype(int), np.linspace(steps / BINS, steps, BINS))

    monkeypatch.setattr(population, "run", runs)
    monkeypatch.setattr(search_results, "random_search", finds)
    monkeypatch.setattr(search_results, "population_based_training", finds)
    result = methods.contest("CartPole", range(2))
    assert set(spent.values()) == {16 * methods.STEPS}
    assert result["steps"] == methods.STEPS == 300_000
    searches = {name: row["env_steps"] for name, row in result["rows"].items() if "," in name}
    assert len(searches) == 6
    for name, steps in searches.items():
        assert steps == (8 * methods.STEPS if name.endswith("member") else methods.STEPS)
    assert "worst_start" not in result["rows"][FIXED]
    assert tables._methods(result).count("\n") == 2 + len(result["rows"])


# Rows


def test_a_row_of_runs_is_counted_by_start_and_by_seed():
    # Start s with seed r returns 10 s + r.
    returns = (10.0 * np.arange(8)[:, None] + np.arange(3)).ravel()
    row = methods.population_row(steady(returns), 3, threshold=39.5, interval=20)
    assert row["env_steps"] == 8 * 120
    assert row["last_tenth"][0] == row["whole_run"][0] == pytest.approx(36.0)
    np.testing.assert_allclose(row["last_tenth_by_start"], 10 * np.arange(8) + 1.0)
    assert row["worst_start"] == 1.0
    # The best of the eight is the last start, once 20 of 120 steps are known.
    assert row["best_last_tenth"][0] == pytest.approx(71.0)
    assert row["best_worst_seed"] == 70.0
    assert row["best_whole_run"][0] == pytest.approx(71.0 * 50 / 60 + 36.0 * 10 / 60)
    # 12 of the 24 runs return 40 or more, after 100 episodes of two environments.
    assert (row["runs"], row["solved"]) == (24, 12)
    assert row["solved_at"] is None
    assert row["seconds"] == 3.0


def test_the_best_member_is_chosen_by_what_came_before():
    curves = np.zeros((2, 1, BINS))
    curves[0, 0, :30], curves[1, 0, 30:] = 1.0, 5.0
    best = methods.members_of(curves, steps=600, interval=20)
    # Two parts of ten steps each: member 1 is ahead once it is in the past, at part 31.
    np.testing.assert_array_equal(best[0], [0.5] * 2 + [1.0] * 28 + [0.0] + [5.0] * 29)


def test_a_search_solves_its_task_with_its_first_member_and_pays_for_all():
    returns = np.full((2, 2, 5), np.nan)
    episodes = np.zeros((2, 2, 5), int)
    returns[0, 0], episodes[0, 0] = [0, 0, 9, 9, 9], [60, 60, 60, 60, 60]
    returns[0, 1, 3], episodes[0, 1, 3] = 9, 99  # not yet 100
    returns[1, 0], episodes[1, 0] = 8, 100
    result = found(returns, episodes, [10, 20, 30, 40, 50])
    # Member 0: of the last 100 or more episodes the mean is 9 after two cycles of 60.
    np.testing.assert_array_equal(methods.search_solved_at(result, 9.0), [40, np.inf])
    np.testing.assert_array_equal(methods.search_solved_at(result, 4.5), [30, 10])
    row = methods.search_row(result, 8.5)
    assert (row["runs"], row["solved"], row["solved_at"]) == (2, 1, None)
    assert row["env_steps"] == 50


def test_solved_agrees_with_that_of_populations():
    rng = np.random.default_rng(0)
    shape = (3, 400, 4)
    ends = rng.random(shape) < 0.3
    returns = rng.normal(np.linspace(0, 4, 400)[:, None], 1.0, shape)
    exact = population.solved_at(Outcome(ends, returns, (), {}, {}, 0.0), 2.0)
    count = ends.sum(2)[:, None]
    means = np.where(ends, returns, 0).sum(2)[:, None] / np.where(count > 0, count, np.nan)
    result = found(means, count, 4 * np.arange(1, 401))
    np.testing.assert_allclose(methods.search_solved_at(result, 2.0), exact, atol=8)


def test_what_is_not_known_yet_is_the_first_that_is():
    nan = np.nan
    filled = methods.backfilled(np.array([[nan, nan, 3.0, 4.0], [1.0, 2.0, 2.0, 1.0]]))
    np.testing.assert_array_equal(filled, [[3, 3, 3, 4], [1, 2, 2, 1]])


def test_tables_say_never_and_leave_out_what_does_not_apply():
    row = methods.search_row(found(np.ones((2, 8, 60)), np.ones((2, 8, 60), int), range(1, 61)), 2)
    text = tables._methods({"rows": {"PBT, run": row | {"env_steps": 2_400_000}}})
    assert "| PBT, run | 2.4M | 1 [1, 1] |  | 1 [1, 1] |" in text
    assert "| 0 of 2 | never |" in text
    row = methods.population_row(steady(np.ones(16)), 2, threshold=1.0, interval=20)
    text = tables._options({"rows": {"bmg": row}})
    assert "| bmg | 1 [1, 1] | 1 | 1 [1, 1] | 16 of 16 | 0k |" in text


# LunarLander


def test_jobs_have_all_contestants_and_as_many_runs_of_each():
    jobs = lunar_lander.jobs()
    assert len({job.key for job in jobs}) == len(jobs) == 48
    for contestant in lunar_lander.CONTESTANTS:
        mine = [job for job in jobs if job.contestant == contestant]
        assert len(mine) == 12
        fixed = contestant == FIXED
        assert len({job.seed for job in mine}) == (12 if fixed else 3)
        assert {job.start for job in mine} == ({None} if fixed else set(lunar_lander.STARTS))
    validate(lunar_lander.settings_for("bmg"))


def made_up_runs(seeds):
    """The return is the seed, plus 10 for the second start, 20 for the third and so on."""
    runs = {}
    for job in lunar_lander.jobs(seeds):
        number = lunar_lander.STARTS.index(job.start) if job.start else 0
        value = job.seed + 10.0 * number
        ends = {"gamma": value}
        runs[job.key] = {"curve": [value] * BINS, "hyperparameters_at_end": ends, "seconds": 1.0}
    return runs


def test_rows_of_the_lander_are_by_start_and_wait_for_all_runs():
    runs = made_up_runs(3)
    rows = lunar_lander.rows(runs)
    assert list(rows) == list(lunar_lander.CONTESTANTS)
    for name in ("none", "mg", "bmg"):
        assert rows[name]["last_tenth_by_start"] == [1.0, 11.0, 21.0, 31.0]
        assert rows[name]["hyperparameters_at_end"] == {"gamma": [1.0, 11.0, 21.0, 31.0]}
        assert rows[name]["whole_run"][0] == pytest.approx(16.0)
        assert rows[name]["seconds"] == 12.0
    assert rows[FIXED]["whole_run"][0] == pytest.approx(5.5)
    assert tables._starts({"rows": rows}).count("\n") == 6
    del runs[lunar_lander.jobs()[-2].key]
    assert list(lunar_lander.rows(runs)) == ["none", "mg", FIXED]


def test_the_lander_goes_on_only_where_the_settings_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    settings = lunar_lander._as_json(lunar_lander.settings_for("bmg")) | {"seeds": 3}
    assert lunar_lander._done_before(settings) == {}
    runs = made_up_runs(3)
    record.write(lunar_lander.NAME, {"settings": settings, "runs": runs})
    assert lunar_lander._done_before(settings) == json.loads(json.dumps(runs))
    assert lunar_lander._done_before(settings | {"seeds": 4}) == {}
