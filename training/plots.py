"""Plots of one run. They use Matplotlib's figures without pyplot, which keeps no state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, NullFormatter

from configs.settings import Hyperparameter
from training.metrics import WINDOW, Episodes

_POINTS = 2000  # a line needs no more
_UNIT = ("gamma", "lambda")  # differences near 1 matter: shown on a logit scale


def learning_curve(path: Path, title: str, episodes: Episodes, threshold: float | None) -> None:
    """Draws the return of episodes and their 100-episode mean over environment steps."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    thin = slice(None, None, max(1, len(episodes.returns) // _POINTS))
    axes.plot(episodes.env_steps[thin], episodes.returns[thin], ".", color="0.75", ms=3)
    if len(episodes.returns) >= WINDOW:
        sums = np.cumsum(np.insert(episodes.returns, 0, 0.0))
        means = (sums[WINDOW:] - sums[:-WINDOW]) / WINDOW
        steps = episodes.env_steps[WINDOW - 1 :]
        axes.plot(steps[thin], means[thin], color="C0", label=f"mean of {WINDOW} episodes")
    if threshold is not None:
        axes.axhline(threshold, color="C2", ls="--", lw=1, label=f"solved: {threshold:g}")
    axes.set(title=title, ylabel="return")
    _finish(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    figure.savefig(path, dpi=110)


def hyperparameter_paths(
    path: Path,
    title: str,
    env_steps: np.ndarray,
    values: Mapping[str, np.ndarray],
    settings: Mapping[str, Hyperparameter],
    tuned: Mapping[str, bool],
) -> None:
    """Draws every hyperparameter over environment steps.

    Args:
      path: PNG file to write.
      title: of the figure.
      env_steps: [N], of the values.
      values: [N] by name, without the start.
      settings: start, bounds and outer value by name.
      tuned: which were tuned.
    """
    rows = (len(values) + 1) // 2
    figure = Figure(figsize=(9, 1 + 2.4 * rows), layout="constrained")
    grid = list(figure.subplots(rows, 2, squeeze=False).flat)
    thin = slice(None, None, max(1, len(env_steps) // _POINTS))
    for axes, name in zip(grid, values, strict=False):
        spec = settings[name]
        steps = np.concatenate([[0], env_steps[thin], env_steps[-1:]])
        line = np.concatenate([[spec.start], values[name][thin], values[name][-1:]])
        _set_scale(axes, name, np.append(line, spec.outer), (spec.low, spec.high))
        axes.plot(steps, line, color="C0", label="value")
        axes.plot(0, spec.start, "o", color="C3", clip_on=False, zorder=3, label="start")
        axes.axhline(spec.outer, color="C1", ls="--", lw=1, label="in the outer objective")
        for bound in (spec.low, spec.high) if tuned[name] else ():
            axes.axhline(bound, color="0.4", ls=":", lw=1, label="bounds of tuning")
        axes.set_title(name if tuned[name] else f"{name} (fixed)", fontsize="medium")
        _finish(axes)
    for axes in grid[len(values) :]:
        axes.set_axis_off()
    figure.suptitle(title)
    _legend(figure, grid)
    figure.savefig(path, dpi=110)


def _set_scale(axes: Axes, name: str, values: np.ndarray, bounds: tuple[float, float]) -> None:
    """Shows all bounds, on a logit or log scale unless a value lies where that is infinite."""
    upper = 1.0 if name in _UNIT else np.inf
    if not np.all((values > 0) & (values < upper)):
        return
    # A bound may lie there as well, and is then out of sight.
    seen = [*values, *(bound for bound in bounds if 0 < bound < upper)]
    if name in _UNIT:
        axes.set_yscale("logit")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(min(seen) / 1.5, 1 - (1 - max(seen)) / 1.5)
    else:
        axes.set_yscale("log")
        axes.set_ylim(min(seen) / 1.5, max(seen) * 1.5)


def _finish(axes: Axes) -> None:
    axes.set_xlabel("environment steps", fontsize="small")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)


def _legend(figure: Figure, grid: list[Axes]) -> None:
    """One legend for all panels, of which some lack an entry and some have it twice."""
    entries: dict[str, Artist] = {}
    for axes in grid:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    handles, labels = list(entries.values()), list(entries)
    figure.legend(handles, labels, loc="outside lower center", ncols=len(entries))
