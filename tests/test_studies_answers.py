"""What a study answers, from scores that are known."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from selftuning.studies import answers, contestants, plan, same_runs, summary, verdicts
from selftuning.studies.contestants import picked
from selftuning.studies.intervals import Interval
from selftuning.studies.outcome import outcome_of
from selftuning.studies.study_report import print_summary
from tests.known_scores import BAD, BAD5, GOOD, GOOD5, HARMED5, OUTER, measured, study
from tests.small_studies import small


def said_of(one):
    """The answer by its questions."""
    found = summary.summarise(one)
    assert found["answer"] == answers.answer(one, verdicts.of_study(one))
    return dict(x.split("? ", 1) for x in found["answer"] if "? " in x), found


def test_tuning_rescues_bad_starts_and_costs_nothing():
    said, found = said_of(study({"none": BAD5, "bmg": GOOD5, "outer": OUTER}, "--seeds", "5"))
    rescues = said["Rescues bad starts"]
    assert rescues.startswith(
        "Yes: from (gamma 0.7), no tuning ends more than 2.82 below fixed at the outer values.\n"
        "bmg ends at 495, no tuning at 100, a difference of 395 ["
    )
    assert "better with probability 1.00 [0.56, 1.00]" in rescues
    assert said["Costs from good starts"].startswith("No")
    assert said["Against the outer values"].startswith("Not shown: from all starts together.")
    assert "Tuning was given these values (gamma 0.99, " in said["Against the outer values"]
    assert "bmg at 495 [490, 500] from gamma 0.7, its lowest run at 490" in found["answer"][3]
    assert "widened by Holm's method for 3 comparisons" in found["notes"][0]
    json.dumps(found["verdicts"], allow_nan=False)


def test_a_verdict_on_several_starts_is_not_said_of_each():
    bad, good = BAD5[0], GOOD5[0]
    said, found = said_of(study({"none": [bad, bad], "bmg": [good, good], "outer": OUTER}))
    assert said["Rescues bad starts"].startswith(
        "Yes: from all 2 starts together. From each of them, no tuning ends more than "
    )
    assert "from every start alike, its lowest run at" in found["answer"][-1]


def test_what_tuning_costs_is_said_beside_what_it_rescues():
    """One mean over all starts would say "better", and the table would refute it."""
    said, found = said_of(study({"none": BAD5, "bmg": HARMED5, "outer": OUTER}, "--seeds", "5"))
    assert said["Rescues bad starts"].startswith("Yes")
    assert said["Costs from good starts"].startswith(
        "Yes: from (gamma 0.99).\nbmg ends at 430, no tuning at 499, a difference of -69 [-80, -59]"
    )
    assert said["Against the outer values"].startswith("Worse")
    assert "bmg at 430 [" in found["answer"][3]  # the worst start is a good one
    by = {one["question"]: one for one in found["verdicts"]}
    assert by["bad starts"]["starts"] == [{"gamma": 0.7}]
    assert by["bad starts"]["difference"]["low"] > 0
    assert by["bad starts"]["better"]["low"] > 0.5
    assert by["good starts"]["scores"] == [pytest.approx(430), pytest.approx(499.4)]


def test_no_verdict_without_both_intervals():
    """The mean is higher, but a run of the one ends better no more often than one of the other."""
    none = [[400, 401, 402, 403, 404]]
    bmg = [[399, 400, 401, 460, 480]]
    found = verdicts.judged(
        [verdicts.Comparison("", "", "", [{}], *np.array([*bmg, *none]), False, None)], 1.0
    )
    assert found[0].standing == "not shown"
    certain = verdicts.Comparison("", "", "", [{}], np.arange(5) + 9.0, np.arange(5), True, None)
    assert verdicts.judged([certain], 1.0)[0].standing == "not shown"
    shown = certain._replace(chance=Interval(0.9, 0.6, 1.0))
    assert verdicts.judged([shown], 1.0)[0].standing == "better"
    undecided = certain._replace(chance=Interval(0.528, 0.5, 0.611))
    assert verdicts.judged([undecided], 1.0)[0].standing == "not shown"


def test_level_needs_all_of_the_interval_inside_the_margin():
    wide = np.array([-150.0, 190, 0, 40, 20])
    near = np.array([-1.5, 1.9, 0, 0.4, 0.2])
    compared = [
        verdicts.Comparison("", "", "", [{}], x, np.zeros(5), True, None) for x in (wide, near)
    ]
    assert [one.standing for one in verdicts.judged(compared, 5.0)] == ["not shown", "level"]
    assert [one.standing for one in verdicts.judged(compared, 0.0)] == ["not shown"] * 2


def test_intervals_are_wider_where_more_is_compared():
    rng = np.random.default_rng(0)
    every = [
        verdicts.Comparison("", "", "", [{}], rng.normal(0, 1, 5), np.zeros(5), True, None)
        for _ in range(6)
    ]
    alone = verdicts.judged(every[:1], 0.1)[0].gain
    among = verdicts.judged(every, 0.1)[0]
    assert among.gain.low < alone.low < alone.high < among.gain.high
    assert among.level == pytest.approx(1 - 0.05 / 6)


def test_where_no_start_is_bad_none_is_rescued():
    said, found = said_of(study({"none": GOOD5, "bmg": GOOD5, "outer": OUTER}, "--target", "5000"))
    assert said["Rescues bad starts"].startswith("There are none: from every start, no tuning ends")
    assert {one["question"] for one in found["verdicts"]} == {"good starts", "outer values"}


def test_without_the_outer_values_the_best_start_says_what_is_bad():
    said, _ = said_of(study({"none": BAD5, "bmg": GOOD5}, "--seeds", "5"))
    assert "below its best start" in said["Rescues bad starts"]
    assert said["Against the outer values"].startswith("Not known")


def test_each_tuned_method_has_a_verdict_of_its_own():
    as_bad = [[101, 119, 111, 89, 80], BAD5[1]]
    one = study({"none": BAD5, "mg": as_bad, "bmg": GOOD5, "outer": OUTER}, "--seeds", "5")
    said, found = said_of(one)
    assert said["Rescues bad starts"].startswith("No (mg); Yes (bmg): from (gamma 0.7)")
    assert "mg at 100 [" in found["answer"][3]
    assert len(found["verdicts"]) == 6


@pytest.mark.parametrize(("seeds", "standing"), [(3, "Not shown"), (9, "Not shown"), (10, "No")])
def test_few_runs_without_any_difference_show_no_level(seeds, standing):
    """All at the highest score: failures that are rare have not been seen yet."""
    scores = [[100 + 3 * n for n in range(seeds)], [500] * seeds]
    tuned = [[490 + n for n in range(seeds)], [500] * seeds]
    one = study({"none": scores, "bmg": tuned, "outer": [[500] * seeds]}, "--seeds", str(seeds))
    said, _ = said_of(one)
    assert said["Costs from good starts"].startswith(f"{standing}: ")


def test_a_start_that_fails_is_no_outlier():
    """An interquartile mean over all runs drops as many of them as one of four starts has."""
    starts = ("--start", "gamma=0.6,0.7,0.8,0.99", "--seeds", "5")
    scores = [[500] * 5, [500] * 5, [500] * 5, [292, 389, 300, 310, 320]]
    found = summary.summarise(study({"none": [[500] * 5] * 4, "bmg": scores}, *starts))
    bmg = found["methods"]["bmg"]["last_tenth"]
    assert bmg["iqm"]["value"] == 500
    assert bmg["mean"]["value"] == pytest.approx(500 - 177.8 / 4)
    assert "bmg at 322 [" in " ".join(found["answer"])
    assert "its lowest run at 292" in " ".join(found["answer"])


def test_single_seeds_have_no_intervals():
    one = study({"none": [[100], [499]], "bmg": [[490], [500]]}, "--seeds", "1")
    said, found = said_of(one)
    assert said["Rescues bad starts"].startswith("One seed: from (gamma 0.7)")
    assert "[" not in said["Rescues bad starts"]
    assert any(note.startswith("One seed") for note in found["notes"])
    assert found["methods"]["none"]["last_tenth"]["iqm"]["low"] is None
    assert found["methods"]["none"]["last_tenth"]["mean"]["low"] is None
    assert found["better"]["bmg"] == {}


def test_few_seeds_and_missing_parts_are_noted():
    one = study({"none": BAD, "bmg": GOOD}, missing=["bmg-1"])
    text = " ".join(answers.notes(one))
    assert "not finished: 1 of its programs" in text
    assert "With only 3 seeds there may be failures that none of them shows" in text


def test_means_of_a_study_that_has_not_finished():
    """Seeds that only some starts have are no seeds of the whole; nothing is made up of them."""
    part = measured({"none": BAD5, "bmg": GOOD5}, "--seeds", "5")
    table = part.table.filter(~((pl.col("method") == "bmg") & (pl.col("run") >= 7)))
    one = outcome_of(part._replace(table=table, missing=["bmg-1"]))
    bmg = one.named("bmg")
    assert [len(seeds) for seeds in bmg.seeds] == [5, 2]
    found = summary.summarise(one)
    assert found["methods"]["bmg"]["last_tenth"]["mean"]["low"] is None
    assert {x["seeds"] for x in found["verdicts"]} == {2}


def test_without_a_tuned_or_an_untuned_method_there_is_no_verdict():
    said, found = said_of(study({"none": BAD}))
    assert not said
    assert "no tuned agent in this study" in found["answer"][1]
    _, found = said_of(study({"bmg": GOOD, "mg": BAD}))
    assert "no untuned agent" in found["answer"][1]
    assert found["answer"][0].index("bmg") < found["answer"][0].index("; mg")
    assert "mg at 110 [" in found["answer"][2]


def test_tasks_without_episodes_are_judged_by_reward():
    one = study({"none": [[0.1, 0.2, 0.1], [0.1, 0.1, 0.2]], "bmg": [[0.3] * 3] * 2}, reward=True)
    assert one.measure == contestants.REWARD
    assert one.score == "reward a step"
    assert (one.target, one.target_is) == (pytest.approx(0.3), "the best run of all")
    assert "bmg ends at 0.3" in " ".join(answers.answer(one, verdicts.of_study(one)))


# Contestants that are the same runs


def test_outer_values_that_are_a_start_are_these_runs():
    """Nothing is run twice, and nothing is shown twice under two names."""
    settings = small("--methods", "none,outer,bmg", "--seeds", "5").settings
    assert not any(unit.method == "outer" for unit in plan.units_of(settings))
    part = measured({"none": BAD5, "bmg": GOOD5}, "--seeds", "5")
    one = outcome_of(part._replace(settings=settings))
    assert [x.name for x in one.contestants] == ["none", "outer", "bmg"]
    assert one.named("outer").last[0].tolist() == BAD5[1]
    said, _ = said_of(one)
    assert "fixed at the outer values at 499" in said["Against the outer values"]


def test_runs_without_tuning_that_all_have_the_outer_values_are_those():
    settings = small(
        "--methods", "none,outer,bmg", "--start", "gamma=0.99", "--seeds", "5"
    ).settings
    part = measured({"none": OUTER, "bmg": OUTER}, "--start", "gamma=0.99", "--seeds", "5")
    one = outcome_of(part._replace(settings=settings))
    assert [x.name for x in one.contestants] == ["none", "bmg"]
    said, found = said_of(one)
    assert list(said) == ["Against the outer values"]
    assert "bmg ends at 499, no tuning at 499" in said["Against the outer values"]
    assert "fixed at the outer values is no tuning: the same runs, shown once." in found["notes"]


def test_methods_that_differ_in_name_alone_are_one():
    settings = small("--methods", "none,bmg,-outer").settings
    again = dataclasses.replace(
        settings, methods=settings.methods | {"again": settings.methods["bmg"]}
    )
    assert same_runs.same_runs(settings) == {}
    assert same_runs.same_runs(again) == {"again": same_runs.Same("bmg", [0, 1], True)}


# What there is to say where little can be compared


def test_methods_without_common_starts_are_not_compared_by_start():
    one = study({"none": BAD5, "bmg": GOOD5, "outer": OUTER}, "--seeds", "5")
    elsewhere = [
        x._replace(starts=[{"gamma": 0.3}, {"gamma": 0.4}]) if x.name == "bmg" else x
        for x in one.contestants
    ]
    said, found = said_of(one._replace(contestants=elsewhere))
    assert said["Rescues bad starts"] == "Not known: no tuned method starts where no tuning does."
    assert "Costs from good starts" not in said
    assert [x["question"] for x in found["verdicts"]] == ["outer values"]


def test_a_verdict_names_its_methods_where_others_have_none():
    one = study({"none": BAD5, "mg": GOOD5, "bmg": GOOD5, "outer": OUTER}, "--seeds", "5")
    elsewhere = [picked(x, [1], x.name, x.label) if x.name == "mg" else x for x in one.contestants]
    said, _ = said_of(one._replace(contestants=elsewhere))
    assert said["Rescues bad starts"].startswith("Yes (bmg): from (gamma 0.7), ")
    assert "mg ends at" in said["Costs from good starts"]


def test_where_every_start_is_bad_none_costs_anything():
    said, _ = said_of(study({"none": [BAD5[0]] * 2, "bmg": GOOD5, "outer": OUTER}, "--seeds", "5"))
    assert said["Rescues bad starts"].startswith("Yes: from all 2 starts together. ")
    assert said["Costs from good starts"] == "There are none."


def test_runs_that_begin_at_the_target_are_never_level():
    one = study({"none": GOOD5, "bmg": GOOD5, "outer": OUTER}, "--seeds", "5", "--target", "10")
    _, found = said_of(one)
    assert found["margin"] == 0
    assert "are not said, as runs begin at the target" in found["notes"][0]
    assert not {one["standing"] for one in found["verdicts"]} & {"level"}


def test_a_study_that_has_not_got_far_has_nothing_to_compare():
    part = measured({"none": BAD5, "bmg": GOOD5}, "--seeds", "5")
    seeds = ((pl.col("method") == "none") & (pl.col("seed") < 2)) | (
        (pl.col("method") == "bmg") & (pl.col("seed") > 2)
    )
    _, found = said_of(outcome_of(part._replace(table=part.table.filter(seeds), missing=["x"])))
    assert "There is nothing to compare yet" in found["answer"][1]


def test_labels_have_room_on_80_columns(tmp_path, capsys):
    one = study({"none": BAD5, "bmg": GOOD5, "outer": OUTER}, "--seeds", "5")
    print_summary(Console(width=80), tmp_path, one, summary.summarise(one))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("fixed at the outer ") for line in lines)
