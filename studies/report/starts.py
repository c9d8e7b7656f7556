"""The score at the end against the start: the picture of how sensitive a method is to it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from selftuning.studies.contestants import Contestant, in_words
from selftuning.studies.intervals import alone, number, said
from selftuning.studies.outcome import Outcome
from selftuning.studies.report.parts import Bar, Chart, Key, Methods, Picture, Section, Table
from selftuning.studies.report.style import (
    HEAT,
    SINGLE,
    Look,
    Looks,
    figure,
    heat_colours,
    is_cut,
    on_heat,
    scatter,
    score_axis,
    shortened,
    text,
    wrapped,
)

_ROW, _AROUND = 46, 76  # pixels: height of a row of cells, and of all that is around them
_FEWEST_ROWS = 3  # that an axis with its title needs room for
_HEIGHT = 400
_MOST_RUNS = 10  # that are listed in a hover label
_SPREAD = 0.5  # of the distance between two values, over which contestants stand
_GAP = 2  # pixels between cells
_LETTERS, _SMALL = 13, 10  # pixels, in cells and where there are many of these beside each other
_MANY = 5
_LONGEST_NAME = 20  # letters beside a map


def section(outcome: Outcome, methods: Methods, looks: Looks) -> Section:
    """Everything about starts: a picture for each set of names in which those of a method differ.

    Args:
      outcome: of which it is.
      methods: as in summary.json.
      looks: of contestants.
    """
    title = "Sensitivity to the start"
    groups: dict[tuple[str, ...], list[Contestant]] = {}
    for one in outcome.contestants:
        if names := varied(one):
            groups.setdefault(names, []).append(one)
    if not groups:
        why = (
            "Every method had a single start, so there is nothing to compare. "
            "Ask for more with --start NAME=VALUE,VALUE."
        )
        return Section("starts", title, [why])
    alone = [one for one in outcome.contestants if not varied(one)]
    pictures = [
        _points(outcome, methods, looks, names[0], group, alone)
        if len(names) == 1
        else _heat_maps(outcome, methods, names, group, alone)
        for names, group in groups.items()
    ]
    return Section("starts", title, pictures=pictures)


def varied(one: Contestant) -> tuple[str, ...]:
    """Hyperparameters in which the starts of a contestant differ."""
    names = one.starts[0]
    return tuple(name for name in names if len({start[name] for start in one.starts}) > 1)


def _heat_maps(
    outcome: Outcome,
    methods: Methods,
    names: Sequence[str],
    group: Sequence[Contestant],
    alone: Sequence[Contestant],
) -> Picture:
    """The first name across, the second upwards; further ones make more rows."""
    means = [_mean(start) for one in group for start in methods[one.name]["by_start"]]
    ends = (min(means), max(means))
    charts = [_heat_map(outcome, methods[one.name], names, ends) for one in group]
    bar = Bar(
        f"mean {outcome.score} in the last tenth",
        heat_colours(9),
        (number(ends[0]), number(ends[1])),
    )
    others = [f"{x.label} {_overall(methods[x.name])}" for x in alone]
    single = f" Methods with a single start have no map: {'; '.join(others)}." if others else ""
    return Picture(
        f"{outcome.score} against start",
        charts,
        f"Each cell is the mean {outcome.score} over the seeds of a start, in the last tenth of "
        "their runs. Colours mean the same in all maps. If a map has one colour, the start does "
        f"not matter to that method.{single}",
        _numbers(outcome, methods, group),
        [_finding(methods[one.name]) for one in group],
        bar=bar,
    )


def _heat_map(
    outcome: Outcome, method: Mapping[str, Any], names: Sequence[str], ends: tuple[float, float]
) -> Chart:
    starts = {tuple(start["start"][n] for n in names): start for start in method["by_start"]}
    across, *rest = [sorted({values[axis] for values in starts}) for axis in range(len(names))]
    # The last name moves slowest, so that rows that differ in the second stand together.
    rows = [tuple(reversed(row)) for row in itertools.product(*reversed(rest))]
    grid = [[starts.get((x, *row)) for x in across] for row in rows]
    low, high = ends if ends[1] > ends[0] else (ends[0] - 0.5, ends[1] + 0.5)
    trace = go.Heatmap(
        z=[[_mean(cell) if cell else None for cell in row] for row in grid],
        x=[f"{x:g}" for x in across],
        y=[_row_label(names[1:], row) for row in rows],
        customdata=[[_hover(outcome, cell) if cell else "" for cell in row] for row in grid],
        hovertemplate="%{customdata}<extra></extra>",
        colorscale=HEAT,
        zmin=low,
        zmax=high,
        showscale=False,
        xgap=_GAP,
        ygap=_GAP,
    )
    plain: dict[str, Any] = {"type": "category", "showgrid": False, "nticks": 0}
    title = f"start of {names[1]}" if len(names) == 2 else "start"
    height = _AROUND + _ROW * max(len(rows), _FEWEST_ROWS)
    chart = figure(
        [trace],
        {"title": f"start of {names[0]}", **plain},
        {"title": title, **plain},
        hovermode="closest",
        annotations=_written(grid, (low, high)),
    )
    cells = "; ".join(f"{in_words(s['start'])}: {_said(s)}" for s in method["by_start"])
    words = f"Heat map of the mean {outcome.score} in the last tenth of {method['label']}: {cells}."
    return Chart(chart, words, height, method["label"])


def _written(
    grid: Sequence[Sequence[Mapping[str, Any] | None]], ends: tuple[float, float]
) -> list[dict[str, Any]]:
    """The number of each cell, black or white so that it can be read on the cell's colour."""
    size = _LETTERS if len(grid[0]) <= _MANY else _SMALL
    common = {"showarrow": False, "captureevents": False}
    return [
        common
        | {"x": across, "y": up, "text": alone(cell["last_tenth"])}
        | {"font": {"size": size, "color": on_heat((_mean(cell) - ends[0]) / (ends[1] - ends[0]))}}
        for up, row in enumerate(grid)
        for across, cell in enumerate(row)
        if cell
    ]


