"""Pictures of a Two Colors study: learning curves, what changes of signs do, totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from selftuning.benchmarks import drawing
from selftuning.benchmarks.drawing import MARKERS
from selftuning.benchmarks.two_colors import published
from selftuning.benchmarks.two_colors.rows import Row, Study, baseline, best_fixed
from selftuning.benchmarks.two_colors.series import (
    aligned,
    curve_edges,
    means,
    offset_edges,
    resolved,
)
from selftuning.studies import statistics

_MOST_LINES = 6  # in one panel; more rows than this get a panel for each of these
_PANELS = {
    "fixed": "fixed entropy weights",
    "mg": "mg",
    "bmg": "bmg",
    "heads": "auxiliary heads",
    "q_fixed": "Q(λ)",
    "q_mg": "Q(λ)",
    "q_bmg": "Q(λ)",
}
_MOST_CHANGES = 20  # that are drawn as lines
_QUANTITIES = {"entropy": "entropy weight", "epsilon": "exploration ε"}
# Okabe & Ito's colours for methods, dashes for contexts, greys and markers for fixed values.
_COLOURS = {
    "mg": "#D55E00",
    "bmg": "#0072B2",
    "heads": "#E69F00",
    "q_mg": "#56B4E9",
    "q_bmg": "#009E73",
}
_CEILING = "#CC79A7"
_DASHES: dict[str, Any] = {"none": (0, (1, 1.2)), "reward": "-", "rich": (0, (5, 1.5))}
_VALUES = (0.0, 0.05, 0.1, 0.2, 0.4)  # up to these, a marker each

Style = Mapping[str, Any]  # of a line, in Matplotlib's words


def draw(study: Study) -> dict[str, Figure | None]:
    """All pictures by name of the file; None where there is nothing to see."""
    return {"reward.png": reward(study), "swap.png": swap(study), "totals.png": totals(study)}


def reward(study: Study) -> Figure:
    """Reward a step over environment steps: means over seeds with 95% intervals.

    The ceiling is the reward of the best policy of those that know the signs.
    """
    panels, best, looks = _panels(study.rows), baseline(study.rows), styles(study.rows)
    longest = max(row.env_steps for row in study.rows)
    columns = min(len(panels), 2)
    figure = Figure((6.6, 4.4) if columns == 1 else (9.6, 3.7 * -(-len(panels) // 2) + 1.2))
    grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False, sharey=True)
    for axes, (title, rows) in zip(grid.flat, panels.items(), strict=False):
        others = [best] if best and all(best is not row for row in rows) else []
        for row in [*rows, *others]:
            edges = curve_edges(row.env_steps, study.phase)
            _line(axes, edges, means(row.reward, row.length, edges), row.label, looks[row.name])
        changes = np.arange(study.phase, longest, study.phase)
        if 0 < len(changes) <= _MOST_CHANGES:
            axes.vlines(
                changes, 0, 1, transform=axes.get_xaxis_transform(), color="0.8", lw=0.7, zorder=0
            )
            axes.plot([], [], color="0.8", lw=0.9, label="rewards change sign")
        axes.axhline(study.ceiling, **_ceiling(study))
        axes.set_title(title, fontsize="medium")
        axes.set(xlabel="environment steps", ylabel="reward a step", xlim=(0, longest))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.tick_params(labelleft=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(_title(study), fontsize="medium")
    return drawing.finished(figure, columns=2 * columns)


def swap(study: Study) -> Figure | None:
    """What is tuned above, the reward below, before and after rewards change sign.

    Means over all such changes but the first and over seeds, with 95% intervals. None where signs
    change, or are measured, too seldom to see anything.
    """
    looks, edges = styles(study.rows), offset_edges(study.phase)
    seen = [row for row in study.rows if resolved(row.length, study.phase)]
    counts = {row.name: _around(row, row.reward, study).shape[1] for row in seen}
    groups: dict[str, list[Row]] = {}
    for row in seen:
        if counts[row.name] and row.value is None:
            groups.setdefault(row.hyperparameter, []).append(row)
    if not groups:
        return None
    figure = Figure((6.6 if len(groups) == 1 else 4.8 * len(groups), 5.8))
    grid = figure.subplots(2, len(groups), squeeze=False, sharex=True, sharey="row")
    for (top, bottom), (name, rows) in zip(grid.T, groups.items(), strict=True):
        best = best_fixed(seen, "q_fixed" if rows[0].family.startswith("q_") else "fixed")
        for row in [*rows, best] if best else rows:
            style, rewards = looks[row.name], _around(row, row.reward, study)
            if rewards.size:
                _line(bottom, edges, rewards.mean(1), row.label, style)
            if row.value is None:
                kept = _around(row, row.tuned[~row.diverged], study)
                if kept.size:
                    _line(top, edges, kept.mean(1), row.label, style)
            elif row.hyperparameter == name:
                top.axhline(row.value, **{**style, "marker": ""})
        bottom.axhline(study.ceiling, **_ceiling(study))
        top.set(ylabel=_QUANTITIES.get(name, name), ylim=(0, None))
        bottom.set(xlabel="environment steps after the rewards change sign")
        bottom.set(ylabel="reward a step", xlim=edges[[0, -1]])
        bottom.xaxis.set_major_formatter(EngFormatter(sep=""))
        for axes in (top, bottom):
            axes.axvline(0, color="0.4", lw=0.9)
            axes.tick_params(labelleft=True)
    figure.suptitle(
        f"means over {max(counts.values())} changes and {_seeds(study)}", fontsize="medium"
    )
    return drawing.finished(figure, columns=2 * len(groups))


def totals(study: Study) -> Figure:
    """Mean reward a step of every seed, their mean and 95% interval, and what was published."""
    rows, looks = study.rows[::-1], styles(study.rows)
    comparable = study.measured.settings.run.steps == published.STEPS
    theirs, scale = published.of_rows(study) if comparable else {}, 1e6 / published.STEPS
    figure = Figure((7.2, 1.5 + 0.36 * len(rows)))
    axes = figure.subplots()
    grey: dict[str, Any] = {"color": "0.3", "mfc": "none", "lw": 1}
    for place, row in enumerate(rows):
        colour, mean = looks[row.name]["color"], row.mean
        spread = place + 0.32 * (np.linspace(0, 1, len(row.means) + 2)[1:-1] - 0.5)
        axes.plot(row.means, spread, "o", ms=4, color=colour, alpha=0.45, mew=0)
        if mean.low is not None and mean.high is not None:
            axes.plot([mean.low, mean.high], [place] * 2, color=colour, lw=2.4)
        axes.plot(mean.value, place, "|", ms=13, mew=2.4, color=colour)
        if number := theirs.get(row.name):
            spot = number.mean * scale, place - 0.3
            axes.errorbar(*spot, xerr=number.sd * scale, fmt="D", ms=5, **grey)
    axes.axvline(study.ceiling, **_ceiling(study))
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set(xlabel="reward a step, mean over the whole run", ylim=(-0.6, len(rows) - 0.4))
    axes.tick_params(axis="y", length=0)
    marks = [
        Line2D([], [], color="0.3", marker="o", ls="", ms=4, alpha=0.45, label="one seed"),
        Line2D([], [], color="0.3", marker="|", ms=11, mew=2, lw=2, label="mean, 95% interval"),
    ]
    if theirs:
        label = "published mean ± sd (Luketina et al. 2022, maybe another respawn rule)"
        marks.append(Line2D([], [], marker="D", label=label, **grey))
    figure.suptitle(_title(study), fontsize="medium")
    return drawing.finished(figure, marks)


def styles(rows: Sequence[Row]) -> dict[str, Style]:
    """The style of each row by its name, the same in all pictures."""
    return {row.name: _tuned(row, rows) if row.value is None else _fixed(row) for row in rows}


def _tuned(row: Row, rows: Sequence[Row]) -> Style:
    """Rows that have method and context in common are told apart by markers."""
    alike = [x.name for x in rows if (x.family, x.context) == (row.family, row.context)]
    marker = MARKERS[alike.index(row.name) % len(MARKERS)] if len(alike) > 1 else ""
    look = {"color": _COLOURS[row.family], "ls": _DASHES[row.context], "marker": marker}
    return look | {"lw": 1.6, "ms": 4.0}


def _fixed(row: Row) -> Style:
    rank = int(np.searchsorted(_VALUES, (row.value or 0.0) - 1e-9))
    grey, marker = f"{max(0.1, 0.7 - 0.12 * rank):.2f}", MARKERS[rank % len(MARKERS)]
    filled = grey if row.family == "fixed" else "white"
    return {"color": grey, "ls": "-", "marker": marker, "mfc": filled, "lw": 1.1, "ms": 4.0}


def _panels(rows: Sequence[Row]) -> dict[str, list[Row]]:
    if len(rows) <= _MOST_LINES:
        return {"": list(rows)}
    panels: dict[str, list[Row]] = {title: [] for title in _PANELS.values()}
    for row in rows:
        panels[_PANELS[row.family]].append(row)
    return {title: inside for title, inside in panels.items() if inside}


def _around(row: Row, values: np.ndarray, study: Study) -> np.ndarray:
    return aligned(values, row.length, study.phase)


def _line(axes: Axes, edges: np.ndarray, seeds: np.ndarray, label: str, style: Style) -> None:
    """A mean with the band of its interval, of seeds [N, E] between edges [E + 1]."""
    # Markers start at different places, so that lines on top of each other can be seen.
    first = 0.03 * MARKERS.find(style["marker"]) if style["marker"] else 0
    middles = (edges[1:] + edges[:-1]) / 2
    mean = seeds.mean(0)
    ends = statistics.estimate_curve([seeds], statistics.mean)[1:] if len(seeds) > 1 else [mean] * 2
    drawing.banded(axes, middles, mean, *ends, label=label, markevery=(first, 0.18), **style)


def _ceiling(study: Study) -> Style:
    label = f"ceiling {study.ceiling:.3f} (signs known)"
    return {"color": _CEILING, "ls": "--", "lw": 1.3, "label": label}


def _title(study: Study) -> str:
    return f"Two Colors, {study.measured.settings.run.steps:,} steps, {_seeds(study)}"


def _seeds(study: Study) -> str:
    seeds = study.measured.settings.seeds
    return f"{seeds} seed{'s' if seeds > 1 else ''}"
