"""Studies of several environments: their settings, units, normalised scores and page."""

import dataclasses
import json
from html.parser import HTMLParser

import hypothesis
import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import strategies as st

from selftuning.configs import cli, files, presets, studies
from selftuning.configs.errors import ConfigError
from selftuning.studies import intervals, known, plan, summary, tasks, untrained
from selftuning.studies.outcome import NORMALISED, outcome_of
from selftuning.studies.report import page
from tests import synthetic_study

ENVS = {"CartPole-v1": [20.0, 500.0], "Acrobot-v1": [0.0, 490.0]}


def asked(*arguments):
    return cli.parse(["study", *arguments]).settings


def two(**changes):
    """Made-up scores on two environments."""
    given = {"methods": "none,outer,bmg", "starts": {"gamma": (0.7, 0.99)}, "seeds": 4}
    more = {"tasks": {"Acrobot": {"steps": 300_000}}}
    more |= {"anchors": {"CartPole": ENVS["CartPole-v1"], "Acrobot": ENVS["Acrobot-v1"]}}
    return synthetic_study.study(**{**given, **more, **changes})


@pytest.fixture(scope="module")
def outcome():
    return two()


# Settings


def test_each_environment_has_its_own_preset_and_flags_are_for_all():
    study = asked("--env", "CartPole, Acrobot,TwoColors", "--hidden", "8", "--fix", "gamma")
    assert studies.environments(study) == ["CartPole", "Acrobot", "TwoColors"]
    for env in studies.environments(study):
        run, preset = studies.on(study, env).run, presets.for_env(env)
        agent = dataclasses.replace(preset.agent, hidden=(8,))
        assert (run.env, run.steps, run.agent) == (env, preset.steps, agent)
        assert run.tuning == preset.tuning
        assert not run.hyperparameters["gamma"].tuned


def test_a_study_is_written_complete_and_later_layers_change_all_tasks(tmp_path):
    data = {
        "run": {"env": ["CartPole", "Acrobot"], "preset": "actor_critic", "num_envs": 6},
        "tasks": {"MountainCar": {"agent": {"hidden": [7]}}},
        "anchors": {"Acrobot": [-500, -100]},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(data))
    study = asked("--config", str(path))
    assert studies.environments(study) == ["CartPole", "Acrobot", "MountainCar"]
    assert [task.run.agent.hidden for task in studies.on_each(study)] == [(64, 64), (64, 64), (7,)]
    assert {task.run.num_envs for task in studies.on_each(study)} == {6}
    assert {task.run.agent.algorithm for task in studies.on_each(study)} == {"actor_critic"}
    path.write_text(files.dump(study))
    assert asked("--config", str(path)) == study
    longer = asked("--config", str(path), "--steps", "777")
    assert [task.run.steps for task in studies.on_each(longer)] == [777] * 3
    without = {"anchors": {}} | {"run": {"env": "MountainCar"}}
    (alone,) = studies.on_each(studies.layered([files.read(path), without]))
    assert alone.run == studies.on(study, "MountainCar").run


MISTAKES = {
    "env: [CartPole, CartPole]": "env: CartPole is there twice",
    "env: [3]": "env: [3] is not allowed; it must be an environment, or several",
    "env: 'CartPole,'": "env: 'CartPole,' is not allowed",
}
OF_STUDIES = {
    "tasks: {Acrobot: {seed: 3}}": "tasks.Acrobot.seed: 3 is not allowed; it must be left out",
    "tasks: {Acrobot: {stepz: 3}}": "unknown field stepz",
    "tasks: {Acrobot: {steps: 0}}": "steps: 0 is not allowed",
    "tasks: {Acrobot: 3}": "tasks.Acrobot: 3 is not allowed",
    "tasks: 3": "tasks: 3 is not allowed",
    "tasks: {Acrobot: {env: X}}": "but for env",
    "{target: 3, tasks: {Acrobot: {}}}": "target: 3.0 is not allowed; it must be left out with",
    "anchors: {CartPole-v1: [0, 1]}": "it must be left out with one environment",
    "{anchors: {Foo: [0, 1]}, tasks: {Acrobot: {}}}": "it must be for one of CartPole-v1, Acrobot",
    "{anchors: {Acrobot: [1, 1]}, tasks: {Acrobot: {}}}": "the lower one first",
    "{anchors: {Acrobot: [0, .inf]}, tasks: {Acrobot: {}}}": "two finite numbers",
}


