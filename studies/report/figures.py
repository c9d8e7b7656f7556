"""Lines of a report, a contestant each: learning curves and performance profiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from selftuning.studies import statistics
from selftuning.studies.contestants import Contestant, curve_of
from selftuning.studies.intervals import Interval, listed, mean_curve, number, said
from selftuning.studies.outcome import Outcome
from selftuning.studies.report.parts import Chart, Key, Picture, Table
from selftuning.studies.report.style import (
    BAND,
    MUTED,
    Look,
    Looks,
    figure,
    is_cut,
    scatter,
    score_axis,
    steps_axis,
    text,
    wrapped,
)
from selftuning.studies.statistics import Estimate

TARGET = Look(MUTED, "#9da7b3", "7px,5px", "circle")
_HEIGHT = 420
_THRESHOLDS = 50
_MARKS = 7  # symbols along a line
_ROWS = 10  # of the tables of numbers
_RISE = 0.1  # of a run, in which agents leave where they begin
_FLAT = 1 / 3  # of the axis, on which all the rest of the lines would stand
_BEGIN = (
    "The axis leaves out how lines begin, the lowest at {}, as they would be hard to tell apart "
    "where they end. "
)
_RESAMPLES = statistics.RESAMPLES // 10  # at each point of a line


class Line(NamedTuple):
    """A contestant's line: x [P], value [P], and the ends of its intervals [P] if there are any."""

    one: Contestant
    x: np.ndarray
    value: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def at(self, x: float) -> str:
        """What the line has there, or had at the point before, as text; "-" beyond its end."""
        if x > self.x[-1] + 0.01 * abs(self.x[-1]):
            return "-"
        place = max(0, int(np.searchsorted(self.x, x, "right")) - 1)
        return self.said(place)

    def said(self, place: int) -> str:
        """One of its points as text."""
        low, high = (None if x is None else float(x[place]) for x in (self.low, self.high))
        return said(Interval(float(self.value[place]), low, high))


def learning_curves(outcome: Outcome, looks: Looks) -> Picture:
    """Score over environment steps: means over starts and seeds, with their intervals."""
    lines = [_curve(one) for one in outcome.contestants]
    last = max(float(line.x[-1]) for line in lines)
    what, form, hover = _passed(outcome)
    axis, cut = _axis(f"{outcome.score} (mean)", lines, last)
    goal = f"target {number(outcome.target)}"
    if is_cut(axis, [outcome.target]):
        goal += ", off the axis"
    chart = figure(
        [_goal([0, 2 * last], [outcome.target] * 2), *_traces(lines, looks)],
        steps_axis(last, title=what, unifiedhovertitle={"text": f"after {hover}"}),
        axis,
        hovermode="x unified",
    )
    ends = [f"{line.one.label} at {line.said(-1)}" for line in lines]
    words = (
        f"Lines of the mean {outcome.score} over {what}, for "
        f"{len(lines)} contestants. They end with {listed(ends)}. The target is "
        f"{number(outcome.target)}."
    )
    bands = ", with its 95% interval as a band" if any(_banded(x) for x in lines) else ""
    return Picture(
        "the learning curves",
        [Chart(chart, words, _HEIGHT)],
        "Each line is the mean over starts and seeds of a contestant"
        f"{bands}. "
        f"The dashed line is the target, {number(outcome.target)}: {outcome.target_is}. {cut}"
        "Higher is better, and so is earlier. A search counts the steps of all its members.",
        _numbers(
            f"Mean {outcome.score}, with its 95% interval, by {what}",
            what,
            lines,
            np.linspace(0, last, _ROWS + 1)[1:],
            form,
        ),
        legend=[*_keys(outcome, looks), Key(goal, TARGET)],
    )


def _passed(outcome: Outcome) -> tuple[str, Callable[[float], str], str]:
    """How far runs are: what their axis is called, a place on it as text, and for the mouse."""
    if outcome.tasks:
        return "per cent of a run", "{:.0f}%".format, "%{x:.0f}% of a run"
    return "environment steps", "{:,.0f}".format, "%{x:,} environment steps"


