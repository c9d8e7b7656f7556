"""Pictures of a Two Colors study: learning curves, what changes of signs do, totals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from studies import two_colors_files
from studies.two_colors_published import PUBLISHED, STEPS
from studies.two_colors_results import Row, Study, band, best_fixed, mean_interval
from studies.two_colors_series import aligned, curve_edges, means, offset_edges

_DPI = 150
_MOST_LINES = 6  # in one panel; more rows than this get a panel for each family
_MOST_CHANGES = 20  # that are drawn as lines

# Okabe & Ito's colours for methods, dashes for contexts, greys and markers for fixed values.
_COLOURS = {"mg": "#D55E00", "bmg": "#0072B2", "q_bmg": "#009E73"}
_DASHES: dict[str, Any] = {"none": (0, (1, 1.2)), "reward": "-", "rich": (0, (5, 1.5))}
_MARKERS = "osD^vP"
_VALUES = (0.0, 0.05, 0.1, 0.2, 0.4)  # up to these, a marker each
_CEILING = "#CC79A7"
_PANELS = {
    "fixed entropy weights": ("fixed",),
    "mg": ("mg",),
    "bmg": ("bmg",),
    "Q(λ)": ("q_fixed", "q_bmg"),
}


def draw(directory: Path, study: Study) -> None:
    """Writes reward.png, totals.png and, where the signs have changed often enough, swap.png."""

    def save(name: str, figure: Figure) -> None:
        two_colors_files.replace(directory / name, lambda to: figure.savefig(to, dpi=_DPI))

    save("reward.png", reward(study))
    save("totals.png", totals(study))
    changes = swap(study)
    if changes is not None:
        save("swap.png", changes)


def reward(study: Study) -> Figure:
    """Reward a step over environment steps: means over seeds, bands of their intervals."""
    panels = _panels(study.rows)
    columns = 1 if len(panels) == 1 else 2
    height = -(-len(panels) // columns)
    size = (6.6, 4.4) if columns == 1 else (9.6, 3.7 * height)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(height, columns, squeeze=False, sharex=True, sharey=True)
    baseline = best_fixed(study.rows)
    for axes, (title, rows) in zip(grid.flat, panels.items(), strict=False):
        reference = columns > 1 and baseline is not None and baseline not in rows
        for row in [*rows, baseline] if reference and baseline else rows:
            _curve(axes, study, row)
        _changes(axes, study)
        _ceiling(axes, study)
        axes.set_title(title if columns > 1 else _title(study), fontsize="medium")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set(xlabel="environment steps", ylabel="reward a step")
        axes.set_xlim(0, study.rows[0].env_steps)
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
    """What is tuned, and the reward, around changes of signs; None if there are too few."""
    phase = study.phase
    tuned = [row for row in study.rows if row.value is None]
    groups = {name: [row for row in tuned if row.hyperparameter == name] for name in _QUANTITIES}
    groups = {name: rows for name, rows in groups.items() if rows}
    everything = [row for rows in groups.values() for row in rows]
    if not any(aligned(row.reward, row.length, phase).size for row in everything):
        return None
    width = 6.6 if len(groups) == 1 else 9.6
    figure = Figure(figsize=(width, 5.8), layout="constrained")
    grid = figure.subplots(2, len(groups), squeeze=False, sharex=True, sharey="row")
    middles = _middles(offset_edges(phase))
    for column, (name, rows) in enumerate(groups.items()):
        top, bottom = grid[:, column]
        fixed = best_fixed(study.rows, "fixed" if name == "entropy" else "q_fixed")
        for row in rows if fixed is None else [*rows, fixed]:
            _around(bottom, middles, aligned(row.reward, row.length, phase), row)
            if row.value is None:
                _around(top, middles, aligned(row.tuned[~row.diverged], row.length, phase), row)
            else:
                top.axhline(row.value, **(_style(row) | {"marker": ""}))
        _ceiling(bottom, study)
        top.set(ylabel=_QUANTITIES[name], ylim=(0, None))
        bottom.set(xlabel="environment steps after the rewards change sign")
        bottom.set_ylabel("reward a step")
        bottom.set_xlim(*offset_edges(phase)[[0, -1]])
        bottom.xaxis.set_major_formatter(EngFormatter(sep=""))
        for axes in (top, bottom):
            axes.axvline(0, color="0.4", lw=0.9)
            axes.tick_params(labelleft=True)
            _finish(axes)
        _legend_below(bottom)
    count = aligned(everything[0].reward, everything[0].length, phase).shape[1]
    figure.suptitle(
        f"means over {count} changes and {study.settings.seeds} seeds", fontsize="medium"
    )
    return figure


_QUANTITIES = {"entropy": "entropy weight", "epsilon": "exploration ε"}


def totals(study: Study) -> Figure:
    """Mean reward a step of every seed, their mean and interval, and what was published."""
    rows = study.rows[::-1]
    figure = Figure(figsize=(7.2, 1.5 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    published = study.settings.steps == STEPS
    for place, row in enumerate(rows):
        colour, values = _style(row)["color"], row.means
        spread = place + np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else [place]
        axes.plot(values, spread, "o", ms=4, color=colour, alpha=0.45, mew=0)
        mean = mean_interval(values)
        if mean.low is not None and mean.high is not None:
            axes.plot([mean.low, mean.high], [place] * 2, color=colour, lw=2.4)
        axes.plot(mean.value, place, "|", ms=13, mew=2.4, color=colour)
        if published:
            _published(axes, study.rows, row, place)
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
    if published:
        label = "published mean ± sd (Luketina et al. 2022, maybe another respawn rule)"
        marks.append(Line2D([], [], color="0.3", marker="D", mfc="none", lw=1, label=label))
    figure.legend(
        handles=[*marks, *handles],
        loc="outside lower center",
        ncols=3 if not published else 2,
        frameon=False,
        fontsize="small",
    )
    return figure


def _published(axes: Axes, rows: Sequence[Row], row: Row, place: float) -> None:
    number = PUBLISHED.get(row.method)
    if number is None or (row.value is not None and row is not best_fixed(rows, row.family)):
        return  # of a fixed method the best value was published
    scale = 1e6 / STEPS
    axes.errorbar(
        number.mean * scale,
        place - 0.3,
        xerr=number.sd * scale,
        fmt="D",
        color="0.3",
        mfc="none",
        ms=5,
        lw=1,
    )


def _panels(rows: Sequence[Row]) -> dict[str, list[Row]]:
    if len(rows) <= _MOST_LINES:
        return {"": list(rows)}
    panels = {title: [row for row in rows if row.family in f] for title, f in _PANELS.items()}
    return {title: inside for title, inside in panels.items() if inside}


def _curve(axes: Axes, study: Study, row: Row) -> None:
    edges = curve_edges(row.env_steps, study.phase)
    _line(axes, _middles(edges), means(row.reward, row.length, edges), row)


def _around(axes: Axes, x: np.ndarray, around: np.ndarray, row: Row) -> None:
    """Means over changes and seeds of [N, changes, E]."""
    if around.size:
        _line(axes, x, around.mean(1), row)


def _line(axes: Axes, x: np.ndarray, seeds: np.ndarray, row: Row) -> None:
    """A mean with the band of its interval, of seeds [N, len(x)]."""
    style = _style(row)
    # Markers start at different places, so that lines on top of each other can be seen.
    first = 0.03 * _MARKERS.find(style["marker"]) if style["marker"] else 0
    axes.plot(x, seeds.mean(0), label=row.label, markevery=(first, 0.18), **style)
    if len(seeds) > 1:
        fill = {"color": style["color"], "alpha": 0.15, "lw": 0}
        axes.fill_between(x, *band(seeds), **fill)


def _style(row: Row) -> dict[str, Any]:
    if row.value is None:
        look = {"color": _COLOURS[row.family], "ls": _DASHES[row.context], "marker": ""}
        return look | {"lw": 1.6, "ms": 4.0}
    rank = int(np.searchsorted(_VALUES, row.value - 1e-9))
    grey = f"{max(0.1, 0.7 - 0.12 * rank):.2f}"
    return {
        "color": grey,
        "ls": "-",
        "marker": _MARKERS[rank % len(_MARKERS)],
        "mfc": grey if row.family == "fixed" else "white",
        "lw": 1.1,
        "ms": 4.0,
    }


def _changes(axes: Axes, study: Study) -> None:
    changes = np.arange(study.phase, study.rows[0].env_steps, study.phase)
    if 0 < len(changes) <= _MOST_CHANGES:
        for change in changes:
            axes.axvline(float(change), color="0.8", lw=0.7, zorder=0)
        axes.plot([], [], color="0.8", lw=0.9, label="rewards change sign")


def _ceiling(axes: Axes, study: Study, vertical: bool = False) -> None:
    line = axes.axvline if vertical else axes.axhline
    label = f"ceiling {study.ceiling:.3f} (signs known)"
    line(study.ceiling, color=_CEILING, ls="--", lw=1.3, label=label)


def _middles(edges: np.ndarray) -> np.ndarray:
    return (edges[1:] + edges[:-1]) / 2


def _title(study: Study) -> str:
    settings = study.settings
    return f"Two Colors, {settings.steps:,} steps, {settings.seeds} seeds"


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
