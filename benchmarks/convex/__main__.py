"""The tables of docs/meta-gradients.md: `python -m selftuning.benchmarks.convex [PART ...]`.

Parts are `quadratic`, `pseudo_huber` and `worst_case` (what accelerates, on 20 draws and for five
horizons), `sensitivity` (how far learning rates may be off) and, on draws from 1000, what was tried
before the defaults of `benchmarks.convex.methods` were chosen: `forms` and `meta_rates`. Each
writes a table of numbers to benchmarks/results/; `benchmarks.tables` puts them into the page.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from selftuning.benchmarks import convex as study
from selftuning.benchmarks.convex import methods as convex_methods
from selftuning.benchmarks.convex import problems, report
from selftuning.benchmarks.convex.methods import METHODS, Run
from selftuning.benchmarks.convex.results import RATES
from selftuning.benchmarks.record import write
from selftuning.configs import convex as names
from selftuning.metagrad import constraints, convex, hints, online, schedules, update_rules
from selftuning.metagrad.problems import ConvexProblem

DIVERGED = 10.0  # as in the plots: a mean gap of ten times that at the start, or worse
META_RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
STARTS = (1e-3, 1e-2, 1e-1, 1.0)  # of learned step sizes, x L
TRIALS = ("plane_quadratic", "quadratic", "log_sum_exp", "logistic")
HORIZONS = (25, 50, 100, 200, 400)

# Learning rates as multiples of 1 / L, as the docs write them.
FRACTIONS = {1.0: "1/L", 0.5: "1/(2L)", 0.25: "1/(4L)"}


def gaps(run: Run, problem: ConvexProblem, rate: float, steps: int) -> np.ndarray:
    """The gaps of every draw, [draws, steps]."""

    def one(problem):
        return run(problem, jnp.asarray(rate), steps, None).gap

    return np.asarray(jax.jit(jax.vmap(one))(problem))


def _finals(name: str, tried: dict[str, Sequence[float]], draws: int = 20) -> dict[str, Any]:
    """Final gaps and slopes of methods at several learning rates."""
    steps = names.PROBLEMS[name].steps
    problem = problems.draw(name, range(draws), steps)
    rows = {}
    for method, rates in tried.items():
        for rate in rates:
            gap = gaps(METHODS[method].run, problem, rate, steps)
            final = gap[:, -1]
            row = [np.median(final), final.min(), final.max()]
            rows[f"`{method}`, {FRACTIONS[rate]}"] = [*row, report.slope(np.median(gap, 0))]
    head = [f"median of {draws} draws", "least", "greatest", "slope"]
    return {"steps": steps, "draws": draws, "head": head, "rows": rows}


def quadratic() -> dict[str, Any]:
    """Final gaps where a hint makes little difference."""
    return _finals(
        "quadratic",
        {
            "gradient_descent": [1.0],
            "nesterov": [1.0],
            "standard": [1.0],
            "standard_linear": [0.25],
            "optimistic": [0.25],
            "bootstrapped": [0.25],
        },
    )


def pseudo_huber() -> dict[str, Any]:
    """Final gaps where it does, with and without weights and hint."""
    return _finals(
        "pseudo_huber",
        {
            "gradient_descent": [1.0],
            "nesterov": [1.0],
            "standard": [1.0],
            "standard_linear": [0.25, 0.5, 1.0],
            "optimistic": [0.25, 0.5, 1.0],
            "bootstrapped": [0.25, 0.5, 1.0],
            "momentum": [1.0],
            "meta_gradient": [1.0],
            "optimistic_meta_gradient": [1.0],
        },
    )


def worst_case() -> dict[str, Any]:
    """Final gaps / (L D^2) on Nesterov's worst case, made anew for each horizon, and slopes."""
    rows = {}
    for name in names.PROBLEMS["nesterov_worst_case"].methods:
        method, finals = METHODS[name], []
        for horizon in HORIZONS:
            problem = problems.draw("nesterov_worst_case", range(1), horizon)
            scale = problem.smoothness[0] * jnp.sum((problem.start - problem.minimiser) ** 2)
            final = gaps(method.run, problem, method.learning_rate, horizon)[0, -1]
            finals.append(float(final / scale))
        slope = np.polyfit(np.log(HORIZONS), np.log(finals), 1)[0]
        rows[f"`{name}`, {FRACTIONS[method.learning_rate]}"] = [*finals, slope]
    return {"head": [*(f"T = {horizon}" for horizon in HORIZONS), "slope"], "rows": rows}