def profiles(outcome: Outcome, looks: Looks) -> Picture:
    """Which part of a contestant's runs ends above each score."""
    scores = np.concatenate([run for one in outcome.contestants for run in one.last])
    low, high = float(scores.min()), float(scores.max())
    room = 0.02 * (high - low) or max(0.5, abs(high) / 100)
    thresholds = np.linspace(low - room, high + room / 2, _THRESHOLDS)
    lines = [_profile(one, thresholds) for one in outcome.contestants]
    title = f"{outcome.score} τ in the last tenth"
    chart = figure(
        [_goal([outcome.target] * 2, [-1, 2]), *_traces(lines, looks)],
        {"title": title, "range": [thresholds[0], thresholds[-1]], "separatethousands": True}
        | {"unifiedhovertitle": {"text": f"runs that end above a {outcome.score} of %{{x:.4~g}}"}},
        {"title": "share of runs above τ", "range": [-0.02, 1.03], "tickformat": ".0%"},
        hovermode="x unified",
    )
    goal = f"target {number(outcome.target)}"
    if not thresholds[0] <= outcome.target <= thresholds[-1]:
        goal += ", off the axis"
    above = [f"{line.one.label} {_share_above(line.one, outcome.target):.0%}" for line in lines]
    words = (
        f"Lines of the share of runs that end above each {outcome.score}, for {len(lines)} "
        f"contestants. At or above the target of {number(outcome.target)} end: {listed(above)}."
    )
    return Picture(
        "the performance profiles",
        [Chart(chart, words, _HEIGHT)],
        "For every score, the share of runs that end above it, as a mean over starts. A line "
        "that is higher everywhere is better everywhere. A line that falls late and steeply shows "
        "runs that all end well and alike.",
        _numbers(
            f"Share of runs whose {outcome.score} in the last tenth is above a threshold",
            f"{outcome.score} above",
            lines,
            np.linspace(low, high, _ROWS + 1)[:-1],
            number,
        ),
        (f"At or above the target of {number(outcome.target)} end: {'; '.join(above)} of runs.",),
        legend=[*_keys(outcome, looks), Key(goal, TARGET)],
    )


def _keys(outcome: Outcome, looks: Looks) -> list[Key]:
    return [Key(one.label, looks[one.name], one.name, point=True) for one in outcome.contestants]


def _curve(one: Contestant) -> Line:
    steps, curves = curve_of(one)
    return Line(one, steps, *mean_curve(one, curves))


def _profile(one: Contestant, thresholds: np.ndarray) -> Line:
    if min(len(runs) for runs in one.last) < 2:
        above = [(runs[:, None] > thresholds).mean(0) for runs in one.last]
        return Line(one, thresholds, np.mean(above, 0))
    found: Estimate = statistics.performance_profile(one.last, thresholds, _RESAMPLES // 2)
    return Line(one, thresholds, *found)


def _share_above(one: Contestant, target: float) -> float:
    return float(np.mean([(runs >= target).mean() for runs in one.last]))


def _axis(title: str, lines: Sequence[Line], last: float) -> tuple[dict[str, Any], str]:
    """The axis of scores, and what it leaves out in words.

    It shows all lines, unless their first rise would press the rest flat.
    """
    values, later = (_known(lines, lambda x: (x.value,), after) for after in (0.0, _RISE * last))
    flat = later and np.ptp(later) < _FLAT * np.ptp(values)
    bands = _known(lines, lambda x: (x.low, x.high), _RISE * last if flat else 0.0)
    axis = score_axis(title, later if flat else values, bands)
    said = _BEGIN.format(number(min(values))) if flat else ""
    return axis, said + ("Bands that go beyond the axis are cut. " if is_cut(axis, bands) else "")


def _known(
    lines: Sequence[Line], parts: Callable[[Line], Sequence[np.ndarray | None]], after: float
) -> list[float]:
    """Finite values of parts of lines beyond some x."""
    return [
        float(y)
        for line in lines
        for part in parts(line)
        if part is not None
        for y in part[np.isfinite(part) & (line.x > after)]
    ]


def _goal(x: Sequence[float], y: Sequence[float]) -> Any:
    """The line of the target, from one end of the axes to the other."""
    return scatter(x, y, TARGET, width=1.5)


def _banded(line: Line) -> bool:
    return line.low is not None


def _traces(lines: Sequence[Line], looks: Looks) -> list[Any]:
    """Bands behind lines; what belongs to a contestant has its name as `legendgroup`."""
    bands = [_band(line, looks[line.one.name]) for line in lines if _banded(line)]
    return [*bands, *(_line(line, looks[line.one.name]) for line in lines)]


def _band(line: Line, look: Look) -> Any:
    assert line.low is not None
    assert line.high is not None
    known = np.isfinite(line.low + line.high)
    x, low, high = (part[known] for part in (line.x, line.low, line.high))
    return go.Scatter(
        x=[*x.tolist(), *x[::-1].tolist()],
        y=[*low.tolist(), *high[::-1].tolist()],
        fill="toself",
        fillcolor=look.colour,
        opacity=BAND,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        legendgroup=line.one.name,
    )


def _line(line: Line, look: Look) -> Any:
    return scatter(
        line.x,
        line.value,
        look,
        width=2.2,
        size=8,
        marker={"maxdisplayed": _MARKS},
        tip="%{meta}: <b>%{customdata}</b>",
        name=text(line.one.label),
        meta=wrapped(line.one.label),
        customdata=[line.said(place) for place in range(len(line.x))],
        legendgroup=line.one.name,
    )


def _numbers(
    caption: str,
    what: str,
    lines: Sequence[Line],
    places: np.ndarray,
    form: Callable[[float], str],
) -> Table:
    rows = [[form(float(x)), *(line.at(x) for line in lines)] for x in places]
    return Table(caption, [what, *(line.one.label for line in lines)], rows)
