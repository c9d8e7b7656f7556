"""`run.py convex`: methods on a convex problem, many draws and learning rates in one program.

Everything is in float64. A run computes first and writes at the end, so that one that is
interrupted leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from selftuning.benchmarks.convex import problems, report
from selftuning.benchmarks.convex.methods import METHODS, Curve, Method
from selftuning.benchmarks.convex.results import RATES, Landscape, Outcome, Study
from selftuning.configs.convex import ConvexSettings
from selftuning.metagrad.problems import ConvexProblem
from selftuning.training import run_directory


def run(settings: ConvexSettings, out: Path | None, console: Console) -> Path:
    """Solves, writes and prints; returns the directory, runs/convex-PROBLEM-N if `out` is None.

    Raises:
      ConfigError: if the directory cannot be used or the problem cannot be made.
    """
    run_directory.check(out)
    with console.status("making the problem") as status:
        study = solve(settings, lambda name: status.update(f"running {name}"))
    directory = run_directory.create_named(out, f"convex-{settings.problem}")
    summary = report.summarise(study)
    report.write(directory, study, summary)
    report.print_summary(console, directory, summary)
    return directory


def solve(settings: ConvexSettings, tell: Callable[[str], object] = lambda name: None) -> Study:
    """Runs every method on every draw, at its learning rate and at `RATES`.

    Args:
      settings: what to run.
      tell: called with the name of each method before it runs.
    """
    with jax.enable_x64(True):
        seeds = range(settings.seed, settings.seed + settings.draws)
        problem = problems.draw(settings.problem, seeds, settings.steps)
        keys = jnp.stack([jax.random.key(seed) for seed in seeds]) if settings.stochastic else None
        outcomes = {}
        for name in settings.methods:
            tell(name)
            outcomes[name] = measure(METHODS[name], problem, settings.steps, keys)
        gap = jax.vmap(lambda p: p.gap(p.start))(problem)
        return Study(
            settings,
            np.asarray(problem.smoothness),
            np.sqrt(np.asarray(jax.vmap(ConvexProblem.square_distance)(problem))),
            np.asarray(gap),
            outcomes,
            _landscape(problem) if problem.start.shape[-1] == 2 else None,
        )


def measure(
    method: Method, problem: ConvexProblem, steps: int, keys: jax.Array | None = None
) -> Outcome:
    """A method on all draws of a problem.

    Args:
      method: also says at which learning rate; its bound is for exact gradients alone.
      problem: stacked draws.
      steps: T.
      keys: a key a draw for sampled gradients, [draws]; exact gradients without.
    """
    plane = problem.start.shape[-1] == 2

    def one(problem, key, rate):
        curve = method.run(problem, rate, steps, key)
        return curve if plane else Curve(curve.gap, None)

    over_rates = jax.vmap(one, (None, None, 0))
    over_draws = jax.vmap(over_rates, (0, None if keys is None else 0, None))
    gaps, points = jax.jit(over_draws)(problem, keys, jnp.append(method.learning_rate, RATES))
    start_gap = jax.vmap(lambda p: p.gap(p.start))(problem)
    cumulative = np.asarray(jnp.mean(gaps, -1) / start_gap[:, None])
    bound = None
    if method.bound is not None and keys is None:
        t = jnp.arange(1, steps + 1)
        bound = np.asarray(jax.vmap(method.bound, (0, None))(problem, t))
    return Outcome(
        method.learning_rate,
        np.asarray(gaps[:, 0]),
        bound,
        np.asarray(points[:, 0]) if plane else None,
        cumulative[:, 1:],
        cumulative[:, 0],
    )


def _landscape(problem: ConvexProblem) -> Landscape:
    first = jax.tree.map(lambda x: x[0], problem)
    reach = 1.5 * jnp.max(jnp.abs(first.start - first.minimiser)) * jnp.linspace(-1, 1, 121)
    horizontal, vertical = first.minimiser[0] + reach, first.minimiser[1] + reach
    gap = jax.vmap(jax.vmap(first.gap))(jnp.stack(jnp.meshgrid(horizontal, vertical), -1))
    values = (horizontal, vertical, gap, first.start, first.minimiser)
    return Landscape(*map(np.asarray, values))
