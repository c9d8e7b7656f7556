"""Two Colors studies: presets, arithmetic on series, answers, numbers recomputed, pictures."""

import io
import itertools
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
from selftuning.benchmarks.two_colors import answers as two_colors_answers
from selftuning.benchmarks.two_colors import published, series
from selftuning.benchmarks.two_colors import rows as two_colors_rows
from selftuning.benchmarks.two_colors import summary as two_colors_summary
from selftuning.benchmarks.two_colors.pictures import styles
from selftuning.benchmarks.two_colors.rows import Interval, Row
from selftuning.configs import studies
from selftuning.configs.errors import ConfigError
from selftuning.envs import two_colors as env
from selftuning.studies import execute, plan, study, study_files
from selftuning.studies.execute import Result

ENV, PHASE, STEPS = "TwoColorsShort-v0", 512, 3_008
PICTURES = ("reward.png", "swap.png", "totals.png")
ORIGIN = {"command": "python run.py study", "begun": "2026-01-01", "code": "1"}
MAIN = ["fixed", "mg_reward", "bmg_reward"]

# Everything that a method changes in what runs have in common: method, context, K, L, period,
# weight of the values in matching.
MADE_OF = {
    "fixed": ("none", "none", 1, 4, 4, 0.0),
    "mg": ("mg", "none", 1, 4, 4, 1.0),
    "mg_reward": ("mg", "reward", 1, 4, 4, 1.0),
    "mg_rich": ("mg", "rich", 1, 4, 4, 1.0),
    "bmg": ("bmg", "none", 1, 4, 4, 0.0),
    "bmg_reward": ("bmg", "reward", 1, 4, 4, 0.0),
    "bmg_rich": ("bmg", "rich", 1, 4, 4, 0.0),
    "q_fixed": ("none", "none", 0, 16, 16, 0.0),
    "q_bmg": ("bmg", "none", 0, 128, 128, 0.0),
    "q_bmg_reward": ("bmg", "reward", 0, 128, 128, 0.0),
}
ALL_WEIGHTS = [0.0, 0.05, 0.1, 0.2, 0.4, 0.8]
PRESETS = {
    "two-colors-quick": (1_000_000, 5, MAIN, [0.05, 0.1, 0.2]),
    "two-colors": (10_000_000, 3, MAIN, [0.05, 0.1, 0.2]),
    "two-colors-full": (10_000_000, 10, list(MADE_OF), ALL_WEIGHTS),
}


def cycle_steps(settings):
    return settings.tuning.period * settings.agent.rollout_length * settings.num_envs


