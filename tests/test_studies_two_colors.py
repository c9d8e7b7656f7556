"""run.py study two-colors: its arithmetic, its numbers recomputed, stopping and going on."""

import io
import itertools
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

import run
from configs import cli, presets, studies
from configs.errors import ConfigError
from envs import two_colors as env
from studies import population, two_colors, two_colors_files, two_colors_report
from studies import two_colors_results as results
from studies import two_colors_series as series
from studies.two_colors_methods import METHODS, fixed_values, run_settings
from studies.two_colors_progress import StudyProgress, duration
from studies.two_colors_published import PUBLISHED
from studies.two_colors_results import Measured, Row

ENV, PHASE, STEPS = "TwoColorsShort-v0", 512, 3_000
NAMES = ("fixed", "mg_reward")
SMALL = studies.TwoColorsSettings(NAMES, STEPS, 2, 3, (0.0, 0.2), env=ENV)
PICTURES = ("reward.png", "swap.png", "totals.png")


# Names, flags and mistakes.


def test_names_that_can_be_asked_for_are_those_that_there_are():
    assert list(studies.METHODS) == list(METHODS) == list(PUBLISHED)
    for scale in studies.SCALES.values():
        assert set(scale.methods) <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_allowed_and_what_their_names_say(name):
    settings, method = run_settings(studies.settings(), name), METHODS[name]
    assert (settings.steps, settings.num_envs) == (10_000_000, 1)
    assert (
        (settings.tuning.method == "none")
        == method.fixed
        == bool(fixed_values(studies.settings(), name))
    )
    assert (settings.agent.algorithm == "q_lambda") == name.startswith("q_")
    context = name.rpartition("_")[2]
    context = context if context in ("reward", "rich") else "none"
    assert settings.tuning.context == method.context == context
    if not method.fixed:
        assert settings.tuning.method == method.family.removeprefix("q_")
        assert [n for n, x in settings.in_use.items() if x.tuned] == [method.hyperparameter]


