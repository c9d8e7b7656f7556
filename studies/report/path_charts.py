"""Charts of the paths of a hyperparameter: a line for each seed, their means, and the starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from selftuning.configs.hyperparameters import Hyperparameter
from selftuning.configs.studies import Start
from selftuning.studies.contestants import Contestant, in_words
from selftuning.studies.report.parts import Chart
from selftuning.studies.report.scales import Scale, value_said
from selftuning.studies.report.style import (
    MUTED,
    SINGLE,
    Look,
    figure,
    scatter,
    steps_axis,
    wrapped,
)

OUTER = Look(MUTED, "#9da7b3", "2px,3px", "circle")
_HEIGHT = 250
_MOST_LINES = 100  # thin ones in a chart
_MARKS, _MARK = 4, 8  # symbols along a mean, and their size
_PLAIN = {"line": {"width": 0}, "opacity": 1}  # what Plotly changes where sizes differ
_SIDE, _MOST_SIDE = 0.045, 0.25  # of the axis: between starts of one value, and of all of them
_ANY = "chosen by the search"


class Panel(NamedTuple):
    """What a chart shows: a hyperparameter of a contestant.

    Attributes:
      one: the contestant.
      name: of the hyperparameter.
      label: of it, in words.
      spec: of the hyperparameter, as the contestant has it.
      scale: on which it is tuned.
      steps: at each point [P], the start included if there is one.
      values: at each [N_s, P], for each start.
    """

    one: Contestant
    name: str
    label: str
    spec: Hyperparameter
    scale: Scale
    steps: np.ndarray
    values: list[np.ndarray]

    @property
    def means(self) -> list[np.ndarray]:
        """Over the seeds of each start [P]."""
        return [_mean(values) for values in self.values]


def start_name(one: Contestant, start: Start) -> str:
    """A start in words, by which its traces are told from others; "" if it names nothing."""
    return in_words(start) if not one.searched else _ANY


def seeds(one: Contestant) -> int:
    """Of each start, at most."""
    return max(len(runs) for runs in one.curves)


def drawn_seeds(one: Contestant) -> int:
    """Seeds of each start that have a line of their own."""
    return min(seeds(one), max(1, _MOST_LINES // len(one.starts)))


def chart(panel: Panel, axis: Mapping[str, Any], looks: Mapping[str, Look]) -> Chart:
    """A chart of one hyperparameter of one contestant.

    Args:
      panel: what it shows.
      axis: of its values, as `Scale.axis` has it.
      looks: of starts, by `start_name`.
    """
    one, last = panel.one, int(panel.steps[-1])
    traces = []
    if panel.spec.outer is not None:
        outer = float(panel.scale.forward(np.array(panel.spec.outer)))
        if np.isfinite(outer):
            traces.append(scatter([-last, 2 * last], [outer] * 2, OUTER, width=1.5))
    groups = [start_name(one, start) for start in one.starts]
    parts = list(zip(groups, panel.values, panel.means, strict=True))
    for group, values, _ in parts if seeds(one) > 1 else ():
        traces.append(_thin(panel, values[: drawn_seeds(one)], group, looks[group]))
    for number, (group, _, mean) in enumerate(parts):
        sizes = _marks(len(mean), (number + 1) / (len(parts) + 1))
        traces.append(_thick(panel, mean, group, looks[group], sizes))
    starts, before = ([], 0.0) if panel.one.searched else _starts(panel, looks)
    across = steps_axis(last, before, nticks=5)
    drawn = figure([*traces, *starts], across, {"title": panel.label, **axis}, hovermode="closest")
    ends = [f"{_start_said(x, panel)} at {value_said(panel.scale, m[-1])}" for x, _, m in parts]
    words = (
        f"Lines of the {panel.label} over environment steps under {one.label}. Ends: "
        + "; ".join(ends)
    )
    return Chart(drawn, f"{words}.", _HEIGHT, one.label)


def _start_said(group: str, panel: Panel) -> str:
    return (
        "the search" if panel.one.searched else f"the start {group}" if group else "the only start"
    )


def _thin(panel: Panel, values: np.ndarray, group: str, look: Look) -> Any:
    """The seeds of a start as one trace, with gaps between them."""
    return scatter(
        [x for _ in values for x in (*panel.steps.tolist(), None)],
        [y for line in panel.scale.forward(values) for y in (*line.tolist(), None)],
        look,
        width=1,
        opacity=SINGLE,
        connectgaps=False,
        legendgroup=group,
    )


def _marks(points: int, offset: float) -> list[int]:
    """Sizes of the symbols along a line [P], 0 for most; another line has another offset."""
    places = (np.arange(_MARKS) + offset) / _MARKS * (points - 1)
    chosen = set(places.round().astype(int).clip(1).tolist())
    return [_MARK if point in chosen else 0 for point in range(points)]


def _thick(panel: Panel, mean: np.ndarray, group: str, look: Look, sizes: Sequence[int]) -> Any:
    """The mean of a start."""
    return scatter(
        panel.steps,
        panel.scale.forward(mean),
        look,
        width=2.4,
        size=sizes,
        marker=_PLAIN,
        tip="%{customdata}<br>after %{x:,} steps<br>%{meta}",
        customdata=[_valued(panel, value) for value in mean],
        meta=wrapped(group or "the only start"),
        legendgroup=group,
    )


def _starts(panel: Panel, looks: Mapping[str, Look]) -> tuple[list[Any], float]:
    """Symbols of the starts left of 0, those of one value side by side, and the room they take."""
    groups = [start_name(panel.one, start) for start in panel.one.starts]
    begins = [float(values[0, 0]) for values in panel.values]
    if len(set(begins)) == 1:  # that of each would be one heap
        only = groups[0] if len(groups) == 1 else ""
        look = looks.get(only, OUTER)
        name = "all starts" if len(groups) > 1 else only or "the only start"
        return [_symbol(panel, begins[0], -_SIDE / 2, look, only, name)], _SIDE
    most = max(begins.count(value) for value in begins)
    side = min(_SIDE, _MOST_SIDE / most)
    traces = []
    for number, (group, value) in enumerate(zip(groups, begins, strict=True)):
        place = -side * (begins[:number].count(value) + 0.5)
        traces.append(_symbol(panel, value, place, looks[group], group, group))
    return traces, side * most


def _symbol(panel: Panel, value: float, place: float, look: Look, group: str, name: str) -> Any:
    """Where a start is, at a part of the last step."""
    return scatter(
        [place * float(panel.steps[-1])],
        [float(panel.scale.forward(np.array(value)))],
        look,
        size=9,
        tip="starts at %{customdata}<br>%{meta}",
        customdata=[_valued(panel, value)],
        meta=wrapped(name),
        legendgroup=group,
    )


def _valued(panel: Panel, value: float) -> str:
    """A value under its label, for the mouse."""
    return f"{wrapped(panel.label)} <b>{value_said(panel.scale, value)}</b>"


def _mean(values: np.ndarray) -> np.ndarray:
    """Over seeds, of those that are known [P]."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(0)
    return np.where(known.any(0), total / known.sum(0).clip(1), np.nan)
