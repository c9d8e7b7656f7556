"""Pictures of a Two Colors study: learning curves, what changes of signs do, totals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from selftuning.studies import study_files
from selftuning.studies.report.pictures import Drawn
from selftuning.studies.two_colors.published import STEPS
from selftuning.studies.two_colors.results import (
    Row,
    Study,
    band,
    baseline,
    best_fixed,
    mean_interval,
    published,
)
from selftuning.studies.two_colors.series import aligned, curve_edges, means, offset_edges, resolved
from selftuning.studies.two_colors.style import CEILING, MARKERS, Style, styles

_DPI = 150
_MOST_LINES = 6  # in one panel; more rows than this get a panel for each family
_MOST_CHANGES = 20  # that are drawn as lines
_PANELS = {
    "fixed entropy weights": ("fixed",),
    "mg": ("mg",),
    "bmg": ("bmg",),
    "auxiliary heads": ("heads",),
    "Q(λ)": ("q_fixed", "q_mg", "q_bmg"),
}
_CAPTIONS = {
    "reward.png": (
        "Reward as signs change",
        "Reward a step over environment steps: means over seeds with 95% intervals. The ceiling is "
        "the reward of the best policy of those that know the signs.",
    ),
    "swap.png": (
        "Around changes of signs",
        "Above what is tuned, below the reward, before and after rewards change sign: means over "
        "all such changes but the first and over seeds, with 95% intervals.",
    ),
    "totals.png": (
        "Reward of whole runs",
        "Mean reward a step of each seed, their mean and its 95% interval.",
    ),
}
_QUANTITIES = {"entropy": "entropy weight", "epsilon": "exploration ε"}


def draw(folder: Path, study: Study) -> list[Drawn]:
    """Writes reward.png, totals.png and, where there are changes of signs to see, swap.png."""
    rows = f"Shown are {', '.join(row.label for row in study.rows)}."
    figures = {"reward.png": reward(study), "swap.png": swap(study), "totals.png": totals(study)}
    drawn = []
    for name, figure in figures.items():
        path = folder / name
        if figure is None:
            path.unlink(missing_ok=True)
            continue
        study_files.replace(path, partial(figure.savefig, dpi=_DPI))
        title, caption = _CAPTIONS[name]
        drawn.append(Drawn(title, f"{caption} {rows}", path))
    return drawn


def reward(study: Study) -> Figure:
    """Reward a step over environment steps: means over seeds, bands of their intervals."""
    panels = _panels(study.rows)
    columns = 1 if len(panels) == 1 else 2
    height = -(-len(panels) // columns)
    size = (6.6, 4.4) if columns == 1 else (9.6, 3.7 * height)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(height, columns, squeeze=False, sharex=True, sharey=True)
    best, looks = baseline(study.rows), styles(study.rows)
    longest = max(row.env_steps for row in study.rows)
    for axes, (title, rows) in zip(grid.flat, panels.items(), strict=False):
        drawn = [best] if best is not None and all(best is not row for row in rows) else []
        for row in [*rows, *drawn]:
            _curve(axes, study, row, looks[row.name])
        _changes(axes, study, longest)
        _ceiling(axes, study)
        axes.set_title(title if columns > 1 else _title(study), fontsize="medium")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set(xlabel="environment steps", ylabel="reward a step")
        axes.set_xlim(0, longest)
        _finish(axes)
        axes.tick_params(labelbottom=True, labelleft=True)
        if columns > 1:
            _legend_below(axes)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_axis_off()
    if columns > 1:
        figure.suptitle(_title(study), fontsize="medium")
    else:
        _legend(figure, grid[0, 0])
    return figure


def swap(study: Study) -> Figure | None:
    """What is tuned, and the reward, around changes of signs; None if there is nothing to see.

    That is where signs change too seldom, or are measured too seldom.
    """
    phase, looks = study.phase, styles(study.rows)
    seen = [row for row in study.rows if resolved(row.length, phase)]
    counts = [aligned(row.reward, row.length, phase).shape[1] for row in seen]
    tuned = [row for row, count in zip(seen, counts, strict=True) if count and row.value is None]
    groups = {
        name: [row for row in tuned if row.hyperparameter == name]
        for name in dict.fromkeys(row.hyperparameter for row in tuned)
    }
    if not groups:
        return None
    width = 6.6 if len(groups) == 1 else 4.8 * len(groups)
    figure = Figure(figsize=(width, 5.8), layout="constrained")
    grid = figure.subplots(2, len(groups), squeeze=False, sharex=True, sharey="row")
    for (top, bottom), (name, rows) in zip(grid.T, groups.items(), strict=True):
        family = "q_fixed" if rows[0].family.startswith("q_") else "fixed"
        best = best_fixed(seen, family)
        for row in rows if best is None else [*rows, best]:
            style = looks[row.name]
            _around(bottom, row, row.reward, phase, style)
            if row.value is None:
                _around(top, row, row.tuned[~row.diverged], phase, style)
            elif row.hyperparameter == name:
                top.axhline(row.value, **(style | {"marker": ""}))
        _ceiling(bottom, study)
        top.set(ylabel=_QUANTITIES.get(name, name), ylim=(0, None))
        bottom.set(xlabel="environment steps after the rewards change sign")
        bottom.set_ylabel("reward a step")
        bottom.set_xlim(*offset_edges(phase)[[0, -1]])
        bottom.xaxis.set_major_formatter(EngFormatter(sep=""))
        for axes in (top, bottom):
            axes.axvline(0, color="0.4", lw=0.9)
            axes.tick_params(labelleft=True)
            _finish(axes)
        _legend_below(bottom)
    figure.suptitle(f"means over {max(counts)} changes and {_seeds(study)}", fontsize="medium")
    return figure


def totals(study: Study) -> Figure:
    """Mean reward a step of every seed, their mean and interval, and what was published."""
    rows = study.rows[::-1]
    figure = Figure(figsize=(7.2, 1.5 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    comparable = study.measured.settings.run.steps == STEPS
    numbers, looks = published(study) if comparable else {}, styles(study.rows)
    for place, row in enumerate(rows):
        colour, values = looks[row.name]["color"], row.means
        spread = place + np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else [place]
        axes.plot(values, spread, "o", ms=4, color=colour, alpha=0.45, mew=0)
        mean = mean_interval(values)
        if mean.low is not None and mean.high is not None:
            axes.plot([mean.low, mean.high], [place] * 2, color=colour, lw=2.4)
        axes.plot(mean.value, place, "|", ms=13, mew=2.4, color=colour)
        if row.name in numbers:
            theirs, scale = numbers[row.name], 1e6 / STEPS
            axes.errorbar(
                theirs.mean * scale,
                place - 0.3,
                xerr=theirs.sd * scale,
                fmt="D",
                color="0.3",
                mfc="none",
                ms=5,
                lw=1,
            )
    _ceiling(axes, study, vertical=True)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set(xlabel="reward a step, mean over the whole run", ylim=(-0.6, len(rows) - 0.4))
    axes.set_title(_title(study), fontsize="medium")
    _finish(axes)
    axes.tick_params(axis="y", length=0)
    handles, _ = axes.get_legend_handles_labels()
    marks = [
        Line2D([], [], color="0.3", marker="o", ls="", ms=4, alpha=0.45, label="one seed"),
        Line2D([], [], color="0.3", marker="|", ms=11, mew=2, lw=2, label="mean, 95% interval"),
    ]
    if numbers:
        label = "published mean ± sd (Luketina et al. 2022, maybe another respawn rule)"
        marks.append(Line2D([], [], color="0.3", marker="D", mfc="none", lw=1, label=label))
    figure.legend(
        handles=[*marks, *handles],
        loc="outside lower center",
        ncols=2 if numbers else 3,
        frameon=False,
        fontsize="small",
    )
    return figure


def _panels(rows: Sequence[Row]) -> dict[str, list[Row]]:
    if len(rows) <= _MOST_LINES:
        return {"": list(rows)}
    panels = {title: [row for row in rows if row.family in f] for title, f in _PANELS.items()}
    return {title: inside for title, inside in panels.items() if inside}


def _curve(axes: Axes, study: Study, row: Row, style: Style) -> None:
    edges = curve_edges(row.env_steps, study.phase)
    _line(axes, _middles(edges), means(row.reward, row.length, edges), row.label, style)


def _around(axes: Axes, row: Row, series: np.ndarray, phase: int, style: Style) -> None:
    """Means of a series [N, C] over changes and seeds."""
    around = aligned(series, row.length, phase)
    if around.size:
        _line(axes, _middles(offset_edges(phase)), around.mean(1), row.label, style)


def _line(axes: Axes, x: np.ndarray, seeds: np.ndarray, label: str, style: Style) -> None:
    """A mean with the band of its interval, of seeds [N, len(x)]."""
    # Markers start at different places, so that lines on top of each other can be seen.
    first = 0.03 * MARKERS.find(style["marker"]) if style["marker"] else 0
    axes.plot(x, seeds.mean(0), label=label, markevery=(first, 0.18), **style)
    if len(seeds) > 1:
        fill = {"color": style["color"], "alpha": 0.15, "lw": 0}
        axes.fill_between(x, *band(seeds), **fill)


def _changes(axes: Axes, study: Study, longest: int) -> None:
    changes = np.arange(study.phase, longest, study.phase)
    if 0 < len(changes) <= _MOST_CHANGES:
        for change in changes:
            axes.axvline(float(change), color="0.8", lw=0.7, zorder=0)
        axes.plot([], [], color="0.8", lw=0.9, label="rewards change sign")


def _ceiling(axes: Axes, study: Study, vertical: bool = False) -> None:
    line = axes.axvline if vertical else axes.axhline
    label = f"ceiling {study.ceiling:.3f} (signs known)"
    line(study.ceiling, color=CEILING, ls="--", lw=1.3, label=label)


def _middles(edges: np.ndarray) -> np.ndarray:
    return (edges[1:] + edges[:-1]) / 2


def _title(study: Study) -> str:
    return f"Two Colors, {study.measured.settings.run.steps:,} steps, {_seeds(study)}"


def _seeds(study: Study) -> str:
    seeds = study.measured.settings.seeds
    return f"{seeds} seed{'s' if seeds > 1 else ''}"


def _legend_below(axes: Axes) -> None:
    axes.legend(
        frameon=False, fontsize="small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2)
    )


def _legend(figure: Figure, axes: Axes) -> None:
    handles, _ = axes.get_legend_handles_labels()
    figure.legend(
        handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize="small"
    )


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
