"""Tables of a report: all contestants in numbers, and which run ends better than which."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from selftuning.studies.contestants import in_words
from selftuning.studies.report.parts import Cell, Table, cell_html, scrolling, table_html
from selftuning.studies.report.style import interval_said, said

_STRONGEST = 45  # per cent of the colour of a certain win

Methods = Mapping[str, Mapping[str, Any]]  # of summary.json, by name


def contestants_html(methods: Methods, score: str, solvable: bool) -> str:
    """The table of all contestants, which can be sorted by any column.

    Args:
      methods: by name, as in summary.json.
      score: by which runs are judged, in words.
      solvable: whether the environment says when it is solved.
    """
    solved = ["solved", "median steps to solve"] if solvable else []
    head = [
        "contestant",
        "runs",
        "IQM, last tenth",
        "mean",
        "median",
        "optimality gap",
        "IQM, whole run",
        "greedy",
        *solved,
        "worst start",
        "best start",
        "diverged",
    ]
    rows = [_row(method, solvable) for method in methods.values()]
    caption = f"Contestants by their {score}; buttons in the header sort the rows"
    return table_html(Table(caption, head, rows), "Table of all contestants", sortable=True)


def _row(method: Mapping[str, Any], solvable: bool) -> list[Cell]:
    last = method["last_tenth"]
    solved = [
        Cell(f"{method['solved']} of {method['runs']}", method["solved"] / method["runs"]),
        _whole(method["solved_at"]),
    ]
    return [
        Cell(method["label"], method["label"]),
        _whole(method["runs"]),
        *(_interval(last[name]) for name in ("iqm", "mean", "median", "optimality_gap")),
        _interval(method["whole_run"]["iqm"]),
        _interval(method["greedy"]),
        *(solved if solvable else []),
        _start(method["worst_start"]),
        _start(method["best_start"]),
        Cell(f"{method['diverged']} of {method['runs']}", method["diverged"] / method["runs"]),
    ]


def _interval(found: Mapping[str, Any] | None) -> Cell:
    """A number, and its interval in a second line."""
    number, _, ends = interval_said(found).partition(" ")
    return Cell(number, None if found is None else found["value"], ends)


def _whole(value: float | None) -> Cell:
    return Cell("-") if value is None else Cell(f"{value:,.0f}", value)


def _start(start: Mapping[str, Any]) -> Cell:
    mean = start["last_tenth"]["value"]
    where = in_words(start["start"])
    return Cell(said(mean), mean, f"({where})" if where else "", "start")


def better_html(methods: Methods, better: Mapping[str, Mapping[str, Any]]) -> str:
    """P(a run of the row ends better than one of the column); "" if nothing is known of any.

    Args:
      methods: by name, as in summary.json.
      better: by the names of row and column, as there.
    """
    names = [name for name in methods if better.get(name)]
    if not names:
        return ""
    labels = {name: escape(methods[name]["label"]) for name in names}
    head = "".join(f'<th scope="col">{labels[name]}</th>' for name in names)
    rows = "\n".join(
        f'<tr><th scope="row">{labels[row]}</th>'
        + "".join(_probability(better[row].get(column), row == column) for column in names)
        + "</tr>"
        for row in names
    )
    return scrolling(
        '<table class="matrix"><caption class="unseen">Probability that a run of the row ends '
        "better than a run of the column</caption>"
        f'<thead><tr><td class="corner">row better than column</td>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table>",
        "Table of which run ends better",
    )


def _probability(found: Mapping[str, Any] | None, same: bool) -> str:
    if found is None:
        return f"<td>{'' if same else '-'}</td>"
    kind = "wins" if found["value"] > 0.5 else "loses"
    strength = round(_STRONGEST * abs(2 * found["value"] - 1))
    inside = cell_html(_interval(found))
    return f'<td class="{kind}" style="--strength:{strength}%">{inside}</td>'
