"""The convex problems of `run.py convex` by name, in draws stacked for `jax.vmap`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from selftuning.configs.errors import ConfigError
from selftuning.metagrad import problems
from selftuning.metagrad.problems import ConvexProblem


def _quadratic(seed: int) -> ConvexProblem:
    minimiser = np.random.default_rng(seed).normal(size=30)
    return problems.quadratic(np.logspace(0, -4, 30), minimiser, seed)


# (seed, steps) -> problem
PROBLEMS: Mapping[str, Callable[[int, int], ConvexProblem]] = {
    "plane_quadratic": lambda seed, steps: problems.plane_quadratic(seed),
    "quadratic": lambda seed, steps: _quadratic(seed),
    "nesterov_worst_case": lambda seed, steps: problems.nesterov_worst_case(steps),
    "pseudo_huber": lambda seed, steps: problems.pseudo_huber(seed),
    "log_sum_exp": lambda seed, steps: problems.log_sum_exp(seed),
    "logistic": lambda seed, steps: problems.random_logistic(seed),
    "breast_cancer": lambda seed, steps: problems.breast_cancer(),
}


def draw(name: str, seeds: range, steps: int) -> ConvexProblem:
    """The draws of these seeds as one problem whose arrays have a leading axis.

    Raises:
      ConfigError: if the problem needs a library that is not installed.
    """
    try:
        return problems.stack([PROBLEMS[name](seed, steps) for seed in seeds])
    except ModuleNotFoundError as error:
        raise ConfigError(f"problem: {name} cannot be made: {error}") from error