def _row_label(names: Sequence[str], row: Sequence[float]) -> str:
    if len(names) == 1:
        return f"{row[0]:g}"
    return "<br>".join(
        f"{text(shortened(name, _LONGEST_NAME))} {value:g}"
        for name, value in zip(names, row, strict=True)
    )


def _points(
    outcome: Outcome,
    methods: Methods,
    looks: Looks,
    name: str,
    group: Sequence[Contestant],
    alone: Sequence[Contestant],
) -> Picture:
    """Points with intervals over the values of one name, and lines of those with one start."""
    values = sorted({start[name] for one in group for start in one.starts})
    lines = [one for one in alone if not one.chosen]
    traces = [_level(methods[x.name], x.name, looks[x.name], len(values)) for x in lines]
    offsets = np.linspace(-_SPREAD / 2, _SPREAD / 2, len(group)) if len(group) > 1 else [0.0]
    for one, offset in zip(group, offsets, strict=True):
        places = [values.index(start[name]) + float(offset) for start in one.starts]
        traces += _series(outcome, methods[one.name], one.name, looks[one.name], places)
    axis, cut = _axis(outcome, methods, group, lines)
    chart = figure(
        traces,
        {"title": f"start of {name}", "range": [-0.5, len(values) - 0.5], "showgrid": False}
        | {"tickvals": list(range(len(values))), "ticktext": [f"{x:g}" for x in values]},
        axis,
        hovermode="closest",
    )
    points = [
        f"{one.label}: "
        + "; ".join(f"{in_words(x['start'])} {_said(x)}" for x in methods[one.name]["by_start"])
        for one in group
    ]
    words = f"Points of the mean {outcome.score} in the last tenth by the start of {name}. "
    level = " Horizontal lines are methods with a single start." if lines else ""
    return Picture(
        f"{outcome.score} against start",
        [Chart(chart, f"{words}{'. '.join(points)}.", _HEIGHT)],
        "Large points are means over the seeds of a start, in the last tenth of their runs, with "
        f"95% intervals{cut}. Small points are single runs.{level} If all points of a method are "
        "at one height, the start does not matter to it.",
        _numbers(outcome, methods, group),
        [_finding(methods[one.name]) for one in group],
        legend=[
            *(Key(one.label, looks[one.name], one.name, point=True) for one in group),
            *(Key(one.label, looks[one.name], one.name) for one in lines),
        ],
    )


