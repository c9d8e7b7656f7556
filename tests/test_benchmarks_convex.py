"""run.py convex: its methods against closed forms, its verdicts, its files and its mistakes."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from rich.console import Console

import run
from selftuning.benchmarks import convex
from selftuning.benchmarks.convex import methods as convex_methods
from selftuning.benchmarks.convex import plots, problems, report
from selftuning.benchmarks.convex.methods import METHODS
from selftuning.benchmarks.convex.results import RATES, Outcome
from selftuning.configs import cli
from selftuning.configs import convex as names

RUN_PY = Path(__file__).parents[1] / "run.py"
CERTIFIED = ("gradient_descent", "nesterov", "standard", "optimistic")
PROBLEM_KEYS = ["name", "smoothness", "distance", "draws", "steps", "seed", "stochastic"]
METHOD_KEYS = ["final_gap", "bound", "bound_holds", "slope", "at_goal", "diverged"]
METHOD_KEYS += ["learning_rate", "cumulative_loss"]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def plane(draws=1):
    return problems.draw("plane_quadratic", range(draws), 50)


def first(stacked):
    return jax.tree.map(lambda x: x[0], stacked)


def path_of(name, problem, rate, steps=30):
    return METHODS[name].run(problem, rate, steps, None).point


# Names.


def test_names_that_can_be_asked_for_are_those_that_there_are():
    assert list(names.METHODS) == list(METHODS)
    assert list(names.PROBLEMS) == list(problems.PROBLEMS)
    for problem in names.PROBLEMS.values():
        assert set(problem.methods) <= set(METHODS)
        assert any(METHODS[name].bound for name in problem.methods), "a picture without a bound"


def test_flags():
    arguments = "convex --problem logistic --methods nesterov,standard --steps 1e2 --seed 7"
    command = cli.parse([*arguments.split(), "--draws", "3", "--stochastic", "--out", "x"])
    settings = names.ConvexSettings("logistic", ("nesterov", "standard"), 100, 3, 7, True)
    assert command == cli.Convex(settings, Path("x"))
    defaults = cli.parse(["convex"]).settings
    assert (defaults.problem, defaults.steps, defaults.draws) == ("plane_quadratic", 100, 5)


def test_draws_that_would_be_equal_are_one():
    assert names.settings("nesterov_worst_case").draws == 1
    assert names.settings("nesterov_worst_case", stochastic=True).draws == 5


def test_help_names_every_problem_and_method(capsys):
    assert cli.parse(["convex", "--help"]) is None
    shown = capsys.readouterr().out
    for name in (*names.PROBLEMS, *names.METHODS):
        assert f"  {name}: " in shown


BAD = {
    "--problem rosenbrock": "problem: rosenbrock .* plane_quadratic | quadratic",
    "--methods momentum,adam": "methods: 'adam' .* gradient_descent, momentum",
    "--methods momentum,momentum": "methods: momentum is there twice",
    "--steps 9": "steps: 9 .* between 10 and",
    "--steps many": "--steps: 'many' is not allowed; it must be a whole number",
    "--draws 0": "draws: 0",
    "--draws 1000 --steps 1e5": "draws: 1000 .* at most 20 with 100000 steps",
    "--seed -1": "seed: -1",
    "--problem nesterov_worst_case --steps 5000": "steps: 5000 .* at most 2000",
    "--step-size 3": "--step-size",
    "surplus": "surplus",
}


@pytest.mark.parametrize("arguments", BAD)
def test_a_mistake_gets_one_line_and_exit_code_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run.main(["convex", *arguments.split()]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ") and output.err.count("\n") == 1
    assert re.search(BAD[arguments], output.err), output.err
    assert not list(tmp_path.iterdir())


def test_a_problem_without_its_library_gets_one_line_and_no_directory(
    capsys, tmp_path, monkeypatch
):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("selftuning.training.compilation_cache.enable", lambda: None)
    monkeypatch.setattr(importlib, "import_module", missing)
    assert run.main(["convex", "--problem", "breast_cancer"]) == 2
    assert capsys.readouterr().err.count("pip install scikit-learn\n") == 1
    assert not list(tmp_path.iterdir())


# Methods.


def test_gradient_descent_is_a_plain_loop():
    problem = first(plane())
    x, step_size = problem.start, 0.7 / problem.smoothness
    for point in path_of("gradient_descent", problem, 0.7):
        x = x - step_size * jax.grad(problem.loss)(x)
        np.testing.assert_allclose(point, x, rtol=1e-12)


def optax_path(problem, optimizer, steps=30):
    x, state = problem.start, optimizer.init(problem.start)
    for _ in range(steps):
        updates, state = optimizer.update(jax.grad(problem.loss)(x), state, x)
        x = optax.apply_updates(x, updates)
        yield x


def test_momentum_is_optax():
    problem = first(plane())
    optimizer = optax.sgd(0.3 / problem.smoothness, momentum=0.9)
    expected = list(optax_path(problem, optimizer))
    np.testing.assert_allclose(path_of("momentum", problem, 0.3), expected, atol=1e-12)


def test_adagrad_starts_with_a_step_as_long_as_gradient_descent_and_is_optax():
    problem = first(problems.draw("quadratic", range(1), 30))
    path, plain = (path_of(name, problem, 0.5) for name in ("adagrad", "gradient_descent"))
    length = jnp.linalg.norm(path[0] - problem.start)
    np.testing.assert_allclose(length, jnp.linalg.norm(plain[0] - problem.start))
    rate = length / np.sqrt(problem.start.size)
    optimizer = optax.chain(optax.scale_by_rss(0.0, 0.0), optax.scale(-rate))
    np.testing.assert_allclose(path, list(optax_path(problem, optimizer)), atol=1e-12)


def test_nesterov_extrapolates_as_fista_does():
    problem = first(plane())
    x = before = ahead = problem.start
    s = 1.0
    for point in path_of("nesterov", problem, 1.0):
        x = ahead - jax.grad(problem.loss)(ahead) / problem.smoothness
        s, last = (1 + np.sqrt(1 + 4 * s**2)) / 2, s
        ahead, before = x + (last - 1) / s * (x - before), x
        np.testing.assert_allclose(point, x, atol=1e-12)


@pytest.mark.parametrize("hint", [False, True])
def test_a_step_size_that_is_not_learned_is_the_fixed_rule(hint):
    problem, rule = first(plane()), convex_methods.update_rules.momentum()
    learned = convex_methods.learned(rule, 0.0, hint=hint)
    path = learned(problem, 0.2, 30, None).point
    np.testing.assert_allclose(path, path_of("momentum", problem, 0.2), atol=1e-12)


@pytest.mark.parametrize("rule", ["gradient", "momentum", "adagrad"])
def test_a_step_size_that_starts_too_small_is_mended(rule):
    """What the sensitivity plots show, on draws that the learning rate was not chosen on."""
    methods = {"gradient": "gradient_descent"}.get(rule, rule), f"meta_{rule}"
    methods = *methods, f"optimistic_meta_{rule}"

    def mean_gaps(problem):
        return [METHODS[name].run(problem, 1e-3, 50, None).gap.mean() for name in methods]

    fixed, *learned = jax.jit(jax.vmap(mean_gaps))(plane(3))
    assert np.all(np.asarray(learned) < 0.5 * fixed)


def test_every_method_comes_closer_and_sampled_gradients_are_another_path():
    problem, key = first(plane()), jax.random.key(0)

    def gaps(names, key):
        methods = {name: METHODS[name] for name in names}
        return {n: m.run(problem, m.learning_rate, 40, key).gap for n, m in methods.items()}

    gaps = jax.jit(gaps, static_argnums=0)
    exact = gaps(tuple(METHODS), None)
    for name, gap in exact.items():
        assert gap[-1] < 0.1 * problem.gap(problem.start), name
    kinds = ("gradient_descent", "nesterov", "bootstrapped", "meta_gradient")
    for name, gap in gaps(kinds, key).items():
        assert np.all(np.isfinite(gap)) and gap[-1] != exact[name][-1], name
        np.testing.assert_array_equal(gap, gaps(kinds, key)[name])


# Verdicts.


@pytest.mark.parametrize("name", CERTIFIED)
def test_bounds_hold_at_the_certified_rate_and_not_at_others(name):
    assert METHODS[name].bound is not None
    problem = plane(3)
    start_gap = np.asarray(jax.vmap(lambda p: p.gap(p.start))(problem))

    def verdict(factor):
        method = METHODS[name]._replace(learning_rate=factor * METHODS[name].learning_rate)
        return report.describe(convex.measure(method, problem, 50), start_gap)

    certified, small, large = map(verdict, (1.0, 1e-3, 40.0))
    assert certified["bound_holds"] is True and not certified["diverged"]
    assert certified["final_gap"] <= certified["bound"]
    assert small["bound_holds"] is False and not small["diverged"]
    assert large["bound_holds"] is False and large["diverged"]
    assert large["slope"] is None or large["slope"] > 0


def test_only_certified_methods_have_bounds_and_only_with_exact_gradients():
    assert tuple(name for name, method in METHODS.items() if method.bound) == CERTIFIED
    keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
    outcome = convex.measure(METHODS["standard"], plane(2), 20, keys)
    assert outcome.bound is None
    assert report.describe(outcome, np.ones(2))["bound_holds"] is None


def test_slope_is_that_of_the_last_decade():
    t = np.arange(1.0, 1001.0)
    np.testing.assert_allclose(report.slope(5 * t**-2), -2.0)
    bent = np.where(t < 100, t**-1, 100 * t**-2)
    np.testing.assert_allclose(report.slope(bent), -2.0)
    rounding = np.where(t < 300, t**-3, 0.0)
    np.testing.assert_allclose(report.slope(rounding), -3.0)
    np.testing.assert_allclose(report.slope(np.maximum(t**-3, 1e-8), 1e-8), -3.0)
    assert report.slope(np.zeros(100)) is None
    assert report.slope(np.append(t, np.inf)) is None


def test_a_gap_is_at_its_goal_when_it_stays_there():
    swings = np.array([1.0, 1e-13, 1e-3, 1e-12, 1e-65])
    assert report.at_goal(swings) == 4
    assert report.at_goal(np.zeros(5)) == 1
    assert report.at_goal(swings[:3]) is None
    assert report.at_goal(np.array([1e-13, np.nan])) is None


def test_nothing_below_the_goal_is_drawn_or_printed(tmp_path, monkeypatch, capsys):
    """AdaGrad comes to 1e-65 on the plane, others to 1e-12: neither is better by that."""
    study = convex.solve(names.settings(methods="adagrad,optimistic", draws=3, steps=40))
    assert 0 < np.median(study.outcomes["adagrad"].gap[:, -1]) < 1e-20
    drawn, finished = [], plots.drawing.finished
    monkeypatch.setattr(
        plots.drawing, "finished", lambda *given: drawn.append(given[0]) or finished(*given)
    )
    plots.gaps(tmp_path / "gap.png", "title", study)
    (axes,) = drawn[0].axes
    assert axes.get_ylim()[0] == 1e-12
    summary = report.summarise(study)
    report.print_summary(Console(width=80), tmp_path, summary)
    adagrad, optimistic = capsys.readouterr().out.splitlines()[1:3]
    assert f"1e-12 at {summary['methods']['adagrad']['at_goal']} " in adagrad
    assert f"{summary['methods']['optimistic']['final_gap']:.1e}" in optimistic


def outcome_ending_at(*final):
    gap = np.ones((len(final), 20))
    gap[:, -1] = final
    zeros = np.zeros((len(final), len(RATES)))
    return Outcome(1.0, gap, None, None, zeros, np.full(len(final), np.nan))


@pytest.mark.parametrize("worst", [np.nan, np.inf, 1.1])
def test_one_draw_that_diverges_is_said_in_valid_json(worst):
    start_gap = np.ones(3)
    assert not report.describe(outcome_ending_at(0.5, 0.1, 1.0), start_gap)["diverged"]
    row = report.describe(outcome_ending_at(0.5, 0.1, worst), start_gap)
    assert row["diverged"] is True and row["cumulative_loss"] is None
    assert list(row) == METHOD_KEYS
    json.dumps(row, allow_nan=False)


def test_sensitivity_is_the_mean_gap_relative_to_the_start():
    problem = plane(2)
    outcome = convex.measure(METHODS["gradient_descent"], problem, 25)
    start_gap = np.asarray(jax.vmap(lambda p: p.gap(p.start))(problem))
    (one,) = np.flatnonzero(np.isclose(RATES, 1.0))
    np.testing.assert_allclose(outcome.at_default, outcome.gap.mean(1) / start_gap)
    np.testing.assert_allclose(outcome.cumulative[:, one], outcome.at_default, rtol=1e-9)
    assert outcome.gap.shape == (2, 25) and outcome.points.shape == (2, 25, 2)


# The command.


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Calls run.py convex in an empty working directory."""
    directory = tmp_path_factory.mktemp("convex")

    def call(*arguments):
        return subprocess.run(
            [sys.executable, RUN_PY, "convex", *map(str, arguments)],
            cwd=directory,
            env={**os.environ, "COLUMNS": "80"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    call.directory = directory
    return call


@pytest.fixture(scope="module")
def finished(command):
    process = command("--methods", "optimistic,meta_gradient", "--steps", "30", "--draws", "2")
    assert process.returncode == 0, process.stderr
    return command.directory / "runs" / "convex-plane_quadratic-1", process


def no_constants(name):
    raise AssertionError(f"{name} is no JSON")


def test_a_run_leaves_its_files(finished):
    directory, process = finished
    pictures = {"gap.png", "sensitivity.png", "path.png"}
    assert {path.name for path in directory.iterdir()} == {"summary.json", "gaps.npz", *pictures}
    for name in pictures:
        assert min(Image.open(directory / name).size) > 300
    text = (directory / "summary.json").read_text()
    summary = json.loads(text, parse_constant=no_constants)
    assert list(summary) == ["problem", "methods"]
    problem, methods = summary["problem"], summary["methods"]
    assert list(problem) == PROBLEM_KEYS
    np.testing.assert_allclose([problem["smoothness"], problem["distance"]], [8, np.sqrt(32)])
    assert [problem[key] for key in PROBLEM_KEYS[3:]] == [2, 30, 0, False]
    assert list(methods) == ["optimistic", "meta_gradient"]
    for name, row in methods.items():
        assert list(row) == METHOD_KEYS
        assert row["learning_rate"] == METHODS[name].learning_rate
        assert 0 < row["final_gap"] < row["cumulative_loss"] < 1
        assert row["slope"] < 0 and row["diverged"] is False
    assert methods["optimistic"]["bound_holds"] is True
    assert methods["meta_gradient"]["bound"] is methods["meta_gradient"]["bound_holds"] is None

    assert process.stderr == "" and "\x1b" not in process.stdout
    lines = process.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["method", *methods, "run"]
    assert lines[-1].endswith(str(directory.relative_to(directory.parents[1])))


def test_curves_are_those_of_the_summary(finished):
    directory, _ = finished
    summary = json.loads((directory / "summary.json").read_text())
    with np.load(directory / "gaps.npz") as curves:
        assert curves["steps"].tolist() == list(range(1, 31))
        assert curves["learning_rates"].tolist() == RATES.tolist()
        for name, row in summary["methods"].items():
            np.testing.assert_allclose(np.median(curves[f"{name}/gap"][:, -1]), row["final_gap"])
            assert curves[f"{name}/cumulative_loss"].shape == (2, len(RATES))
            assert curves[f"{name}/point"].shape == (2, 30, 2)
        assert np.all(curves["optimistic/gap"] <= curves["optimistic/bound"])


def test_nothing_is_overwritten(finished, capsys):
    directory, _ = finished
    before = {path: path.read_bytes() for path in directory.iterdir()}
    assert run.main(["convex", "--out", str(directory)]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and "not empty" in output.err
    assert {path: path.read_bytes() for path in directory.iterdir()} == before


def test_sampled_gradients_in_more_dimensions(tmp_path, monkeypatch):
    monkeypatch.setattr("selftuning.training.compilation_cache.enable", lambda: None)
    out = tmp_path / "sampled"
    flags = "--problem logistic --methods standard --steps 20 --draws 1 --seed 3 --stochastic"
    assert run.main(["convex", *flags.split(), "--out", str(out)]) == 0
    assert not (out / "path.png").exists()
    summary = json.loads((out / "summary.json").read_text(), parse_constant=no_constants)
    assert summary["problem"]["stochastic"] is True
    assert summary["methods"]["standard"]["bound"] is None
