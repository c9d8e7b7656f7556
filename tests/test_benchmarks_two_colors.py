"""Two Colors studies: presets, arithmetic on series, answers, numbers recomputed, pictures."""

import dataclasses
import io
import json
import shutil
from collections import OrderedDict
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from selftuning.benchmarks.two_colors import __main__ as script
from selftuning.benchmarks.two_colors import rows as two_colors_rows
from selftuning.configs import studies
from selftuning.configs.errors import ConfigError
from selftuning.envs import two_colors as env
from selftuning.studies import execute, plan, study, study_files
from selftuning.studies.execute import Result
from tests.test_benchmarks_two_colors_rows import MADE_OF

ENV, PHASE, STEPS = "TwoColorsShort-v0", 512, 3_008
PICTURES = ("reward.png", "swap.png", "totals.png")
ORIGIN = {"command": "python run.py study", "begun": "2026-01-01", "code": "1"}


def no_constants(name):
    raise AssertionError(f"{name} is no JSON")


def summary_of(out):
    path = out / script.FOLDER / "summary.json"
    return json.loads(path.read_text(), parse_constant=no_constants)


@pytest.fixture(scope="module")
def task():
    """A task whose signs change every 512 steps."""
    gymnasium.register(
        ENV,
        "selftuning.envs.hosted:TwoColorsEnv",
        kwargs={"switch_every": PHASE, "step_reward": 0.1},
    )
    yield ENV
    del gymnasium.registry[ENV]


def small(**changes):
    """A study of a small agent on the short task."""
    run = {
        "env": ENV,
        "steps": STEPS,
        "seed": 3,
        "agent": {"hidden": [8], "rollout_length": 4},
        "tuning": {"inner_steps": 1, "target_steps": 2, "period": 2, "context_hidden": [4]},
    }
    fixed = {"of": "none", "label": "entropy weight", "starts": {"entropy": [0.0, 0.2]}}
    methods = {"fixed": fixed, "mg_reward": {}}
    layer = {"run": run, "methods": methods, "seeds": 2, "points": 188, "evaluations": 0}
    return studies.layered([layer, changes])


@pytest.fixture(scope="module")
def finished(task, tmp_path_factory):
    """Directory and table of a study that has run, without any reading of it."""
    settings, out = small(), tmp_path_factory.mktemp("studies") / "study"
    study_files.create(settings, out, ORIGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "_programs", OrderedDict())
        for unit in plan.units_of(settings):
            result = execute.run(unit, None, lambda part: None)
            study_files.write_unit(out, unit, result)
    return out, study_files.read(out)


def read(out):
    """What reading a study prints."""
    console = Console(file=io.StringIO(), width=80)
    script.read(out, console)
    return console.file.getvalue()


def pictures_in(out):
    return sorted(path.name for path in (out / script.FOLDER).glob("*.png"))


@pytest.fixture(scope="module")
def printed(finished):
    return read(finished[0])


def runs_of(measured, method, column):
    """Values of all runs of a method [runs, points]."""
    table = measured.table.filter(measured.table["method"] == method).sort("run", "point")
    return table[column].to_numpy().reshape(table["run"].n_unique(), -1)


def test_a_study_is_read(finished, printed):
    folder = finished[0] / script.FOLDER
    assert {path.name for path in folder.iterdir()} == {"summary.json", *PICTURES}
    for name in PICTURES:
        assert min(Image.open(folder / name).size) > 300
    assert "\x1b" not in printed
    lines = printed.splitlines()
    labels = ["row ", "entropy weight 0 ", "entropy weight 0.2 ", "mg + reward "]
    for line, label in zip(lines, labels, strict=False):
        assert line.startswith(label) and (label == "row " or line.endswith("k"))
        assert len(line) <= 80
    said = " ".join(lines[4:])
    assert "3,008 steps, 2 seeds" in said and "Tuning " in said and "best fixed weight" in said
    assert str(folder) in said