def _axis(
    outcome: Outcome, methods: Methods, group: Sequence[Contestant], lines: Sequence[Contestant]
) -> tuple[dict[str, Any], str]:
    """Of the scores of starts and runs, and whether it cuts intervals, in words."""
    found = [start for one in group for start in methods[one.name]["by_start"]]
    values = [score for start in found for score in [*start["runs"], _mean(start)]]
    values += [methods[one.name]["last_tenth"]["mean"]["value"] for one in lines]
    ends = [start["last_tenth"][end] for start in found for end in ("low", "high")]
    known = [end for end in ends if end is not None]
    axis = score_axis(f"mean {outcome.score} in the last tenth", values, known)
    return axis, ", some of which go beyond the axis" if is_cut(axis, known) else ""


def _series(
    outcome: Outcome, method: Mapping[str, Any], name: str, look: Look, places: Sequence[float]
) -> list[Any]:
    starts = method["by_start"]
    runs = scatter(
        [place for place, start in zip(places, starts, strict=True) for _ in start["runs"]],
        [run for start in starts for run in start["runs"]],
        look,
        size=5,
        opacity=SINGLE,
        legendgroup=name,
    )
    found = [start["last_tenth"] for start in starts]
    bars: dict[str, Any] | None = None
    if all(x["low"] is not None for x in found):
        bars = {"thickness": 2, "width": 5, "color": look.colour, "type": "data"}
        bars |= {"symmetric": False, "array": [x["high"] - x["value"] for x in found]}
        bars |= {"arrayminus": [x["value"] - x["low"] for x in found]}
    means = scatter(
        places,
        [x["value"] for x in found],
        look,
        width=1.5,
        size=10,
        tip="%{meta}<br>%{customdata}",
        error_y=bars,
        meta=wrapped(method["label"]),
        customdata=[_hover(outcome, start) for start in starts],
        legendgroup=name,
    )
    return [runs, means] if any(len(start["runs"]) > 1 for start in starts) else [means]


def _level(method: Mapping[str, Any], name: str, look: Look, count: int) -> Any:
    """A line for a contestant with a single start."""
    x = np.linspace(-0.5, count - 0.5, 2 * count + 1)
    return scatter(
        x,
        [method["last_tenth"]["mean"]["value"]] * len(x),
        look,
        width=1.5,
        tip="%{meta}",
        meta=f"{wrapped(method['label'])}<br>mean {text(_overall(method))}",
        legendgroup=name,
    )


def _mean(start: Mapping[str, Any]) -> float:
    return start["last_tenth"]["value"]


def _said(start: Mapping[str, Any]) -> str:
    return said(start["last_tenth"])


def _overall(method: Mapping[str, Any]) -> str:
    return said(method["last_tenth"]["mean"])


def _hover(outcome: Outcome, start: Mapping[str, Any]) -> str:
    """What is known of a start: its mean, interval and single runs."""
    runs = [number(run) for run in start["runs"]]
    shown = ", ".join(runs[:_MOST_RUNS]) + (", ..." if len(runs) > _MOST_RUNS else "")
    return (
        f"{text(in_words(start['start']))}<br>mean {text(outcome.score)} <b>{_said(start)}</b>"
        f"<br>{'runs' if len(runs) > 1 else 'the only run'}: {wrapped(shown)}"
    )


def _finding(method: Mapping[str, Any]) -> str:
    """How far starts are apart in the end."""
    worst, best = method["worst_start"], method["best_start"]
    return (
        f"{method['label']}: from {_said(worst)} (started at {in_words(worst['start'])}) "
        f"to {_said(best)} (started at {in_words(best['start'])})."
    )


def _numbers(outcome: Outcome, methods: Methods, group: Sequence[Contestant]) -> Table:
    starts = dict.fromkeys(in_words(start) for one in group for start in one.starts)
    columns = [
        {in_words(start["start"]): _said(start) for start in methods[one.name]["by_start"]}
        for one in group
    ]
    rows = [[start, *(column.get(start, "-") for column in columns)] for start in starts]
    caption = f"Mean {outcome.score} in the last tenth, with its 95% interval, by start"
    return Table(caption, ["start", *(one.label for one in group)], rows)
