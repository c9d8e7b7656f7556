"""How every run ended: a point each, and the seeds that are far from the others by name."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from selftuning.studies.contestants import Contestant, in_words
from selftuning.studies.intervals import number
from selftuning.studies.outcome import Outcome
from selftuning.studies.report.parts import Chart, Picture, Section, Table
from selftuning.studies.report.style import (
    INK,
    SINGLE,
    Look,
    Looks,
    figure,
    scatter,
    score_axis,
    shortened,
    text,
    wrapped,
)
from selftuning.studies.single_runs import DEVIATIONS, PART, Apart, apart

_HEIGHT = 380
_WIDTH = 0.8  # of the place of a contestant, over which its starts stand
_MOST_NAMED = 12  # runs that are named one by one
_LETTERS = 16  # of a line of a contestant's name under its points


def section(outcome: Outcome, looks: Looks) -> Section:
    """A chart of all single runs, with those that stand apart.

    Args:
      outcome: of which they are.
      looks: of contestants.
    """
    methods = [one for one in outcome.contestants if not one.chosen]
    off = apart(outcome)
    rule = (
        "Named are runs that end further from the median of their start than "
        f"{DEVIATIONS:g} robust standard deviations of it and than {PART:.0%} of the range of all "
        "scores."
    )
    picture = Picture(
        "single runs",
        [Chart(_chart(outcome, methods, looks, off), _words(outcome, methods, off), _HEIGHT)],
        f"Each point is the {outcome.score} of one run in its last tenth. The columns of a "
        "contestant are its starts, in the order of the table below; a line is the mean of one. "
        f"{rule}",
        _numbers(methods),
        _findings(methods, off),
    )
    return Section("runs", "Single runs", pictures=[picture])


def _chart(
    outcome: Outcome, methods: Sequence[Contestant], looks: Looks, off: Sequence[Apart]
) -> Any:
    traces: list[Any] = []
    for place, one in enumerate(methods):
        traces += [_points(one, place, looks[one.name]), _means(one, place, looks[one.name])]
    ticks = ["<br>".join(_lines(one.label)) for one in methods]
    return figure(
        traces,
        {"title": "", "range": [-0.5, len(methods) - 0.5], "showgrid": False, "ticks": ""}
        | {"tickvals": list(range(len(methods))), "ticktext": ticks},
        score_axis(
            f"{outcome.score} in the last tenth",
            [float(score) for one in methods for runs in one.last for score in runs],
        ),
        hovermode="closest",
        annotations=[_name(run, methods) for run in off[:_MOST_NAMED]],
    )


def _lines(label: str) -> list[str]:
    """A label in two short lines at most."""
    lines = textwrap.wrap(label, _LETTERS)
    rest = " ".join(lines[1:])
    return [text(line) for line in (*lines[:1], shortened(rest, _LETTERS)) if line]


def _column(one: Contestant, start: int, place: int) -> tuple[float, float]:
    """Middle of the column of a start, and half of its width, of the contestant at a place."""
    count = len(one.starts)
    return place + _WIDTH * ((start + 0.5) / count - 0.5), 0.35 * _WIDTH / count


def _place(one: Contestant, start: int, seed: int, place: int) -> float:
    """Where a run stands: seeds of a start are side by side, in order."""
    seeds = one.seeds[start].tolist()
    middle, half = _column(one, start, place)
    return middle + half * (2 * (seeds.index(seed) + 0.5) / len(seeds) - 1)


def _points(one: Contestant, place: int, look: Look) -> Any:
    runs = [
        (start, int(seed), float(score))
        for start, (seeds, scores) in enumerate(zip(one.seeds, one.last, strict=True))
        for seed, score in zip(seeds, scores, strict=True)
    ]
    return scatter(
        [_place(one, start, seed, place) for start, seed, _ in runs],
        [score for *_, score in runs],
        look,
        size=6,
        opacity=1 - SINGLE / 2,
        tip="%{meta}<br>%{customdata}",
        meta=wrapped(one.label),
        customdata=[
            f"{wrapped(_start(one, start))} seed {seed}: <b>{number(score)}</b>"
            for start, seed, score in runs
        ],
        legendgroup=one.name,
    )


def _start(one: Contestant, start: int) -> str:
    words = in_words(one.starts[start])
    return f"from {words}, " if words else ""


def _means(one: Contestant, place: int, look: Look) -> Any:
    """Short lines at the mean of each start."""
    columns = [_column(one, start, place) for start in range(len(one.starts))]
    x = [part for middle, half in columns for part in (middle - half, middle + half, None)]
    y = [part for runs in one.last for part in (*[float(runs.mean())] * 2, None)]
    solid = look._replace(dash="solid")
    return scatter(x, y, solid, width=1.5, connectgaps=False, legendgroup=one.name)


def _name(run: Apart, methods: Sequence[Contestant]) -> dict[str, Any]:
    """The seed beside its point."""
    place = next(n for n, one in enumerate(methods) if one.name == run.method)
    return {
        "x": _place(methods[place], run.start, run.seed, place),
        "y": run.score,
        "text": f"seed {run.seed}",
        "showarrow": False,
        "yshift": -12 if run.score < run.median else 12,
        "font": {"size": 11, "color": INK},
        "captureevents": False,
    }


def _findings(methods: Sequence[Contestant], off: Sequence[Apart]) -> list[str]:
    if not off:
        return ["No run ends far from the others of its start."]
    by_name: Mapping[str, Contestant] = {one.name: one for one in methods}
    said = [_said(by_name[run.method], run) for run in off[:_MOST_NAMED]]
    if len(off) > len(said):
        said.append(f"So do {len(off) - len(said)} more.")
    return said


def _said(one: Contestant, run: Apart) -> str:
    return (
        f"{one.label}: {_start(one, run.start)}seed {run.seed} ends at {number(run.score)}, while "
        f"the mean of its start is {number(run.mean)} and the median {number(run.median)}."
    )


def _words(outcome: Outcome, methods: Sequence[Contestant], off: Sequence[Apart]) -> str:
    runs = sum(one.runs for one in methods)
    ends = [
        f"{one.label} from {number(float(min(x.min() for x in one.last)))} to "
        f"{number(float(max(x.max() for x in one.last)))}"
        for one in methods
    ]
    return (
        f"Points of the {outcome.score} of {runs} runs in the last tenth: {'; '.join(ends)}. "
        f"{len(off)} of them end far from the others of their start."
    )


def _numbers(methods: Sequence[Contestant]) -> Table:
    seeds = sorted({int(seed) for one in methods for part in one.seeds for seed in part})
    rows = []
    for one in methods:
        for start, there, scores in zip(one.starts, one.seeds, one.last, strict=True):
            ends = dict(zip(there.tolist(), scores.tolist(), strict=True))
            known = [number(ends[seed]) if seed in ends else "-" for seed in seeds]
            rows.append([one.label, in_words(start) or "the only start", *known])
    caption = "Score of each run in its last tenth, by start and seed"
    return Table(caption, ["method", "start", *(f"seed {seed}" for seed in seeds)], rows)
