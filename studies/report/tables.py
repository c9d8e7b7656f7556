"""Tables of a report: all contestants in numbers, and which run ends better than which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selftuning.studies.contestants import in_words
from selftuning.studies.intervals import alone, said
from selftuning.studies.report.parts import Cell, Column, Methods, Table

_STRONGEST = 45  # per cent of the colour of a certain win
_COLUMNS = (
    Column("contestant", down=False),
    Column("runs"),
    Column("mean, last tenth"),
    Column("IQM"),
    Column("median"),
    Column("optimality gap", down=False),
    Column("mean, whole run"),
    Column("greedy"),
    Column("solved"),
    Column("median steps to solve", down=False),
    Column("worst start"),
    Column("best start"),
    Column("diverged", down=False),
)


def of_contestants(methods: Methods, score: str, solvable: bool) -> Table:
    """The table of all contestants, which can be sorted by any column.

    Args:
      methods: by name, as in summary.json.
      score: by which runs are judged, in words.
      solvable: whether the environment says when it is solved.
    """
    found = methods.values()
    empty = {
        "solved": not solvable,
        "median steps to solve": all(method["solved_at"] is None for method in found),
        "diverged": not any(method["diverged"] for method in found),
    }
    head = [column for column in _COLUMNS if not empty.get(column.text)]
    names = {column.text for column in head}
    rows = [[cell for name, cell in _row(one).items() if name in names] for one in found]
    caption = f"Contestants by their {score}; buttons in the header sort the rows"
    return Table(caption, head, rows, "sortable")


def _row(method: Mapping[str, Any]) -> dict[str, Cell]:
    """All cells there may be of a contestant, by column."""
    last, runs = method["last_tenth"], method["runs"]
    return {
        "contestant": Cell(method["label"], method["label"]),
        "runs": _whole(runs),
        "mean, last tenth": _interval(last["mean"]),
        "IQM": _interval(last["iqm"]),
        "median": _interval(last["median"]),
        "optimality gap": _interval(last["optimality_gap"]),
        "mean, whole run": _interval(method["whole_run"]["mean"]),
        "greedy": _interval(method["greedy"]),
        "solved": Cell(f"{method['solved']} of {runs}", method["solved"] / runs),
        "median steps to solve": _whole(method["solved_at"]),
        "worst start": _start(method["worst_start"], method["starts"]),
        "best start": _start(method["best_start"], method["starts"]),
        "diverged": Cell(f"{method['diverged']} of {runs}", method["diverged"] / runs),
    }


def _interval(found: Mapping[str, Any] | None) -> Cell:
    """A number, and its interval in a second line."""
    value, _, ends = said(found).partition(" ")
    return Cell(value, None if found is None else found["value"], ends)


def _whole(value: float | None) -> Cell:
    return Cell("-") if value is None else Cell(f"{value:,.0f}", value)


def _start(start: Mapping[str, Any], among: int) -> Cell:
    mean = start["last_tenth"]["value"]
    where = in_words(start["start"]) if among > 1 else ""
    return Cell(alone(start["last_tenth"]), mean, f"({where})" if where else "", "start")


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
