"""What `run.py convex` says and leaves: summary.json, gaps.npz, the plots and a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from selftuning.benchmarks.convex import plots
from selftuning.benchmarks.convex.results import GOAL, RATES, Outcome, Study
from selftuning.configs.convex import ConvexSettings
from selftuning.training import json_files, report, run_directory
from selftuning.training.metrics import finite

GAPS = "gaps.npz"


def summarise(study: Study) -> dict[str, Any]:
    """The content of summary.json; what is no finite number is None. Medians are over draws."""
    settings = study.settings
    return {
        "problem": {
            "name": settings.problem,
            "smoothness": finite(np.median(study.smoothness)),
            "distance": finite(np.median(study.distance)),
            "draws": settings.draws,
            "steps": settings.steps,
            "seed": settings.seed,
            "stochastic": settings.stochastic,
        },
        "methods": {
            name: describe(outcome, study.start_gap) for name, outcome in study.outcomes.items()
        },
    }


def describe(outcome: Outcome, start_gap: np.ndarray) -> dict[str, Any]:
    """One method in numbers, see docs/meta-gradients.md.

    Args:
      outcome: of the method.
      start_gap: [draws].
    """
    gap, bound = outcome.gap, outcome.bound
    rounding = 1e-14 * np.maximum(1.0, start_gap)[:, None]
    median = np.median(gap, 0)
    return {
        "final_gap": finite(median[-1]),
        "bound": None if bound is None else finite(np.median(bound[:, -1])),
        "bound_holds": None
        if bound is None
        else bool(np.all(gap <= bound * (1 + 1e-12) + rounding)),
        "slope": slope(median, GOAL),
        "at_goal": at_goal(median),
        # A gap that is not a number is not below either.
        "diverged": bool(np.any(~(gap[:, -1] <= start_gap))),
        "learning_rate": outcome.learning_rate,
        "cumulative_loss": finite(np.median(outcome.at_default)),
    }


def slope(gap: np.ndarray, floor: float = 0.0) -> float | None:
    """Slope of log gap against log t over the last decade of steps, by least squares.

    Args:
      gap: of steps t = 1 ... T, [T].
      floor: gaps not above it are left out.

    Returns:
      None if fewer than two gaps are left, or if one is not finite.
    """
    steps = np.arange(1, len(gap) + 1)
    last = steps >= len(gap) / 10
    steps, gap = steps[last], gap[last]
    kept = gap > floor
    if not np.all(np.isfinite(gap)) or kept.sum() < 2:
        return None
    return finite(np.polyfit(np.log(steps[kept]), np.log(gap[kept]), 1)[0])


def at_goal(gap: np.ndarray) -> int | None:
    """The first step from which on a gap [T] stays within `GOAL`; None if it ends above.

    A method that swings past x* is there by chance, before it stays.
    """
    above = np.flatnonzero(~(gap <= GOAL))  # what is not a number too
    steps = int(above[-1]) + 2 if above.size else 1
    return steps if steps <= len(gap) else None


def write(directory: Path, study: Study, summary: Mapping[str, Any]) -> None:
    """Writes summary.json, the curves and the plots into a directory without them."""
    settings, title = study.settings, _title(study.settings)
    json_files.write_new(directory / run_directory.SUMMARY, summary)
    arrays = {"steps": np.arange(1, settings.steps + 1), "learning_rates": RATES}
    for name, outcome in study.outcomes.items():
        arrays |= {f"{name}/gap": outcome.gap, f"{name}/cumulative_loss": outcome.cumulative}
        if outcome.bound is not None:
            arrays[f"{name}/bound"] = outcome.bound
        if outcome.points is not None:
            arrays[f"{name}/point"] = outcome.points
    with (directory / GAPS).open("xb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    plots.gaps(directory / "gap.png", title, study)
    plots.sensitivity(directory / "sensitivity.png", title, study)
    if study.landscape is not None:
        plots.paths(directory / "path.png", settings.problem, study)


def _title(settings: ConvexSettings) -> str:
    draws = "" if settings.draws == 1 else f", {settings.draws} draws"
    return settings.problem + (", sampled gradients" if settings.stochastic else "") + draws


def print_summary(console: Console, directory: Path, summary: Mapping[str, Any]) -> None:
    """Prints a table of the methods, 80 columns wide at most, and the directory.

    Learning rates are multiples of 1 / L. Mean gaps are those over all steps, relative to the
    start. A final gap within `GOAL` is shown as the step at which the method came there.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", no_wrap=True)
    for column in ("x 1/L", "final gap", "bound", "holds", "slope", "mean gap"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in summary["methods"].items():
        table.add_row(
            name,
            f"{row['learning_rate']:g}",
            _final(row),
            _short(row["bound"]),
            {None: "", True: "yes", False: "NO"}[row["bound_holds"]],
            "" if row["slope"] is None else f"{row['slope']:.1f}",
            _short(row["cumulative_loss"]),
        )
    console.print(table, highlight=False)
    report.print_rows(console, [("run directory", str(directory))])


def _final(row: Mapping[str, Any]) -> str:
    if row["diverged"]:
        return "diverged"
    steps = row["at_goal"]
    return _short(row["final_gap"]) if steps is None else f"{GOAL:g} at {steps}"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"
