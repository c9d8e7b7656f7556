"""Parts of a report as data: plain text and figures, which templates make HTML of and escape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from selftuning.studies.report.style import Look

Methods = Mapping[str, Mapping[str, Any]]  # "methods" of summary.json, by name


class Cell(NamedTuple):
    """What stands in a table.

    Attributes:
      text: of it.
      value: by which it is sorted; None if it comes last.
      more: a second line, smaller.
      kind: class of its HTML.
      strength: of its colour, in per cent.
    """

    text: str
    value: float | str | None = None
    more: str = ""
    kind: str = ""
    strength: int = 0


class Column(NamedTuple):
    """The head of a column by which rows can be sorted.

    Attributes:
      text: name of it.
      down: whether the first click puts the largest value first, where large ones are the best.
    """

    text: str
    down: bool = True


class Table(NamedTuple):
    """A table, of whose rows the first cell is the header.

    Attributes:
      caption: what it has, for those who do not see it.
      head: columns, or their names.
      rows: cells or their text.
      kind: "sortable" by buttons in its head, or "matrix" with a corner that explains it.
    """

    caption: str
    head: Sequence[Column | str]
    rows: Sequence[Sequence[Cell | str]]
    kind: str = ""


class Chart(NamedTuple):
    """One drawing.

    Attributes:
      figure: what Plotly draws.
      words: what it shows, in words and numbers.
      height: in pixels.
      title: above it, if it is one of several.
    """

    figure: go.Figure
    words: str
    height: int
    title: str = ""


class Key(NamedTuple):
    """An entry of a legend.

    Attributes:
      label: in words.
      look: how it is drawn.
      group: `legendgroup` of the traces that it shows and hides, "" for an entry that does not.
      line: whether it is drawn as a line.
      point: whether it is drawn as a point.
    """

    label: str
    look: Look
    group: str = ""
    line: bool = True
    point: bool = False


class Bar(NamedTuple):
    """The legend of a scale of colours.

    Attributes:
      label: of what.
      colours: from the lowest to the highest.
      ends: numbers there, as text.
    """

    label: str
    colours: Sequence[str]
    ends: tuple[str, str]


class Picture(NamedTuple):
    """A figure of the page.

    Attributes:
      about: what it is of, to go on from "Numbers of".
      charts: one, or several beside each other.
      caption: how to read it.
      numbers: the same as a table.
      findings: what there is to see, a sentence each.
      heading: above it, if its section has several.
      legend: of its charts, if the section has none for all.
      bar: likewise, where colours are a scale.
    """

    about: str
    charts: Sequence[Chart]
    caption: str
    numbers: Table
    findings: Sequence[str] = ()
    heading: str = ""
    legend: Sequence[Key] = ()
    bar: Bar | None = None


class Section(NamedTuple):
    """A part of the page under a heading.

    Attributes:
      name: for links to it.
      title: heading.
      text: paragraphs before the pictures.
      legend: of all its pictures.
      pictures: in order.
      table: behind them.
      origin: how the study was made, for `origin.html`.
      inside: whether it is a part of one before it, and not in the contents.
    """

    name: str
    title: str
    text: Sequence[str] = ()
    legend: Sequence[Key] = ()
    pictures: Sequence[Picture] = ()
    table: Table | None = None
    origin: Mapping[str, Any] | None = None
    inside: bool = False


class Running(NamedTuple):
    """How far a method of a study is that runs: runs that have ended, all of them, and its share.

    Attributes:
      label: of the method.
      done: runs that have ended.
      runs: all of them.
      share: of their steps that are made, between 0 and 1.
    """

    label: str
    done: int
    runs: int
    share: float


class Progress(NamedTuple):
    """How far a study is that runs.

    Attributes:
      methods: in order.
      drawn: when the page was, in seconds since 1970.
      every: seconds after which it is worth looking again.
    """

    methods: Sequence[Running]
    drawn: float
    every: float

    @property
    def done(self) -> int:
        """Runs that have ended."""
        return sum(one.done for one in self.methods)

    @property
    def runs(self) -> int:
        """All runs."""
        return sum(one.runs for one in self.methods)
