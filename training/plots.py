"""Plots of one run. They use Matplotlib's figures without pyplot, which keeps no state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, NullLocator

from selftuning.configs.hyperparameters import Definition, Hyperparameter, Scale
from selftuning.training import run_directory
from selftuning.training.metrics import WINDOW, Episodes

_DPI = 150
_POINTS = 2000  # a line needs no more
_BINS = 500  # of rewards, the noise of which is to be seen
_SMOOTH = 10  # bins in a smoothed reward: short beside what a task that changes goes through
_COLUMNS = 3
_HEADS = ("C0", "C2", "C4", "C5", "C6", "C8", "C9", "C7")  # none that means something else here
_MOST_TICKS = 7
_SD = "sd: standard deviations of noise"
_ROOM = 0.5  # of the height of what is drawn, in which a threshold may be beside it
_SMALLEST_SPAN = 3.0  # of a scale, as a factor to both sides of all that is shown


def learning_curve(
    path: Path,
    title: str,
    episodes: Episodes,
    threshold: float | None,
    evaluations: Mapping[int, float] | None = None,
) -> None:
    """Draws the return of episodes and their 100-episode mean over environment steps.

    Args:
      path: PNG file to write.
      title: of the figure.
      episodes: of training.
      threshold: from which mean on the task is solved, if it has one.
      evaluations: environment steps -> mean return of greedy episodes, if there were any.
    """
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    thin = slice(None, None, max(1, len(episodes.returns) // _POINTS))
    axes.plot(
        episodes.env_steps[thin],
        episodes.returns[thin],
        "o",
        color="0.6",
        markersize=3,
        markeredgewidth=0,
        alpha=0.6,
        label="episode",
    )
    if len(episodes.returns) >= WINDOW:
        sums = np.cumsum(np.insert(episodes.returns, 0, 0.0))
        means = (sums[WINDOW:] - sums[:-WINDOW]) / WINDOW
        steps = episodes.env_steps[WINDOW - 1 :]
        axes.plot(steps[thin], means[thin], color="C0", label=f"mean of {WINDOW} episodes")
    if evaluations:
        line: dict[str, Any] = {"color": "C1", "marker": "s", "markersize": 4, "lw": 1}
        axes.plot(list(evaluations), list(evaluations.values()), **line, label="greedy evaluation")
    if threshold is not None:
        _draw_threshold(axes, threshold)
    axes.set(title=title, xlabel="environment steps", ylabel="return")
    _finish(axes)
    # Below the axes, where it hides no episode.
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    _save(figure, path)


def _draw_threshold(axes: Axes, threshold: float) -> None:
    """A line, or a word at the edge where it is far from all that is drawn."""
    low, high = axes.get_ylim()
    room = _ROOM * (high - low)
    if low - room <= threshold <= high + room:
        axes.axhline(threshold, color="C2", ls="--", lw=1, label=f"threshold {threshold:g}")
        return
    above = threshold > high
    axes.annotate(
        f"threshold {threshold:g} ({'above' if above else 'below'})",
        (0.99, 1 if above else 0),
        xytext=(0, -4 if above else 4),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="top" if above else "bottom",
        color="C2",
        fontsize="small",
    )


def reward_curve(path: Path, title: str, steps_per_cycle: int, rewards: np.ndarray) -> None:
    """Draws the mean reward a step over environment steps, for tasks without episodes.

    Args:
      path: PNG file to write.
      title: of the figure.
      steps_per_cycle: environment steps that each of the rewards is the mean of.
      rewards: [C] in time order.
    """
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    bin_size = max(1, math.ceil(len(rewards) / _BINS))
    for window, color, width in ((bin_size, "0.7", 0.8), (_SMOOTH * bin_size, "C0", 1.6)):
        ends, means = _trailing_means(rewards, window, bin_size)
        label = f"mean of {window * steps_per_cycle:,} steps"
        if len(ends):
            axes.plot(ends * steps_per_cycle, means, color=color, lw=width, label=label)
    axes.set(title=title, xlabel="environment steps", ylabel="reward a step")
    axes.set_xlim(0, max(1, len(rewards) * steps_per_cycle))
    _finish(axes)
    if len(rewards):
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    _save(figure, path)


def _trailing_means(values: np.ndarray, window: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over `window` values each: how many values each ends after, and the means.

    They are `stride` values apart. The last one ends with the last value.
    """
    ends = np.arange(len(values), window - 1, -stride)[::-1]
    sums = np.cumsum(np.insert(values, 0, 0.0))
    return ends, (sums[ends] - sums[ends - window]) / window