def test_the_general_report_knows_nothing_of_it(finished, tmp_path):
    out = tmp_path / "study"
    shutil.copytree(finished[0], out, ignore=shutil.ignore_patterns(script.FOLDER))
    study.report(out, Console(file=io.StringIO()))
    assert not (out / script.FOLDER).exists()
    assert "ceiling" not in (out / "report.html").read_text(encoding="utf-8")


def test_what_is_no_study_gets_one_line_and_exit_code_2(finished, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(finished[0], other)
    settings = (other / "study.yaml").read_text().replace(f"env: {ENV}", "env: CartPole-v1")
    (other / "study.yaml").write_text(settings)
    for directory, said in ((tmp_path, "is not the directory of a study"), (other, "was changed")):
        assert script.main([str(directory)]) == 2
        output = capsys.readouterr()
        assert output.out == "" and output.err.count("\n") == 1
        assert output.err.startswith("error: ") and said in output.err
    measured = finished[1]
    run = dataclasses.replace(measured.settings.run, env="CartPole-v1")
    changed = dataclasses.replace(measured.settings, run=run)
    with pytest.raises(ConfigError, match="CartPole-v1 is not Two Colors"):
        two_colors_rows.study_of(measured._replace(settings=changed))
    with pytest.raises(ConfigError, match="none of those that have run"):
        two_colors_rows.study_of(finished[1]._replace(table=finished[1].table.clear()))


def test_its_numbers_are_those_of_its_runs(finished, printed):
    out, measured = finished
    summary = summary_of(out)
    assert summary["ceiling"] == pytest.approx(env.optimal_reward(0.1))
    assert summary["steps_between_changes"] == PHASE
    assert (summary["env"], summary["steps"], summary["seeds"]) == (ENV, STEPS, 2)
    assert summary["complete"] and summary["command"] == ORIGIN["command"]
    assert summary["published"]["rows"] == {}  # signs change at other times
    assert list(summary["rows"]) == ["fixed_0", "fixed_0.2", "mg_reward"]
    fixed, tuned = runs_of(measured, "fixed", "reward"), runs_of(measured, "mg_reward", "reward")
    size = 4 * 2 * 2  # rollout length x period, and a point for every second cycle
    points = -(-STEPS // size)
    assert fixed.shape == (4, points) and tuned.shape == (2, points)
    rewards = [fixed[:2], fixed[2:], tuned]
    means = [x.mean(1) for x in rewards]
    best = int(means[1].mean() > means[0].mean())
    assert summary["baseline"] == ["fixed_0", "fixed_0.2"][best]
    for number, (found, reward) in enumerate(zip(summary["rows"].values(), rewards, strict=True)):
        mean = means[number]
        assert found["env_steps"] == points * size
        np.testing.assert_allclose(found["reward_per_step"], mean)
        np.testing.assert_allclose(found["total_reward"], reward.sum(1) * size)
        np.testing.assert_allclose(found["mean"]["value"], mean.mean())
        # Of two seeds a quarter of the resamples is the worse one twice.
        np.testing.assert_allclose([found["mean"]["low"], found["mean"]["high"]], np.sort(mean))
        np.testing.assert_allclose(found["sd"], abs(mean[0] - mean[1]) / np.sqrt(2))
        np.testing.assert_allclose(found["share_of_ceiling"], mean.mean() / summary["ceiling"])
        if number != best:
            ratio = found["ratio_to_baseline"]
            np.testing.assert_allclose(ratio["value"], mean.mean() / means[best].mean())
            np.testing.assert_allclose(ratio["low"], mean.min() / means[best].max())
        assert found["recovery"]["changes"] == STEPS // PHASE - 1
        assert 0 < found["recovery"]["steps"]["value"] <= PHASE
    assert summary["rows"]["fixed_0.2"]["hyperparameter"] == {"name": "entropy", "fixed_at": 0.2}
    path = runs_of(measured, "mg_reward", "entropy")
    first = summary["rows"]["mg_reward"]["hyperparameter"]["first_tenth"]
    np.testing.assert_allclose(first, path[:, : -(-points // 10)].mean())
    for name, runs in (("fixed", 4), ("mg_reward", 2)):
        method = summary["methods"][name]
        units = [unit for unit in measured.about if unit.startswith(f"{name}-")]
        seconds = sum(measured.about[unit]["seconds"] for unit in units)
        assert (method["runs"], method["programs"]) == (runs, len(units)) == (runs, runs // 2)
        assert method["seconds"] == pytest.approx(seconds)
        expected = runs * points * size / seconds
        np.testing.assert_allclose(method["steps_per_second"], expected)
        assert method["settings"]["agent"]["hidden"] == [8]


def test_rows_are_the_runs_that_they_say(finished):
    _, measured = finished
    found = two_colors_rows.study_of(measured)
    for one in found.rows:
        weight = one.start.get("entropy", 0.2)
        assert one.value == (weight if one.method == "fixed" else None)
        for seed, reward in zip((3, 4), one.reward, strict=True):
            mine = measured.table.filter(method=one.method, seed=seed, start_entropy=weight).sort(
                "point"
            )
            np.testing.assert_array_equal(reward, mine["reward"])
            if one.method == "mg_reward":
                np.testing.assert_array_equal(one.tuned[seed - 3], mine["entropy"])


def test_what_has_not_run_is_left_out(finished, tmp_path):
    _, measured = finished
    half = small(block=1)
    study_files.create(half, tmp_path / "half", ORIGIN)
    columns = {name: runs_of(measured, "fixed", name) for name in ("reward", "env_steps", "finite")}
    for unit in plan.units_of(half):
        if unit.name in ("fixed-0", "fixed-1", "fixed-3"):  # runs one by one
            values = {n: x[[unit.runs[0].index]].T.astype(float) for n, x in columns.items()}
            values |= {"return": values["reward"], "episodes": values["finite"] * 0}
            values |= {"solved_at": values["reward"] * np.nan, "greedy": values["reward"] * np.nan}
            about = measured.about["fixed-0"] | {"begun_at_point": 7}
            study_files.write_unit(tmp_path / "half", unit, Result(values, about))
    there = study_files.read(tmp_path / "half")
    assert len(there.missing) == 3
    printed = read(tmp_path / "half")
    summary = summary_of(tmp_path / "half")
    assert not summary["complete"]
    assert list(summary["rows"]) == ["fixed_0", "fixed_0.2"]
    rows = two_colors_rows.study_of(measured).rows
    for number, kept in ((0, [0, 1]), (1, [1])):
        found = summary["rows"][rows[number].name]
        np.testing.assert_allclose(found["reward_per_step"], rows[number].means[kept])
    # What ran before a unit was stopped took a time that is not known.
    assert summary["methods"]["fixed"]["steps_per_second"] is None
    assert printed.splitlines()[1].endswith(" -")
    assert summary["answers"]["tuning_beats_best_fixed"] is None
    assert pictures_in(tmp_path / "half") == ["reward.png", "totals.png"]


# What other studies show.


ABOUT = {
    "seconds": 2.0,
    "compile_seconds": 1.0,
    "begun_at_point": 0,
    "device": "cpu",
    "machine": "a machine",
    "versions": {},
}


def written(out, settings, reward=lambda rng, shape: rng.normal(0.1, 0.05, shape)):
    """A study whose results were made up, and its reading."""
    study_files.create(settings, out, ORIGIN)
    rng = np.random.default_rng(0)
    for unit in plan.units_of(settings):
        size = unit.settings.steps_per_cycle
        points = plan.points_of(-(-unit.settings.steps // size), unit.points)
        shape = (points.count, len(unit.runs))
        steps = np.arange(1, points.count + 1) * points.cycles * size
        one = np.ones(shape)
        values = {"env_steps": steps[:, None] * one, "return": one * np.nan, "episodes": one * 0}
        values |= {"reward": reward(rng, shape), "solved_at": one * np.nan, "finite": one}
        values |= {"greedy": one * np.nan}
        values |= {name: one * spec.start for name, spec in unit.settings.in_use.items()}
        study_files.write_unit(out, unit, Result(values, ABOUT))
    return read(out)


def test_a_full_study_has_all_rows_in_its_pictures_and_numbers(tmp_path):
    full = studies.layered([studies.preset("two-colors-full"), {"seeds": 2, "points": 5000}])
    printed = written(tmp_path / "study", full)
    summary = summary_of(tmp_path / "study")
    assert len(summary["rows"]) == 6 + 3 + 3 + 3 + 2
    numbers = summary["published"]["rows"]
    assert numbers.keys() == summary["rows"].keys() & MADE_OF.keys() | {"fixed", "q_fixed"}
    assert numbers["bmg_rich"] == {"mean": 1.79, "sd": 0.07}
    assert pictures_in(tmp_path / "study") == list(PICTURES)
    assert list(summary["answers"]["bmg_at_least_mg"]["contexts"]) == ["none", "reward", "rich"]
    assert max(map(len, printed.splitlines()[: 1 + len(summary["rows"])])) <= 80
    best = max((x["mean"]["value"], n) for n, x in summary["rows"].items() if n[:5] == "fixed")
    assert summary["baseline"] == best[1]


def test_any_method_and_hyperparameter_has_its_row(tmp_path, task):
    """Also auxiliary heads, another tuned hyperparameter, several starts, and a search."""
    gamma = {"hyperparameters": {"entropy": {"tuned": False}, "gamma": {"tuned": True}}}
    methods = {
        "stacx": {},
        "discount": {"of": "mg", "changes": gamma, "starts": {"gamma": [0.5, 0.9]}},
        "search": {"of": "random_search", "label": "random search"},
        "wide": {"of": "bmg", "label": "two streams", "changes": {"num_envs": 2}},
    }
    # What all begin with is in no name, and what a method has of its own is.
    starts = {"critic": [0.3], "gamma": [0.5]}
    printed = written(tmp_path / "study", small(methods=methods, points=188, starts=starts))
    summary = summary_of(tmp_path / "study")
    assert list(summary["rows"]) == ["stacx", "discount_0.5", "discount_0.9"]
    assert summary["rows"]["stacx"]["label"] == studies.METHODS["stacx"].label
    assert summary["rows"]["stacx"]["hyperparameter"]["name"] == "entropy"
    assert summary["rows"]["discount_0.9"]["hyperparameter"]["name"] == "gamma"
    assert summary["rows"]["discount_0.9"]["label"] == "discount 0.9"
    assert pictures_in(tmp_path / "study") == list(PICTURES)
    assert "random search, two streams" in printed
    assert summary["baseline"] is None


def test_coarse_points_say_nothing_of_changes(tmp_path, task):
    printed = written(tmp_path / "study", small(points=80))
    summary = summary_of(tmp_path / "study")
    assert all(one["recovery"] is None for one in summary["rows"].values())
    assert pictures_in(tmp_path / "study") == ["reward.png", "totals.png"]
    assert "\nToo few points" in printed


def test_only_two_colors_has_this_reading(tmp_path, task):
    def task_of(name):
        return two_colors_rows.task_of(replace(small().run, env=name))

    assert task_of(ENV).switch_every == PHASE
    assert task_of("TwoColors").switch_every == 100_000
    assert task_of("CartPole") is None
    with pytest.MonkeyPatch.context() as patch:
        spec = replace(gymnasium.spec(ENV), id="TwoColorsLimited-v0", max_episode_steps=100)
        patch.setitem(gymnasium.registry, spec.id, spec)
        assert task_of(spec.id) is None
