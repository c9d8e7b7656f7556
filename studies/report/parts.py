"""Parts of a report as data, and the HTML that becomes of them.

The data hold plain text, which is escaped here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go

from selftuning.studies.report.style import SYMBOLS, Look, data_of


class Cell(NamedTuple):
    """What stands in a table.

    Attributes:
      text: of it.
      value: by which it is sorted; None if it comes last.
      more: a second line, smaller.
      kind: class of its HTML.
    """

    text: str
    value: float | str | None = None
    more: str = ""
    kind: str = ""


class Table(NamedTuple):
    """A table, of whose rows the first cell is the header.

    Attributes:
      caption: what it has, for those who do not see it.
      head: names of the columns.
      rows: cells or their text.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]


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
    """

    about: str
    charts: Sequence[Chart]
    caption: str
    numbers: Table
    findings: Sequence[str] = ()
    heading: str = ""
    legend: Sequence[Key] | Bar = ()


class Section(NamedTuple):
    """A part of the page under a heading.

    Attributes:
      name: for links to it.
      title: heading.
      text: paragraphs before the pictures.
      legend: of all its pictures.
      pictures: in order.
      after: HTML behind them.
    """

    name: str
    title: str
    text: Sequence[str] = ()
    legend: Sequence[Key] = ()
    pictures: Sequence[Picture] = ()
    after: str = ""


def section_html(section: Section) -> str:
    """A section of the page."""
    name = escape(section.name)
    return "\n".join(
        [
            f'<section id="{name}" aria-labelledby="{name}-title">',
            f'<h2 id="{name}-title">{escape(section.title)}</h2>',
            paragraphs(section.text),
            _legend(section.legend),
            *(picture_html(picture) for picture in section.pictures),
            section.after,
            "</section>",
        ]
    )


def picture_html(picture: Picture) -> str:
    """A figure with its charts, how to read it, what is found, and the numbers."""
    heading = f"<h3>{escape(picture.heading)}</h3>" if picture.heading else ""
    charts = "\n".join(_chart(chart) for chart in picture.charts)
    kind = "panels" if len(picture.charts) > 1 else "panel-alone"
    findings = "".join(f"<li>{escape(sentence)}</li>" for sentence in picture.findings)
    more = (
        f'Numbers<span class="unseen"> of {escape(picture.about)}</span>',
        table_html(picture.numbers, f"Numbers of {picture.about}"),
    )
    return "\n".join(
        [
            f"<figure>{heading}{_legend(picture.legend)}",
            f'<div class="{kind}">\n{charts}\n</div>',
            f"<figcaption><p>{escape(picture.caption)}</p>",
            f"<ul>{findings}</ul>" if findings else "",
            "</figcaption>",
            f"<details><summary>{more[0]}</summary>\n{more[1]}\n</details>",
            "</figure>",
        ]
    )


def _chart(chart: Chart) -> str:
    title = f'<p class="panel-title">{escape(chart.title)}</p>' if chart.title else ""
    return (
        f'<div class="panel">{title}<div class="chart" role="img" '
        f'aria-label="{escape(chart.words)}" style="height:{chart.height}px"></div>'
        f"{data_script(data_of(chart.figure))}</div>"
    )


def data_script(data: Any, name: str = "") -> str:
    """Data for scripts, in which no text can end the element."""
    content = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        content = content.replace(character, f"\\u{ord(character):04x}")
    identity = f' id="{escape(name)}"' if name else ""
    return f'<script type="application/json"{identity}>{content}</script>'


def table_html(table: Table, region: str, sortable: bool = False) -> str:
    """A table in a region that can be scrolled, also by keyboard.

    Args:
      table: what it has.
      region: name of the region.
      sortable: whether buttons in its head sort its rows.
    """
    head = "".join(_head(name, sortable) for name in table.head)
    rows = "\n".join(_row(row) for row in table.rows)
    kind = ' class="sortable"' if sortable else ""
    return scrolling(
        f'<table{kind}><caption class="unseen">{escape(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>",
        region,
    )


def scrolling(content: str, label: str) -> str:
    """HTML that may be too wide, in a region that can be scrolled."""
    name = escape(label)
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{name}">{content}</div>'


def _head(name: str, sortable: bool) -> str:
    shown = f'<button type="button">{escape(name)}</button>' if sortable else escape(name)
    return f'<th scope="col">{shown}</th>'


def _row(row: Sequence[Cell | str]) -> str:
    first, *others = (Cell(cell, None) if isinstance(cell, str) else cell for cell in row)
    cells = "".join(f"<td{_attributes(cell)}>{cell_html(cell)}</td>" for cell in others)
    return f'<tr><th scope="row"{_attributes(first)}>{escape(first.text)}</th>{cells}</tr>'


def cell_html(cell: Cell) -> str:
    """What is inside of a cell."""
    more = f' <span class="more">{escape(cell.more)}</span>' if cell.more else ""
    return f"{escape(cell.text)}{more}"


def _attributes(cell: Cell) -> str:
    kind = f' class="{escape(cell.kind)}"' if cell.kind else ""
    return kind if cell.value is None else f'{kind} data-value="{escape(str(cell.value))}"'


def paragraphs(texts: Iterable[str]) -> str:
    """Text as paragraphs."""
    return "\n".join(f"<p>{escape(one)}</p>" for one in texts)


def _legend(legend: Sequence[Key] | Bar) -> str:
    if isinstance(legend, Bar):
        return _bar(legend)
    if not legend:
        return ""
    entries = "".join(f"<li>{_key(key)}</li>" for key in legend)
    return f'<ul class="legend" aria-label="Legend">{entries}</ul>'


def _key(key: Key) -> str:
    """An entry that shows and hides its traces, or one that says what something is."""
    inside = f"{swatch(key)}<span>{escape(key.label)}</span>"
    if not key.group:
        return f'<span class="key">{inside}</span>'
    group = escape(key.group)
    return f'<button type="button" aria-pressed="true" data-group="{group}">{inside}</button>'


def swatch(key: Key) -> str:
    """A small drawing of a line, a point, or both."""
    look, colour = key.look, f"light-dark({key.look.colour},{key.look.dark})"
    dash = look.dash.replace("px", "").replace(",", " ")
    dashes = "" if look.dash == "solid" else f' stroke-dasharray="{dash}"'
    line = (
        f'<path d="M0 6H36" fill="none" stroke-width="2.5"{dashes} style="stroke:{colour}"/>'
        if key.line
        else ""
    )
    point = (
        f'<path d="{SYMBOLS[look.symbol]}" transform="translate({12 if key.line else 0})" '
        f'style="fill:{colour}"/>'
        if key.point
        else ""
    )
    width = 36 if key.line else 12
    return f'<svg width="{width}" height="12" aria-hidden="true">{line}{point}</svg>'


def _bar(bar: Bar) -> str:
    colours = ", ".join(bar.colours)
    low, high = (escape(end) for end in bar.ends)
    return (
        f'<p class="scale"><span>{escape(bar.label)}</span> <span class="ends">{low}'
        '<span class="unseen"> to </span><span class="gradient" '
        f'style="background:linear-gradient(to right, {colours})"></span>{high}</span></p>'
    )