def hyperparameter_paths(
    path: Path,
    title: str,
    env_steps: np.ndarray,
    values: Mapping[str, np.ndarray],
    settings: Mapping[str, Hyperparameter],
    tuned: Mapping[str, bool],
    known: Mapping[str, Definition],
    moved: Mapping[str, str],
) -> None:
    """Draws the tuned hyperparameters over environment steps, their starts marked.

    The fixed ones are named below. At least one must be tuned.

    Args:
      path: PNG file to write.
      title: of the figure.
      env_steps: [N], of the values.
      values: [N] by name, without the start; [N, H] where there is one a head, a line each.
      settings: start, bounds and outer value by name.
      tuned: which were tuned.
      known: what they are.
      moved: by what each was moved, in words (`training.evidence`).
    """
    shown = [name for name in values if tuned[name]]
    columns = 2 if len(shown) in (1, 2, 4) else _COLUMNS
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(9.6, 0.9 + 2.2 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    for axes, name in zip(grid, shown, strict=False):
        _draw_path(axes, known[name], env_steps, values[name], settings[name])
        axes.set_title(moved.get(name, ""), fontsize="small", color="0.3")
    drawn, spare = grid[: len(shown)], grid[len(shown) :]
    for axes in drawn[-columns:]:  # the lowest of its column
        axes.set_xlabel("environment steps")
        axes.tick_params(labelbottom=True)
    for axes in spare:
        axes.set_axis_off()
    figure.suptitle(title)
    fixed = [_fixed(known[n], settings[n], moved.get(n)) for n in values if n not in shown]
    handles = _entries(drawn)
    style: dict[str, Any] = {"frameon": False, "title_fontsize": "small"}
    if spare:
        said = "\n".join([_SD, *(["fixed:", *fixed] if fixed else [])])
        spare[-1].legend(handles.values(), handles.keys(), loc="center", title=said, **style)
    else:
        said = "\n".join([_SD, *([f"fixed: {', '.join(fixed)}"] if fixed else [])])
        below: dict[str, Any] = {"loc": "outside lower center", "ncols": 4}
        figure.legend(handles.values(), handles.keys(), title=said, **below, **style)
    _save(figure, path)


def _fixed(definition: Definition, spec: Hyperparameter, moved: str | None) -> str:
    """A hyperparameter that is not tuned; one that falls by itself says so."""
    said = "" if moved in (None, "fixed") else f" ({moved})"
    return f"{definition.label} {spec.start:g}{said}"


def _draw_path(
    axes: Axes,
    definition: Definition,
    env_steps: np.ndarray,
    values: np.ndarray,
    spec: Hyperparameter,
) -> None:
    thin = slice(None, None, max(1, len(env_steps) // _POINTS))
    steps = np.concatenate([[0], env_steps[thin], env_steps[-1:]])
    heads = values if values.ndim > 1 else values[:, None]
    start = np.full((1, heads.shape[1]), spec.start)
    lines = np.concatenate([start, heads[thin], heads[-1:]])
    outer = [] if spec.outer is None else [spec.outer]
    # An outer value at the end of its scale is infinitely far from all others.
    outer = [value for value in outer if _on_scale(definition.scale, np.array(value))]
    _set_scale(axes, definition.scale, np.concatenate([lines.ravel(), outer]))
    for value in outer:
        axes.axhline(value, color="C1", ls="--", lw=1, label="in the outer objective")
    bottom, top = axes.get_ylim()
    for bound in (spec.low, spec.high):
        if bottom <= bound <= top:
            axes.axhline(bound, color="0.3", ls=":", lw=1.2, label="bound of tuning")
    for head, line in enumerate(lines.T):
        label = "value" if values.ndim == 1 else f"value, head {head}"
        axes.plot(steps, line, color=_HEADS[head % len(_HEADS)], label=label)
    axes.plot(0, spec.start, "o", color="C3", ms=7, clip_on=False, zorder=3, label="start")
    axes.set_xlim(-0.03 * steps[-1], max(1, steps[-1]))
    _annotate_ends(axes, steps[-1], lines[-1])
    axes.set_ylabel(definition.label)
    axes.spines[["top", "right"]].set_visible(False)
    _finish(axes)


def _annotate_ends(axes: Axes, step: float, ends: np.ndarray) -> None:
    """Writes the value beside the end of a line; of several lines the highest and the lowest."""
    low, high = f"{ends.min():.3g}", f"{ends.max():.3g}"
    labels = [(low, ends.min(), "center")]
    if low != high:  # away from each other, so that close ones stay readable
        labels = [(low, ends.min(), "top"), (high, ends.max(), "bottom")]
    for text, value, alignment in labels:
        axes.annotate(
            text,
            (step, value),
            xytext=(4, 0),
            textcoords="offset points",
            va=alignment,
            color="C0" if low == high else "0.2",
            fontsize="small",
        )


def _set_scale(axes: Axes, scale: Scale, values: np.ndarray) -> None:
    """A logit or log scale around the values, unless one lies where that is infinite."""
    if scale == "linear" or not _on_scale(scale, values):
        return
    # Odds of a probability and a positive number are alike: what counts is their ratio.
    odds = values / (1 - values) if scale == "unit" else values
    low, high = odds.min() / _SMALLEST_SPAN, odds.max() * _SMALLEST_SPAN
    if scale == "unit":
        low, high = low / (1 + low), high / (1 + high)
    axes.set_yscale("logit" if scale == "unit" else "log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator(_ticks(scale, low, high)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def _on_scale(scale: Scale, values: np.ndarray) -> bool:
    upper = 1.0 if scale == "unit" else np.inf
    return scale == "linear" or bool(np.all((values > 0) & (values < upper)))


def _ticks(scale: Scale, low: float, high: float) -> list[float]:
    """Round numbers between two: of one digit, or powers of ten alone where there is room."""
    for digits in ((1, 2, 5), (1,)):
        small = [float(f"{digit}e{power}") for power in range(-9, 10) for digit in digits]
        if scale == "unit":
            below_half = [tick for tick in [*small, 0.3] if tick < 0.5]
            candidates = [*below_half, 0.5, *(float(f"{1 - tick:.9g}") for tick in below_half)]
        else:
            candidates = small
        ticks = sorted(tick for tick in candidates if low <= tick <= high)
        if len(ticks) <= _MOST_TICKS:
            break
    return ticks


def _finish(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)


def _entries(grid: list[Axes]) -> dict[str, Artist]:
    """Legend of all panels, of which some lack an entry and some have it twice."""
    entries: dict[str, Artist] = {}
    for axes in grid:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    return entries


def _save(figure: Figure, path: Path) -> None:
    with run_directory.replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png")
