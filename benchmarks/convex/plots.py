"""Plots of `run.py convex`: gaps over steps, sensitivity to learning rates, paths in the plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selftuning.benchmarks import drawing
from selftuning.benchmarks.convex.results import GOAL, RATES, Study
from selftuning.benchmarks.drawing import COLOURS, MARKERS

_DPI = 110
_POINTS = 300  # of a line, evenly spaced on the log scale
_TOP = 10.0  # of the gap at the start: what is above has diverged


def gaps(path: Path, title: str, study: Study) -> None:
    """Draws gap and bound of every method over steps: median of the draws, band of all.

    The axis ends at `GOAL`. Lines that leave the picture there have arrived.
    """
    figure, axes = _figure(len(study.outcomes))
    start = float(np.median(study.start_gap))
    low, high = GOAL, _TOP * start
    steps = np.unique(np.geomspace(1, study.settings.steps, _POINTS).astype(int))
    for number, (name, outcome) in enumerate(study.outcomes.items()):
        # What is not finite has left the picture at the top.
        gap = np.clip(np.nan_to_num(outcome.gap, nan=np.inf), low / 10, high * 10)[:, steps - 1]
        label = f"{name}, {outcome.learning_rate:g}/L"
        _line(axes, number, steps, gap, label, every=0.11)
        if outcome.bound is not None:
            bound = np.median(outcome.bound, 0)[steps - 1]
            axes.plot(steps, bound, "--", color=_style(number)["color"], lw=1)
    lowest = min(float(np.min(outcome.gap[:, -1])) for outcome in study.outcomes.values())
    axes.set(
        title=title,
        xscale="log",
        yscale="log",
        xlabel="step t",
        ylabel="gap  f(x$_t$) - f(x*)",
        ylim=(max(low, 0.3 * lowest) if np.isfinite(lowest) and lowest > 0 else low, high),
    )
    extra = []
    if any(outcome.bound is not None for outcome in study.outcomes.values()):
        extra = [Line2D([], [], color="0.3", ls="--", lw=1, label="proved bound")]
    drawing.finished(figure, extra).savefig(path, dpi=_DPI)


def sensitivity(path: Path, title: str, study: Study) -> None:
    """Draws the mean gap of whole runs over `RATES`; lines end where runs diverge."""
    figure, axes = _figure(len(study.outcomes))
    diverged = False
    for number, (name, outcome) in enumerate(study.outcomes.items()):
        loss = np.minimum(np.nan_to_num(outcome.cumulative, nan=np.inf), _TOP)
        median = np.median(loss, 0)
        end = int(np.argmax(median >= _TOP)) + 1 if np.any(median >= _TOP) else len(RATES)
        _line(axes, number, RATES[:end], loss[:, :end], name, every=0.08)
        style = _style(number)
        if median[end - 1] >= _TOP:
            diverged = True
            axes.plot(RATES[end - 1], _TOP, "x", color=style["color"], ms=8, mew=2, clip_on=False)
        default = np.median(np.minimum(np.nan_to_num(outcome.at_default, nan=np.inf), _TOP))
        axes.plot(outcome.learning_rate, default, ms=10, **(style | {"mfc": "none", "ls": ""}))
    axes.axhline(1.0, color="0.6", lw=0.8, ls=":")
    axes.set_title(f"{title}, {study.settings.steps:,} steps", pad=12)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="learning rate x L  (where step sizes are learned: that of the first step)",
        ylabel="mean gap / gap at the start",
        ylim=(None, _TOP),
        xlim=(RATES[0] / 1.2, RATES[-1] * 1.2),
    )
    extra = [Line2D([], [], color="0.3", marker="o", mfc="none", ms=9, ls="", label="default")]
    if diverged:
        extra.append(Line2D([], [], color="0.3", marker="x", mew=2, ms=7, ls="", label="diverged"))
    drawing.finished(figure, extra).savefig(path, dpi=_DPI)


def paths(path: Path, title: str, study: Study) -> None:
    """Draws where each method went on the first draw, over contours of the gap."""
    land = study.landscape
    assert land is not None
    columns = min(3, len(study.outcomes))
    rows = -(-len(study.outcomes) // columns)
    figure = Figure(figsize=(2.3 * columns + 0.4, 2.4 * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    levels = float(study.start_gap[0]) * np.logspace(-3, 0.5, 8)
    for number, (axes, name) in enumerate(zip(grid.flat, study.outcomes, strict=False)):
        points = study.outcomes[name].points
        assert points is not None
        axes.contour(land.horizontal, land.vertical, land.gap, levels, colors="0.8", linewidths=0.7)
        style = _style(number) | {"marker": "."}
        axes.plot(*np.concatenate([[land.start], points[0]]).T, lw=1, ms=4, **style)
        axes.plot(*land.start, "s", color="0.2", ms=5)
        axes.plot(*land.minimiser, "*", color="0.2", ms=9, mfc="none")
        axes.set_title(name, fontsize="small")
        axes.set(xlim=land.horizontal[[0, -1]], ylim=land.vertical[[0, -1]], aspect="equal")
    panels = list(grid.flat)
    for axes in panels[len(study.outcomes) - columns : len(study.outcomes)]:
        axes.tick_params(labelbottom=True)  # the lowest of its column
    for axes in panels[len(study.outcomes) :]:
        axes.set_axis_off()
    figure.supxlabel("first coordinate of x", fontsize="medium")
    figure.supylabel("second coordinate of x", fontsize="medium")
    figure.suptitle(f"{title}: seed {study.settings.seed}, start (square), minimiser (star)")
    figure.savefig(path, dpi=_DPI)


def _figure(lines: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 3.9 + 0.2 * (-(-lines // 2) + 1)))
    return figure, figure.subplots()


def _style(number: int) -> dict[str, Any]:
    colour = COLOURS[number % len(COLOURS)]
    dashes = "-" if number < len(COLOURS) else "-."
    return {"color": colour, "marker": MARKERS[number % len(MARKERS)], "ls": dashes}


def _line(
    axes: Axes, number: int, x: np.ndarray, draws: np.ndarray, label: str, every: float
) -> None:
    """A median with the band of all draws, [draws, len(x)]."""
    # Markers start at different places, so that lines on top of each other can be seen.
    look = _style(number) | {"lw": 1.5, "ms": 4.5, "markevery": (0.02 * number, every)}
    drawing.banded(axes, x, np.median(draws, 0), draws.min(0), draws.max(0), label=label, **look)