@pytest.mark.parametrize("text", [*(f"run: {{{x}}}" for x in MISTAKES), *OF_STUDIES])
def test_mistakes_are_said_in_one_line(text, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    wrong = MISTAKES.get(text[6:-1]) or OF_STUDIES[text]
    with pytest.raises(ConfigError) as caught:
        asked("--config", str(path))
    assert wrong in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_names_of_one_environment_are_not_two():
    with pytest.raises(ConfigError, match="CartPole and CartPole-v1 are the same, CartPole-v1"):
        plan.units_of(asked("--env", "CartPole,CartPole-v1"))


# What runs


def test_units_are_those_of_each_environment_alone():
    arguments = ("--methods", "none,bmg", "--start", "gamma=0.7,0.9", "--seeds", "3")
    study = asked("--env", "CartPole,Acrobot", *arguments)
    units = plan.units_of(study)
    assert len({unit.name for unit in units}) == len(units)
    for env in ENVS:
        mine = [unit for unit in units if unit.settings.env == env]
        assert mine == [unit for unit in units if plan.is_on(unit.name, env)]
        alone = plan.units_of(asked("--env", env, *arguments))
        assert [unit.settings for unit in mine] == [unit.settings for unit in alone]
        assert [[(r.seed, r.start) for r in unit.runs] for unit in mine] == [
            [(r.seed, r.start) for r in unit.runs] for unit in alone
        ]
    runs = [(unit.method, run.index) for unit in units for run in unit.runs]
    assert len(set(runs)) == len(runs)
    assert len({unit.program for unit in units}) == 6


def test_what_is_known_goes_through_a_file():
    study = asked("--env", "CartPole,Acrobot")
    found = dataclasses.replace(known.asked(study), untrained={"return": 20.0, "reward": None})
    assert known.from_plain(json.loads(json.dumps(known.to_plain(found))), "there") == found
    assert [one.env for one in found.each] == list(ENVS)


def test_an_untrained_agent_falls_over_at_once():
    run = dataclasses.replace(presets.for_env("CartPole-v1"), num_envs=2)
    assert 10 < untrained.scores(run)["return"] < 40
    assert untrained.scores(run)["reward"] == 1
    assert untrained.scores(run) == untrained.scores(run)


# Normalised scores


@hypothesis.given(
    count=st.integers(1, 70), points=st.integers(1, 70), seed=st.integers(0, 2**31 - 1)
)
def test_curves_of_fewer_points_keep_their_means(count, points, seed):
    curves = np.random.default_rng(seed).normal(size=(3, count))
    found = tasks._evened(curves, points)
    assert found.shape == (3, points)
    np.testing.assert_allclose(found.mean(1), curves.mean(1), atol=1e-9)
    assert (found.min(1) >= curves.min(1) - 1e-9).all()
    if points == count:
        np.testing.assert_allclose(found, curves, atol=1e-9)


@pytest.mark.parametrize(
    ("given", "untrained", "target", "scores", "expected"),
    [
        ((1.0, 2.0), 5.0, 9.0, [0, 7], (1.0, 2.0)),
        (None, 5.0, 9.0, [0, 7], (5.0, 9.0)),
        (None, None, 9.0, [0, 7], (0.0, 9.0)),
        (None, 9.0, 9.0, [0, 11], (9.0, 11.0)),  # the threshold is too low to tell
        (None, 9.0, 9.0, [0, 7], (0.0, 9.0)),  # training only made it worse
        (None, 9.0, 9.0, [9, 9], (9.0, 10.0)),
    ],
)
def test_the_lower_anchor_is_below_the_upper_one(given, untrained, target, scores, expected):
    found = tasks.anchors(given, untrained, (target, "good"), np.array(scores))
    assert (found.low, found.high) == expected
    np.testing.assert_array_equal(found.normalised(np.array(expected)), [0, 1])


def test_units_of_scores_do_not_matter(outcome):
    """Scores and anchors of a task in other units: nothing over tasks changes."""
    measured, score = outcome.measured, ["return", "greedy"]
    there = pl.col("env") == "Acrobot-v1"
    table = measured.table.with_columns(
        pl.when(there).then(3 * pl.col(x) - 70).otherwise(pl.col(x)).alias(x) for x in score
    )
    anchors = measured.settings.anchors | {"Acrobot": (-70.0, 3 * 490.0 - 70)}
    settings = dataclasses.replace(measured.settings, anchors=anchors)
    again = outcome_of(measured._replace(table=table, settings=settings))
    for one, two_ in zip(outcome.contestants, again.contestants, strict=True):
        for name in ("last", "whole", "greedy"):
            for x, y in zip(getattr(one, name), getattr(two_, name), strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-9)


def test_strata_are_environments_times_starts(outcome):
    none, outer, bmg = outcome.contestants  # the outer values are the best start
    assert outcome.measure == NORMALISED == outcome.score
    assert none.starts == bmg.starts
    strata = [(start["env"], start["gamma"]) for start in bmg.starts]
    assert strata == [(e, g) for e in ENVS for g in (0.7, 0.99)]
    assert [start["env"] for start in outer.starts] == list(ENVS)
    for one in outcome.contestants:
        for start, runs in zip(one.starts, one.last, strict=True):
            task, (low, high) = outcome.tasks[start["env"]], ENVS[start["env"]]
            raw = task.named(one.name)
            rest = {name: x for name, x in start.items() if name != "env"}
            scores = raw.last[raw.starts.index(rest)]
            np.testing.assert_allclose(runs, (scores - low) / (high - low))


def test_chances_over_environments_are_means_over_them(outcome):
    """Also against a contestant with one start on each."""
    none, outer, bmg = outcome.contestants
    for one, other in ((bmg, none), (bmg, outer), (outer, bmg)):
        found = intervals.probability(one, other)
        each = [
            intervals.probability(task.named(one.name), task.named(other.name))
            for task in outcome.tasks.values()
        ]
        assert found.value == pytest.approx(np.mean([x.value for x in each]))
        widths = [x.high - x.low for x in each]
        assert max(widths) / 2 < found.high - found.low < max(widths)
    first = {"starts": outer.starts[:1], "curves": outer.curves[:1], "ends": outer.ends[:1]}
    assert intervals.probability(bmg, outer._replace(**first)) is None


def test_a_method_that_has_not_run_everywhere_is_not_in_the_aggregate(outcome):
    there = ~((pl.col("env") == "Acrobot-v1") & (pl.col("method") == "bmg"))
    half = outcome_of(outcome.measured._replace(table=outcome.measured.table.filter(there)))
    assert [one.name for one in half.contestants] == ["none", "outer"]
    assert half.tasks["CartPole-v1"].named("bmg") is not None
    first = outcome.measured.table.filter(pl.col("env") == "CartPole-v1")
    assert list(outcome_of(outcome.measured._replace(table=first)).tasks) == ["CartPole-v1"]


# The page


class Ids(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"][1:]] if found.get("href", "").startswith("#") else []


def test_the_page_has_aggregates_first_and_a_part_for_each_environment(outcome):
    found = summary.summarise(outcome)
    json.dumps(found, allow_nan=False)
    assert list(found["tasks"]) == list(ENVS)
    assert found["anchors"]["CartPole-v1"]["low"] == 20
    text = page.page(outcome, found)
    read = Ids(text)
    assert len(read.ids) == len(set(read.ids))
    assert set(read.links) <= set(read.ids)
    parts = ("curves", "profiles", "better", "numbers")
    order = ["tasks", *parts, "task-1", *(f"task-1-{x}" for x in parts), "task-2", "origin"]
    places = [read.ids.index(name) for name in order]
    assert places == sorted(places)
    assert "task-1-curves" not in read.links
    for words in ("CartPole-v1 and Acrobot-v1", "(as the study says)", "normalised score"):
        assert words in text
