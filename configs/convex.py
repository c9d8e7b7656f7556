"""What `run.py convex` can be asked for: names as plain data, and the first complaint.

`benchmarks.convex.problems` and `.methods` make the things; tests hold the names equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from selftuning.configs.errors import ConfigError, not_allowed


class Problem(NamedTuple):
    """What there is to know of a problem without making it.

    Attributes:
      description: one line, for help.
      steps: T, unless told otherwise.
      methods: shown unless told otherwise.
      random: whether draws differ.
    """

    description: str
    steps: int
    methods: tuple[str, ...]
    random: bool = True


METHODS: Mapping[str, str] = {
    "gradient_descent": "x - grad f / L; certified",
    "momentum": "classical momentum, decay 0.9",
    "nesterov": "Nesterov's method as Beck and Teboulle's FISTA has it; certified",
    "adagrad": "AdaGrad",
    "standard": "phi = w, alpha_t = 1, FTRL: averaged heavy ball; certified",
    "standard_linear": "phi = w, alpha_t = t, FTRL",
    "optimistic": "phi = w, alpha_t = t, the last gradient as hint; certified",
    "bootstrapped": "the same with the gradient one step ahead as hint: a bootstrapped target",
    "adaptive": "phi = w, alpha_t = 1, AdaGrad's regulariser: dual averaging AdaGrad",
    "optimistic_adaptive": "the same with alpha_t = t and the last gradient as hint",
    "meta_gradient": "gradient descent that learns a step size for each coordinate",
    "optimistic_meta_gradient": "the same with the last meta-gradient as hint",
    "meta_momentum": "momentum that learns a step size for each coordinate",
    "optimistic_meta_momentum": "the same with the last meta-gradient as hint",
    "meta_adagrad": "AdaGrad that learns a step size for each coordinate",
    "optimistic_meta_adagrad": "the same with the last meta-gradient as hint",
}

_LEARNED = (
    "momentum",
    "meta_momentum",
    "optimistic_meta_momentum",
    "adagrad",
    "meta_adagrad",
    "optimistic_meta_adagrad",
    "optimistic",
)
_ACCELERATED = (
    "gradient_descent",
    "nesterov",
    "standard",
    "standard_linear",
    "optimistic",
    "bootstrapped",
)
_STEP_SIZES = (
    "gradient_descent",
    "meta_gradient",
    "optimistic_meta_gradient",
    "momentum",
    "standard",
    "optimistic",
)

PROBLEMS: Mapping[str, Problem] = {
    "plane_quadratic": Problem(
        "x^T A x on the plane, eigenvalues 1 and 4, from (4, 4)", 100, _LEARNED
    ),
    "quadratic": Problem("30 dimensions, eigenvalues from 1 down to 1e-4", 1000, _ACCELERATED),
    "nesterov_worst_case": Problem(
        "the quadratic that is worst for this number of steps", 200, _ACCELERATED, random=False
    ),
    "pseudo_huber": Problem("regression, almost linear far from the minimum", 20_000, _ACCELERATED),
    "log_sum_exp": Problem("a smooth maximum of 50 affine functions", 1000, _STEP_SIZES),
    "logistic": Problem("logistic regression on 200 random points", 1000, _STEP_SIZES),
    "breast_cancer": Problem(
        "logistic regression on data of scikit-learn", 1000, _STEP_SIZES, random=False
    ),
}


_MOST_STEPS = 2_000_000  # of all draws: their gaps at all learning rates are held in memory


@dataclass(frozen=True)
class ConvexSettings:
    """Settings of `run.py convex`, allowed ones only.

    Attributes:
      problem: a key of `PROBLEMS`.
      methods: keys of `METHODS`, each once.
      steps: T >= 10, for slopes are taken over the last decade of steps.
      draws: problems, of seeds `seed`, `seed` + 1, ...; 1 where they would all be equal.
      seed: of the first draw.
      stochastic: whether methods see samples of the gradient.
    """

    problem: str
    methods: tuple[str, ...]
    steps: int
    draws: int
    seed: int
    stochastic: bool


def settings(
    problem: str = "plane_quadratic",
    methods: str | None = None,
    steps: int | None = None,
    draws: int = 5,
    seed: int = 0,
    stochastic: bool = False,
) -> ConvexSettings:
    """Checks and completes what was asked for; `methods` are separated by commas.

    Raises:
      ConfigError: naming the setting, the value it has and the values it may have.
    """
    if problem not in PROBLEMS:
        raise not_allowed("problem", problem, " | ".join(PROBLEMS))
    chosen = PROBLEMS[problem]
    names = chosen.methods if methods is None else tuple(methods.replace(" ", "").split(","))
    for number, name in enumerate(names):
        if name not in METHODS:
            raise not_allowed(
                "methods", repr(name), f"some of {', '.join(METHODS)}, comma separated"
            )
        if name in names[:number]:
            raise ConfigError(f"methods: {name} is there twice")
    steps = chosen.steps if steps is None else steps
    for name, value, low, high in (
        ("steps", steps, 10, _MOST_STEPS),
        ("draws", draws, 1, 1000),
        ("seed", seed, 0, 2**31 - 1),
    ):
        if not low <= value <= high:
            raise not_allowed(name, value, f"a whole number between {low} and {high}")
    if problem == "nesterov_worst_case" and steps > 2000:  # its Hessian has size 2 steps + 1
        raise not_allowed("steps", steps, f"at most 2000 for {problem}, whose size grows with them")
    draws = draws if chosen.random or stochastic else 1
    if draws * steps > _MOST_STEPS:
        raise not_allowed("draws", draws, f"at most {_MOST_STEPS // steps} with {steps} steps")
    return ConvexSettings(problem, names, steps, draws, seed, stochastic)


def help_text() -> str:
    """What the command does, its problems and its methods."""
    problems = "".join(f"\n  {name}: {p.description}" for name, p in PROBLEMS.items())
    methods = "".join(f"\n  {name}: {text}" for name, text in METHODS.items())
    return (
        "Meta-gradients on a convex problem with known minimiser (docs/meta-gradients.md).\n\n"
        f"Problems:{problems}\n\nMethods:{methods}"
    )
