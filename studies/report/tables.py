"""Tables of a report: all contestants in numbers, and which run ends better than which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selftuning.studies.contestants import in_words
from selftuning.studies.intervals import number, said
from selftuning.studies.report.parts import Cell, Methods, Table

_STRONGEST = 45  # per cent of the colour of a certain win


def of_contestants(methods: Methods, score: str, solvable: bool) -> Table:
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
    return Table(caption, head, rows, "sortable")


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
    value, _, ends = said(found).partition(" ")
    return Cell(value, None if found is None else found["value"], ends)


def _whole(value: float | None) -> Cell:
    return Cell("-") if value is None else Cell(f"{value:,.0f}", value)


def _start(start: Mapping[str, Any]) -> Cell:
    mean = start["last_tenth"]["value"]
    where = in_words(start["start"])
    return Cell(number(mean), mean, f"({where})" if where else "", "start")


def of_better(methods: Methods, better: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """P(a run of the row ends better than one of the column); None if nothing is known of any.

    Args:
      methods: by name, as in summary.json.
      better: by the names of row and column, as there.
    """
    names = [name for name in methods if better.get(name)]
    if not names:
        return None
    labels = [methods[name]["label"] for name in names]
    rows = [
        [label, *(_probability(better[name].get(other), name == other) for other in names)]
        for name, label in zip(names, labels, strict=True)
    ]
    caption = "Probability that a run of the row ends better than a run of the column"
    return Table(caption, ["row better than column", *labels], rows, "matrix")


def _probability(found: Mapping[str, Any] | None, same: bool) -> Cell:
    if found is None:
        return Cell("" if same else "-")
    strength = round(_STRONGEST * abs(2 * found["value"] - 1))
    kind = "wins" if found["value"] > 0.5 else "loses"
    return _interval(found)._replace(value=None, kind=kind, strength=strength)