def test_flags():
    full = cli.parse(["study", "two-colors"])
    assert full == cli.Study(studies.settings(), None, False)
    assert full.settings.methods == tuple(METHODS)
    assert (full.settings.steps, full.settings.seeds) == (10_000_000, 10)
    assert full.settings.entropy == (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
    quick = cli.parse(["study", "two-colors", "--quick"])
    assert quick.asked and (quick.settings.steps, quick.settings.seeds) == (1_000_000, 5)
    main = cli.parse(["study", "two-colors", "--main"]).settings
    assert (main.steps, main.seeds, main.methods) == (10**7, 3, quick.settings.methods)
    flags = "--methods mg,fixed --steps 3e4 --seeds 2 --seed 7 --out x"
    command = cli.parse(["study", "two-colors", "--quick", *flags.split()])
    changed = replace(quick.settings, methods=("mg", "fixed"), steps=30_000, seeds=2, seed=7)
    assert command == cli.Study(changed, Path("x"), True)


def test_help_names_every_study_and_method(capsys):
    assert cli.parse(["study", "--help"]) is None
    shown = capsys.readouterr().out
    for name in (*studies.STUDIES, *studies.METHODS):
        assert f"  {name}: " in shown


BAD = {
    "": "NAME",
    "three-colors": "study: 'three-colors' .* two-colors",
    "two-colors --quick --main": "quick and main",
    "two-colors --methods mg,sgd": "methods: 'sgd' .* fixed, mg,",
    "two-colors --methods mg,mg": "methods: mg is there twice",
    "two-colors --methods=": "methods: ''",
    "two-colors --steps 0": "steps: 0 .* between 1",
    "two-colors --seeds 0": "seeds: 0",
    "two-colors --seed -1": "seed: -1",
    "two-colors --seeds few": "'few' is not a whole number",
    "two-colors --env CartPole": "--env",
    "two-colors surplus": "surplus",
    "two-colors --out occupied": "out: occupied exists and is not empty",
    "two-colors --out broken": "out: .* is no request of a study",
    "two-colors --out other": "out: other holds another study",
}


@pytest.mark.parametrize("arguments", BAD)
def test_a_mistake_gets_one_line_and_exit_code_2(arguments, capsys, tmp_path, monkeypatch):
    for name, file, text in (
        ("occupied", "notes", "x"),
        ("broken", "study.json", '{"study": "two-colors", "steps": 3}'),
        ("other", "study.json", '{"study": "another"}'),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("training.compilation_cache.enable", lambda: None)
    assert run.main(["study", *arguments.split()]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ") and output.err.count("\n") == 1
    assert re.search(BAD[arguments], output.err), output.err
    assert sorted(tmp_path.rglob("*")) == before


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
        (4096, 100_000, 4096, 1),
    ):
        edges = series.curve_edges(total, phase)
        np.testing.assert_allclose(np.diff(edges), width)
        assert len(edges) == count + 1 and edges[-1] <= total


# Intervals and answers.


def row(family, values, context="none", value=None):
    reward = np.repeat(np.asarray(values, float)[:, None], 5, 1)
    name = f"{family}_{context}_{value}"
    about = (name, name, family, family, context, "entropy", value)
    return Row(*about, reward, np.zeros((len(reward), 0)), 10)


def test_intervals():
    values = np.random.default_rng(1).normal(2.0, 0.1, 40)
    mean = results.mean_interval(values)
    assert mean.value == values.mean()
    error = values.std(ddof=1) / np.sqrt(40)
    np.testing.assert_allclose([mean.low, mean.high], mean.value + error * 1.96 * np.array([-1, 1]),
                               atol=0.3 * error)  # fmt: skip
    ratio = results.ratio_interval(values, values / 2)
    assert ratio.value == pytest.approx(2) and ratio.low < 2 < ratio.high
    spread = 2 * np.sqrt(2) * error / mean.value  # both means vary
    np.testing.assert_allclose(ratio.high - ratio.low, 2 * 1.96 * spread, rtol=0.2)
    assert results.mean_interval(values[:1]) == results.Interval(values[0], None, None)
    assert results.ratio_interval(values, -values) is None
    assert results.ratio_interval(values, np.array([0.1, -0.05, 0.1])) is None
    low, high = results.band(np.stack([values, values + 1], 1))
    mean = values.mean() + np.arange(2)
    assert np.all(low < mean) and np.all(high > mean)


def test_answers():
    fixed = [row("fixed", [0.1, 0.11, 0.12], value=0.1), row("fixed", [0.0, 0.01], value=0.4)]
    mg = row("mg", [0.09, 0.13, 0.2], "reward")
    bmg = row("bmg", [0.2, 0.21, 0.22], "reward")
    found = two_colors_report.answers([*fixed, mg, bmg])
    assert found["tuning_beats_best_fixed"] == {
        "holds": True, "best": bmg.name, "baseline": fixed[0].name, "above": [bmg.name],
    }  # fmt: skip
    assert found["bmg_at_least_mg"]["holds"]
    assert not found["bmg_at_least_mg"]["contexts"]["reward"]["intervals_apart"]
    found = two_colors_report.answers([*fixed, mg, row("bmg", [0.01, 0.02], "reward")])
    assert not found["tuning_beats_best_fixed"]["holds"]
    assert not found["bmg_at_least_mg"]["holds"]
    # Of one seed nothing is known, and contexts are not mixed.
    found = two_colors_report.answers([fixed[0], row("bmg", [0.9], "rich"), mg])
    assert not found["tuning_beats_best_fixed"]["holds"] and found["bmg_at_least_mg"] is None
    assert set(two_colors_report.answers([mg]).values()) == {None}


# Progress.


def test_a_run_that_diverged_is_said_and_left_out_of_its_weights():
    path = np.linspace(0.1, 0.3, 30)[None].repeat(3, 0)
    path[1, 20:] = np.nan
    whole = row("mg", [0.1, 0.2, 0.3], "reward")._replace(tuned=path, hyperparameter="entropy")
    assert whole.diverged.tolist() == [False, True, False]
    about = two_colors_report.hyperparameter(whole)
    assert about["first_tenth"] == pytest.approx(path[0, :3].mean())
    assert about["last_tenth"] == pytest.approx(path[0, -3:].mean())
    none_left = whole._replace(tuned=path[1:2], reward=whole.reward[1:2])
    assert "last_tenth" not in two_colors_report.hyperparameter(none_left)
    assert two_colors_report.diverged([whole]) == [
        f"{whole.label}: 1 of 3 runs diverged (NaN), and count with what they got."
    ]
    assert not two_colors_report.diverged([row("fixed", [0.1, 0.2], value=0.1)])


def test_progress_without_a_terminal():
    console = Console(file=io.StringIO(), width=80)
    with StudyProgress(console, {"one": 100, "two": 300}) as progress:
        progress.begin("one")
        for done in range(1, 101):
            progress.tell(done, 100)
        progress.end("one is done")
        progress.begin("two")
        progress.tell(50, 100)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 1 + 9 + 1 + 2
    assert lines[1].startswith("one           10 of 100 steps, ") and lines[1].endswith(" left")
    assert lines[10] == "one is done"
    assert lines[-2] == "two           compiling"
    assert lines[-1].startswith("two           50 of 100 steps")


def test_progress_on_a_terminal_names_the_method():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with StudyProgress(console, {"one": 100}) as progress:
        progress.begin("one")
        progress.tell(50, 100)
        progress._bar.refresh()
    assert "50 of 100 steps" in console.file.getvalue()
    assert [duration(x) for x in (4, 600, 9000)] == ["4 s", "10 min", "2.5 h"]


# A study from end to end.


@pytest.fixture(scope="module")
def small():
    """A short task, and small agents for it, while a module runs."""
    made = presets.for_env

    def for_env(name):
        settings = made(name)
        agent = replace(settings.agent, hidden=(8,), rollout_length=2)
        tuning = replace(settings.tuning, inner_steps=1, target_steps=2, period=4)
        return replace(settings, agent=agent, tuning=replace(tuning, context_hidden=(4,)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "for_env", for_env)
        patch.setattr("studies.two_colors_methods.MG", {"method": "mg"})
        patch.setattr("training.compilation_cache.enable", lambda: None)
        gymnasium.register(
            ENV, "envs.hosted:TwoColorsEnv", kwargs={"switch_every": PHASE, "step_reward": 0.1}
        )
        yield
        del gymnasium.registry[ENV]


def call(settings, out, asked=True):
    console = Console(file=io.StringIO(), width=80)
    assert two_colors.run(settings, out, asked, console) == out
    return console.file.getvalue()


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "new"
    return out, call(SMALL, out)


def no_constants(name):
    raise AssertionError(f"{name} is no JSON")


def summary_of(out):
    return json.loads((out / "summary.json").read_text(), parse_constant=no_constants)


def arrays_of(out, name):
    with np.load(out / "methods" / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays}


def test_a_study_leaves_its_files(finished):
    out, printed = finished
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    methods = {f"methods/{name}.{ext}" for name in NAMES for ext in ("npz", "yaml")}
    assert files == {"study.json", "summary.json", "results.npz", *methods, *PICTURES}
    for name in PICTURES:
        assert min(Image.open(out / name).size) > 300
    assert "\x1b" not in printed
    lines = printed.splitlines()
    assert lines[0].endswith(f"--out {out} goes on")
    labels = ["entropy weight 0 ", "entropy weight 0.2 ", "mg + reward "]
    table = next(i for i, line in enumerate(lines) if line.startswith("row "))
    for line, label in zip(lines[table + 1 :], labels, strict=False):
        assert line.startswith(label) and line.endswith("k")
    said = " ".join(lines[table + 4 :])
    assert "3,000 steps, 2 seeds" in said and "Tuning " in said and "best fixed weight" in said
    assert max(map(len, lines[table:-1])) <= 80


def test_its_numbers_are_those_of_its_runs(finished):
    out, _ = finished
    summary = summary_of(out)
    assert summary["ceiling"] == pytest.approx(env.optimal_reward(0.1))
    assert summary["steps_between_changes"] == PHASE
    assert summary["settings"] == json.loads(json.dumps(asdict(SMALL)))
    assert list(summary["rows"]) == ["fixed_0", "fixed_0.2", "mg_reward"]
    fixed, tuned = arrays_of(out, "fixed"), arrays_of(out, "mg_reward")
    size = 2 * 4  # rollout length x period
    cycles = STEPS // size
    assert fixed["reward"].shape == (2, 2, cycles) and tuned["tuned"].shape == (1, 2, cycles)
    rewards = [fixed["reward"][0], fixed["reward"][1], tuned["reward"][0]]
    means = [x.astype(float).mean(1) for x in rewards]
    best = int(means[1].mean() > means[0].mean())
    assert summary["baseline"] == ["fixed_0", "fixed_0.2"][best]
    for number, (found, reward) in enumerate(zip(summary["rows"].values(), rewards, strict=True)):
        mean = means[number]
        assert found["env_steps"] == cycles * size
        np.testing.assert_allclose(found["reward_per_step"], mean)
        np.testing.assert_allclose(found["total_reward"], reward.astype(float).sum(1) * size)
        np.testing.assert_allclose(found["mean"]["value"], mean.mean())
        # Of two seeds a quarter of the resamples is the worse one twice.
        np.testing.assert_allclose([found["mean"]["low"], found["mean"]["high"]], np.sort(mean))
        np.testing.assert_allclose(found["sd"], abs(mean[0] - mean[1]) / np.sqrt(2))
        np.testing.assert_allclose(found["share_of_ceiling"], mean.mean() / summary["ceiling"])
        if number != best:
            ratio = found["ratio_to_baseline"]
            np.testing.assert_allclose(ratio["value"], mean.mean() / means[best].mean())
            np.testing.assert_allclose(ratio["low"], mean.min() / means[best].max())
        phases = (STEPS // PHASE) - 1
        assert found["recovery"]["changes"] == phases
        assert 0 < found["recovery"]["steps"]["value"] <= PHASE
    assert summary["rows"]["fixed_0.2"]["hyperparameter"] == {"name": "entropy", "fixed_at": 0.2}
    path = tuned["tuned"][0].astype(float)
    first = summary["rows"]["mg_reward"]["hyperparameter"]["first_tenth"]
    np.testing.assert_allclose(first, path[:, : -(-cycles // 10)].mean(), rtol=1e-6)
    for name, settings in summary["methods"].items():
        assert settings["runs_side_by_side"] == (4 if name == "fixed" else 2)
        assert settings["steps_per_second"] > 0 and settings["settings"]["agent"]["hidden"] == [8]


def test_rows_are_the_runs_that_they_say(finished):
    """Of the four fixed runs side by side the last is weight 0.2 with seed 4."""
    out, _ = finished
    settings = run_settings(SMALL, "fixed")
    spec = replace(settings.hyperparameters["entropy"], start=0.2)
    names = settings.hyperparameters | {"entropy": spec}
    settings = replace(settings, hyperparameters=names)
    same = population.run(settings, [4] * 4, episodes=False, progress=lambda *_: None)
    for reward in same.reward:
        np.testing.assert_allclose(arrays_of(out, "fixed")["reward"][1, 1], reward, atol=1e-6)


def test_curves_and_paths_are_those_of_the_runs(finished):
    out, _ = finished
    tuned, size = arrays_of(out, "mg_reward"), 8
    with np.load(out / "results.npz") as arrays:
        edges = arrays["mg_reward/edges"]
        by_step = np.repeat(tuned["reward"][0].astype(float), size, 1)
        first = int(edges[1])
        whole, part = by_step[:, :first].sum(1), by_step[:, first] * (edges[1] - first)
        np.testing.assert_allclose(arrays["mg_reward/reward"][:, 0], (whole + part) / edges[1])
        around = arrays["mg_reward/around_changes/entropy"]
        assert around.shape == (2, series.OFFSETS)
        assert "fixed_0/around_changes/entropy" not in arrays
        # Changes 2 to 5 have whole stretches after them; change 2 comes after step 1024.
        path = np.repeat(tuned["tuned"][0].astype(float), size, 1)
        ends = PHASE * np.array([2, 3, 4, 5])
        before = sum(path[:, ends - i] for i in range(1, 103)) + 0.4 * path[:, ends - 103]
        expected = before.mean(1) / (series.BEFORE * PHASE)
        np.testing.assert_allclose(around[:, :20].mean(1), expected, rtol=1e-6)


def test_a_study_that_was_stopped_repeats_nothing_and_ends_the_same(
    finished, tmp_path, monkeypatch
):
    out, calls, real = tmp_path / "stopped", [], population.run

    def stopped(settings, *arguments, **keywords):
        calls.append(settings.tuning.method)
        if settings.tuning.method == "mg" and len(calls) < 3:
            raise KeyboardInterrupt
        return real(settings, *arguments, **keywords)

    monkeypatch.setattr(population, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        call(SMALL, out)
    assert two_colors_files.finished(out, SMALL) == ["fixed"]
    assert not (out / "summary.json").exists()
    (out / "methods" / "mg_reward.part.npz").write_bytes(b"half")  # as a kill may leave it
    done = (out / "methods" / "fixed.npz").read_bytes()
    call(SMALL, out)
    assert calls == ["none", "mg", "mg"]
    assert (out / "methods" / "fixed.npz").read_bytes() == done
    whole, _ = finished
    for name in NAMES:
        for key in ("reward", "tuned"):
            np.testing.assert_array_equal(arrays_of(out, name)[key], arrays_of(whole, name)[key])
    first, second = summary_of(whole), summary_of(out)
    assert first["rows"] == second["rows"] and first["answers"] == second["answers"]
    assert not list(out.rglob("*.part.*"))


@pytest.fixture
def no_runs(finished, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a finished study is not run again")

    monkeypatch.setattr(population, "run", refuse)
    return finished[0]


def test_a_finished_study_is_drawn_anew(no_runs, capsys):
    before = {p: p.read_bytes() for p in no_runs.rglob("*") if p.is_file()}
    for name in (*PICTURES, "summary.json"):
        (no_runs / name).unlink()
    assert run.main(["study", "two-colors", "--out", str(no_runs)]) == 0
    assert "study directory" in capsys.readouterr().out
    after = {p: p.read_bytes() for p in no_runs.rglob("*") if p.is_file()}
    assert set(after) == set(before)
    assert after[no_runs / "summary.json"] == before[no_runs / "summary.json"]
    call(SMALL, no_runs)


def test_other_settings_are_no_continuation(no_runs, capsys):
    before = {p: p.read_bytes() for p in no_runs.rglob("*") if p.is_file()}
    flags = ("--methods", "fixed,mg_reward", "--steps", "3000", "--seeds", "4")
    assert run.main(["study", "two-colors", *flags, "--out", str(no_runs)]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: out: .* with seeds 2, not 4; name a new directory\n", error)
    assert {p: p.read_bytes() for p in no_runs.rglob("*") if p.is_file()} == before


def test_methods_that_have_changed_since_are_no_continuation(no_runs, monkeypatch):
    monkeypatch.setattr("studies.two_colors_methods.FIXED", {"method": "none", "period": 2})
    with pytest.raises(ConfigError, match="has a result of fixed with other settings"):
        call(SMALL, no_runs)
    call(SMALL, no_runs, asked=False)  # drawing is not running


def test_a_damaged_result_gets_one_line(finished, tmp_path):
    out = tmp_path / "damaged"
    out.mkdir()
    for path in finished[0].rglob("*"):
        if path.is_file():
            (out / path.relative_to(finished[0])).parent.mkdir(exist_ok=True)
            (out / path.relative_to(finished[0])).write_bytes(path.read_bytes())
    whole = (out / "methods" / "fixed.npz").read_bytes()
    (out / "methods" / "fixed.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"out: cannot read .*fixed\.npz"):
        call(SMALL, out, asked=False)


def test_settings_that_a_method_ran_with_run_by_themselves(finished):
    text = (finished[0] / "methods" / "mg_reward.yaml").read_text()
    assert yaml.safe_load(text)["tuning"]["method"] == "mg"
    command = cli.parse(["--config", str(finished[0] / "methods" / "mg_reward.yaml")])
    assert command.settings == run_settings(SMALL, "mg_reward")


# What a study without swaps, or of full size, shows.


def full_study():
    settings = studies.settings(seeds=2)
    rng, measured, rows = np.random.default_rng(0), {}, []
    for name in settings.methods:
        count = max(1, len(fixed_values(settings, name)))
        reward = rng.normal(0.1, 0.05, (count, 2, 400))
        tuned = np.full((count, 2, 0 if METHODS[name].fixed else 400), 0.1)
        made = run_settings(settings, name)
        measured[name] = Measured(made, reward, tuned, 25_000, 1.0, 2.0, "cpu", {})
        rows += two_colors._rows(settings, name, measured[name])
    return results.Study(settings, measured, rows, 100_000, 0.279)


def test_a_full_study_has_all_rows_in_its_pictures_and_numbers(tmp_path):
    study = full_study()
    two_colors_report.write(tmp_path, study)
    summary = summary_of(tmp_path)
    assert len(summary["rows"]) == 6 + 3 + 3 + 3 + 2
    assert summary["command"] == "python run.py study two-colors --seeds 2"
    assert summary["published"]["rows"]["bmg_rich"] == {"mean": 1.79, "sd": 0.07}
    assert set(PICTURES) <= {path.name for path in tmp_path.iterdir()}
    console = Console(file=io.StringIO(), width=80)
    two_colors_report.print_summary(console, tmp_path, study)
    assert "…" not in console.file.getvalue()
    assert list(summary["answers"]["bmg_at_least_mg"]["contexts"]) == ["none", "reward", "rich"]


def test_commands_say_what_is_not_usual():
    study = full_study()

    def command(**changes):
        settings = replace(studies.settings(quick=True), **changes)
        return two_colors_report.command(study._replace(settings=settings))

    assert command() == "python run.py study two-colors --quick"
    assert command(seed=3, seeds=2) == "python run.py study two-colors --quick --seeds 2 --seed 3"
    assert command(steps=10**7, seeds=3) == "python run.py study two-colors --main"
    for flags in ([], ["--quick"], ["--main", "--seed", "4"], ["--methods", "q_bmg,mg"]):
        settings = cli.parse(["study", "two-colors", *flags]).settings
        text = two_colors_report.command(study._replace(settings=settings))
        assert cli.parse(text.split()[2:]).settings == settings