def sensitivity(draws: int = 5) -> dict[str, Any]:
    """Decades of learning rates whose mean gap is at most ten times the least; the least."""
    rows: dict[str, list[list[float]]] = {}
    cases = [*((problem, False) for problem in TRIALS), ("logistic", True)]
    methods = ["standard", "optimistic"]
    for rule, fixed in (("gradient", "gradient_descent"), ("momentum",) * 2, ("adagrad",) * 2):
        methods += [fixed, f"meta_{rule}", f"optimistic_meta_{rule}"]
    for problem, stochastic in cases:
        settings = names.settings(problem, ",".join(methods), draws=draws, stochastic=stochastic)
        for name, outcome in study.solve(settings).outcomes.items():
            loss = np.median(np.nan_to_num(outcome.cumulative, nan=np.inf), 0)
            within = (np.sum(loss <= 10 * loss.min()) - 1) * np.log10(RATES[1] / RATES[0])
            rows.setdefault(f"`{name}`", []).append([round(float(within), 1), float(loss.min())])
    head = [problem + (", sampled" if stochastic else "") for problem, stochastic in cases]
    return {"draws": draws, "head": head, "rows": rows}


def _trials(make: Callable[[jax.Array], Run]) -> list[float]:
    """Geometric mean, over problems, draws and starts, of the mean gap, for each meta-rate."""
    scores = []
    for name in TRIALS:
        steps = names.PROBLEMS[name].steps
        problem = problems.draw(name, range(1000, 1005), steps)

        def loss(problem, start, meta_rate, steps=steps):
            gap = make(meta_rate)(problem, start, steps, None).gap
            return jnp.mean(gap) / problem.gap(problem.start)

        over_rates = jax.vmap(loss, (None, None, 0))
        over_all = jax.vmap(jax.vmap(over_rates, (None, 0, None)), (0, None, None))
        losses = jax.jit(over_all)(problem, jnp.asarray(STARTS), jnp.asarray(META_RATES))
        scores.append(np.log(np.minimum(np.nan_to_num(np.asarray(losses), nan=np.inf), DIVERGED)))
    return np.exp(np.mean(scores, (0, 1, 2))).tolist()


def meta_rates() -> dict[str, Any]:
    """How the three rules do with each learning rate of their step sizes."""
    rows = {}
    rules = {"sgd": update_rules.sgd(), "momentum": update_rules.momentum()}
    rules["adagrad"] = update_rules.adagrad()
    for name, rule in rules.items():
        for hint in (False, True):
            label = f"{name}, {'hint' if hint else 'no hint'}"

            def make(meta_rate, rule=rule, hint=hint, normalised=name == "adagrad"):
                return convex_methods.learned(rule, meta_rate, hint=hint, of_points=normalised)

            rows[label] = _trials(make)
    return {"draws": "1000-1004", "head": [f"{rate:g}" for rate in META_RATES], "rows": rows}


def _form(weights, adaptive: bool, hint: bool, meta_rate: jax.Array) -> Run:
    """A step size for each coordinate, in the convex form, or in practice if `weights` is None."""
    hinted = hints.last_gradient() if hint else hints.none()
    rule, positive = update_rules.sgd(), constraints.non_negative()

    def run(problem, rate, steps, key):
        w = {"learning_rate": jnp.full_like(problem.start, rate / problem.smoothness)}
        beta = meta_rate / problem.smoothness
        if not adaptive:  # a meta-gradient has the size of a squared gradient
            gradient = jax.grad(problem.loss)(problem.start)
            beta = beta * gradient.size / jnp.vdot(gradient, gradient)
        if weights is not None:
            form = convex.optimistic(
                rule, beta, weights=weights, hint=hinted, constraint=positive, adaptive=adaptive
            )
            return convex.convex_form(problem, form, w, steps, key=key)
        make = online.adaptive_ao_ftrl if adaptive else online.ao_ftrl
        learner = hints.with_hint(make(beta, constraint=positive), hinted)
        return convex.in_practice(problem, rule, learner, w, steps, key=key)

    return run


def forms() -> dict[str, Any]:
    """Which form and which learner learn step sizes best, each at the best of its meta-rates."""
    rows = {}
    weightings = {
        "in practice": None,
        "alpha = 1": schedules.constant,
        "alpha = t": schedules.linear,
    }
    for form, weights in weightings.items():
        for adaptive in (False, True):
            row: list[float] = []
            for hint in (False, True):
                make = lambda c, a=weights, b=adaptive, h=hint: _form(a, b, h, c)  # noqa: E731
                scores = _trials(make)
                row += [min(scores), META_RATES[int(np.argmin(scores))]]
            rows[f"{form}, {'adaptive' if adaptive else 'plain'}"] = row
    return {"draws": "1000-1004", "head": ["no hint", "at", "hint", "at"], "rows": rows}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "quadratic": quadratic,
    "pseudo_huber": pseudo_huber,
    "worst_case": worst_case,
    "sensitivity": sensitivity,
    "meta_rates": meta_rates,
    "forms": forms,
}


def main() -> None:
    """Runs parts, all of them by default, and writes their numbers."""
    name = "python -m selftuning.benchmarks.convex"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=" | ".join(PARTS))
    parts = parser.parse_args().parts or [*PARTS]
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"PART: {unknown[0]} is not allowed; it must be {' | '.join(PARTS)}")
    for part in parts:
        with jax.enable_x64(True):
            result = PARTS[part]()
        write(f"convex-{part.replace('_', '-')}", result)


if __name__ == "__main__":
    main()