# The studies that come with the project.


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_of_the_size_that_they_say(name):
    settings = studies.layered([studies.preset(name)])
    studies.check(settings)
    steps, seeds, methods, weights = PRESETS[name]
    run = settings.run
    assert (run.env, run.steps, run.seed, run.num_envs) == ("TwoColors-v0", steps, 0, 1)
    assert (settings.seeds, list(settings.methods)) == (seeds, methods)
    units = {unit.method: unit for unit in plan.units_of(settings)}
    for method in methods:
        starts = studies.starts(settings, method)
        if method == "fixed":
            assert starts == [{"entropy": weight} for weight in weights]
        elif method == "q_fixed":
            assert starts == [{"epsilon": 0.05}, {"epsilon": 0.1}, {"epsilon": 0.3}]
        else:
            assert starts == [{}]
        # Points are close enough together to see what happens at changes of signs.
        unit = units[method]
        points = plan.points_of(-(-steps // cycle_steps(unit.settings)), unit.points)
        length = points.cycles * cycle_steps(unit.settings)
        assert series.resolved(length, 100_000), (method, length)


@pytest.mark.parametrize("name", MADE_OF)
def test_methods_are_what_their_names_say(name):
    made = studies.run_settings(studies.layered([studies.preset("two-colors-full")]), name)
    t, agent = made.tuning, made.agent
    found = (t.method, t.context, t.inner_steps, t.target_steps, t.period, t.value_weight)
    assert found == MADE_OF[name]
    assert (t.learning_rate, t.context_hidden) == (3e-3, (32,))
    assert (agent.hidden, agent.rollout_length, agent.heads) == ((256, 256), 16, 1)
    learner = (agent.algorithm, agent.inner_optimizer, made.in_use["learning_rate"].start)
    if name.startswith("q_"):
        assert learner == ("q_lambda", "rms", 1e-3)
        assert (t.matching, t.parameter_weight) == ("kl", 0.0)
    else:
        assert learner == ("actor_critic", "sgd", 0.1)
        assert (t.matching, t.parameter_weight) == ("none", 1.0)
        entropy = made.in_use["entropy"]
        assert (entropy.start, entropy.low, entropy.high, entropy.outer) == (0.2, 0.08, 0.4, 0.2)
    moved = "epsilon" if name.startswith("q_") else "entropy"
    assert [n for n, spec in made.in_use.items() if spec.tuned] == [moved]


# Arithmetic on series, against the steps one by one.


def test_means_count_parts_of_cycles():
    values, length = np.random.default_rng(0).normal(size=(2, 3, 7)), 6
    by_step = np.repeat(values, length, -1)
    edges = np.array([0, 1, 4, 6, 17, 30, 41, 42])
    expected = np.stack([by_step[..., a:b].mean(-1) for a, b in itertools.pairwise(edges)], -1)
    np.testing.assert_allclose(series.means(values, length, edges), expected, atol=1e-12)
    several = np.array([[0, 5, 9], [30, 31, 42]])
    expected = [[by_step[..., a:b].mean(-1) for a, b in ((0, 5), (5, 9))]]
    expected += [[by_step[..., a:b].mean(-1) for a, b in ((30, 31), (31, 42))]]
    expected = np.moveaxis(np.array(expected), (0, 1), (-2, -1))
    np.testing.assert_allclose(series.means(values, length, several), expected, atol=1e-12)


@pytest.mark.parametrize("length", [1, 8, 10])
def test_what_happens_at_changes_is_at_offset_0(length):
    """A bump of a hundredth of a phase right after each change, other things in the first phase."""
    phase, changes = 1000, 6
    by_step = np.zeros(phase * (changes + 1))
    for k in range(1, changes + 1):
        by_step[k * phase : k * phase + 10] = k
    by_step[:phase] = 100.0  # learning from nothing
    cycles = by_step[: len(by_step) // length * length].reshape(-1, length).mean(-1)
    found = series.aligned(np.stack([cycles, 2 * cycles]), length, phase)
    edges = series.offset_edges(phase)
    assert (edges[0], edges[-1]) == (-200, 800)
    assert found.shape == (2, changes - 1, series.OFFSETS)  # all but the first have whole stretches
    at = np.flatnonzero(edges == 0)[0]
    np.testing.assert_allclose(found[0].sum(-1), np.arange(2, changes + 1), rtol=1e-9)
    smeared = found[0][:, at - 1 : at + 2].sum(-1)  # into the cycles around it at most
    np.testing.assert_allclose(smeared, np.arange(2, changes + 1), rtol=1e-9)
    if 10 % length == 0:
        np.testing.assert_allclose(found[0][:, at], np.arange(2, changes + 1), rtol=1e-9)
    np.testing.assert_allclose(found[1], 2 * found[0])
    assert not series.aligned(cycles[: 2 * phase // length], length, phase).size


def test_recovery_is_the_first_window_that_is_good_enough():
    phase = 1000  # so that a window has 20 steps
    reward = np.full((2, 4 * phase), -1.0)
    reward[0, :phase] = 1.0  # no change comes before the first phase
    reward[0, phase + 300 : 2 * phase] = 1.0  # good after 300 steps: half of it 10 steps later
    reward[0, 2 * phase :] = 1.0  # at once
    found = series.recovery(reward, 1, phase, 0.0)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found[0], [310, 20, 20])
    np.testing.assert_array_equal(found[1], [phase] * 3)
    assert series.recovery(reward[:, : 2 * phase - 1], 1, phase, 0.0).shape == (2, 0)


def test_learning_curves_are_cut_evenly():
    for total, phase, width, count in (
        (1_000_192, 100_000, 10_000, 100),
        (10_000_128, 100_000, 100_000, 100),
        (30_000_000, 100_000, 300_000, 100),
        (4096, 100_000, 409.6, 10),
    ):
        edges = series.curve_edges(total, phase)
        np.testing.assert_allclose(np.diff(edges), width)
        assert len(edges) == count + 1 and edges[-1] <= total


# Intervals and answers.


def test_intervals():
    values = np.random.default_rng(1).normal(2.0, 0.1, 40)
    mean = two_colors_rows.mean_interval(values)
    assert mean.value == values.mean()
    error = values.std(ddof=1) / np.sqrt(40)
    np.testing.assert_allclose([mean.low, mean.high], mean.value + error * 1.96 * np.array([-1, 1]),
                               atol=0.3 * error)  # fmt: skip
    ratio = two_colors_rows.ratio_interval(values, values / 2)
    assert ratio.value == pytest.approx(2) and ratio.low < 2 < ratio.high
    spread = 2 * np.sqrt(2) * error / mean.value  # both means vary
    np.testing.assert_allclose(ratio.high - ratio.low, 2 * 1.96 * spread, rtol=0.2)
    assert two_colors_rows.mean_interval(values[:1]) == Interval(values[0], None, None)
    assert two_colors_rows.ratio_interval(values, -values) is None
    assert two_colors_rows.ratio_interval(values, np.array([0.1, -0.05, 0.1])) is None


def row(family, values, context="none", value=None, start=None):
    reward = np.repeat(np.asarray(values, float)[:, None], 5, 1)
    start = start or {}
    name = "_".join([family, context, str(value), *(f"{x:g}" for x in start.values())])
    about = (name, name, family, start, family, context, "entropy", value)
    nothing, fine = np.zeros((len(reward), 0)), np.ones(len(reward), bool)
    return Row(*about, reward, nothing, fine, 10)


def test_answers():
    fixed = [row("fixed", [0.1, 0.11, 0.12], value=0.1), row("fixed", [0.0, 0.01], value=0.4)]
    mg = row("mg", [0.09, 0.13, 0.2], "reward")
    bmg = row("bmg", [0.2, 0.21, 0.22], "reward")
    answers = two_colors_answers.answers
    found = answers([*fixed, mg, bmg])
    assert found["tuning_beats_best_fixed"] == {
        "holds": True, "best": bmg.name, "baseline": fixed[0].name, "above": [bmg.name],
    }  # fmt: skip
    assert found["bmg_at_least_mg"]["holds"]
    assert not found["bmg_at_least_mg"]["contexts"]["reward"]["intervals_apart"]
    assert found["q_tuning_beats_best_fixed"] is None
    found = answers([*fixed, mg, row("bmg", [0.01, 0.02], "reward")])
    assert not found["tuning_beats_best_fixed"]["holds"]
    assert not found["bmg_at_least_mg"]["holds"]
    # Of one seed nothing is known, and contexts are not mixed.
    found = answers([fixed[0], row("bmg", [0.9], "rich"), mg])
    assert not found["tuning_beats_best_fixed"]["holds"] and found["bmg_at_least_mg"] is None
    assert set(answers([mg]).values()) == {None}
    # Q(lambda) is compared with its own fixed values.
    q = [row("q_fixed", [0.01, 0.02], value=0.3), row("q_bmg", [0.03, 0.04])]
    found = answers([*fixed, *q])
    assert found["tuning_beats_best_fixed"] is None
    assert found["q_tuning_beats_best_fixed"]["above"] == [q[1].name]


def test_bmg_and_mg_are_compared_start_by_start():
    low, high = {"entropy": 0.1}, {"entropy": 0.3}
    rows = [
        row("mg", [0.1, 0.2], start=low),
        row("mg", [0.5, 0.6], start=high),
        row("bmg", [0.3, 0.4], start=low),
        row("bmg", [0.3, 0.4], "rich", start=high),
    ]
    found = two_colors_answers.answers(rows)["bmg_at_least_mg"]
    assert found["holds"]
    assert list(found["contexts"]) == ["none (entropy 0.1)"]
    assert found["contexts"]["none (entropy 0.1)"]["mg"] == rows[0].name
    # Of two methods that nothing tells apart the better one counts.
    twice = [*rows[:2], row("bmg", [0.0, 0.1], start=low), rows[2]]
    assert two_colors_answers.answers(twice)["bmg_at_least_mg"] == found


def test_a_run_that_diverged_is_said_and_left_out_of_its_weights():
    path = np.linspace(0.1, 0.3, 30)[None].repeat(3, 0)
    path[1, 20:] = np.nan
    whole = row("mg", [0.1, 0.2, 0.3], "reward")._replace(tuned=path)
    assert whole.diverged.tolist() == [False, True, False]
    about = two_colors_summary.hyperparameter(whole)
    assert about["first_tenth"] == pytest.approx(path[0, :3].mean())
    assert about["last_tenth"] == pytest.approx(path[0, -3:].mean())
    none_left = whole._replace(tuned=path[1:2], reward=whole.reward[1:2], finite=whole.finite[1:2])
    assert "last_tenth" not in two_colors_summary.hyperparameter(none_left)
    assert two_colors_answers.diverged([whole]) == [
        f"{whole.label}: 1 of 3 runs diverged (NaN), and count with what they got."
    ]
    fixed = row("fixed", [0.1, 0.2], value=0.1)
    assert not two_colors_answers.diverged([fixed])
    lost = fixed._replace(finite=np.array([True, False]))
    assert "1 of 2 runs" in two_colors_answers.diverged([lost])[0]


def test_rows_that_have_everything_in_common_look_different():
    starts = [{"entropy": x} for x in (0.1, 0.2)]
    rows = [row("mg", [0.1], start=start) for start in starts] + [row("bmg", [0.1])]
    looks = [styles(rows)[one.name] for one in rows]
    assert looks[0]["color"] == looks[1]["color"] != looks[2]["color"]
    assert looks[0]["marker"] != looks[1]["marker"] and not looks[2]["marker"]


# A study that has run.


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
            study_files.write_unit(out, settings, unit, result)
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
    for directory, said in ((tmp_path, "is not the directory of a study"), (other, "CartPole-v1")):
        assert script.main([str(directory)]) == 2
        output = capsys.readouterr()
        assert output.out == "" and output.err.count("\n") == 1
        assert output.err.startswith("error: ") and said in output.err
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
        method, about = summary["methods"][name], measured.about[f"{name}-0"]
        assert (method["runs"], method["programs"]) == (runs, 1)
        assert method["seconds"] == about["seconds"]
        expected = runs * points * size / about["seconds"]
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
            study_files.write_unit(tmp_path / "half", half, unit, Result(values, about))
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
        size = cycle_steps(unit.settings)
        points = plan.points_of(-(-unit.settings.steps // size), unit.points)
        shape = (points.count, len(unit.runs))
        steps = np.arange(1, points.count + 1) * points.cycles * size
        one = np.ones(shape)
        values = {"env_steps": steps[:, None] * one, "return": one * np.nan, "episodes": one * 0}
        values |= {"reward": reward(rng, shape), "solved_at": one * np.nan, "finite": one}
        values |= {"greedy": one * np.nan}
        values |= {name: one * spec.start for name, spec in unit.settings.in_use.items()}
        study_files.write_unit(out, settings, unit, Result(values, ABOUT))
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
    printed = written(tmp_path / "study", small(methods=methods, points=188))
    summary = summary_of(tmp_path / "study")
    assert list(summary["rows"]) == ["stacx", "discount_0.5", "discount_0.9"]
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


def test_published_numbers_are_for_the_published_task_only(tmp_path, task):
    rows = [row("fixed", [0.1, 0.2], value=0.1), row("fixed", [0.3, 0.4], value=0.2)]
    rows += [row("mg", [0.1, 0.2], "reward"), row("heads", [0.1], "reward")]
    one = two_colors_rows.Study(None, rows, [], 100_000, 0.279)
    found = published.of_rows(one)
    assert found.keys() == {rows[1].name, rows[2].name}
    assert found[rows[1].name] == (1.24, 0.09)
    assert not published.of_rows(one._replace(phase=PHASE))


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
