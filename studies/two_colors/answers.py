"""What a Two Colors study is for: whether tuning beats fixed values, and bmg mg; also in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selftuning.studies.contestants import in_words
from selftuning.studies.intervals import Interval
from selftuning.studies.two_colors.results import Row, Study, best_fixed, mean_interval
from selftuning.studies.two_colors.series import resolved

_TUNED, _Q_TUNED = ("mg", "bmg", "heads"), ("q_mg", "q_bmg")


def answers(rows: Sequence[Row]) -> dict[str, Any]:
    """What the study is for, as far as its rows can say it; see `sentences`."""
    return {
        "tuning_beats_best_fixed": _beats(rows, "fixed", _TUNED),
        "bmg_at_least_mg": _at_least(rows),
        "q_tuning_beats_best_fixed": _beats(rows, "q_fixed", _Q_TUNED),
    }


def _beats(rows: Sequence[Row], fixed: str, families: Sequence[str]) -> dict[str, Any] | None:
    """Whether intervals of tuned rows are above that of the best fixed value."""
    best, tuned = best_fixed(rows, fixed), [row for row in rows if row.family in families]
    if best is None or not tuned:
        return None
    to_beat = mean_interval(best.means)
    found = {row.name: mean_interval(row.means) for row in tuned}
    above = [name for name, x in found.items() if _above(x, to_beat)]
    first = max(found, key=lambda name: found[name].value)
    return {"holds": first in above, "best": first, "baseline": best.name, "above": above}


def _at_least(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Whether the mean of bmg is at least that of mg, context by context and start by start.

    Where several methods have a context and a start in common, by the best of each.
    """
    by: dict[str, dict[str, Row]] = {"mg": {}, "bmg": {}}
    for row in sorted(rows, key=lambda row: float(row.means.mean())):
        if row.family in by:
            by[row.family][_where(row)] = row
    compared = {}
    for where in dict.fromkeys(_where(row) for row in rows):
        if where in by["mg"] and where in by["bmg"]:
            mg, bmg = by["mg"][where], by["bmg"][where]
            x, y = mean_interval(bmg.means), mean_interval(mg.means)
            compared[where] = {
                "bmg": bmg.name,
                "mg": mg.name,
                "holds": x.value >= y.value,
                "intervals_apart": _above(x, y) or _above(y, x),
            }
    if not compared:
        return None
    return {"holds": all(x["holds"] for x in compared.values()), "contexts": compared}


def _where(row: Row) -> str:
    return f"{row.context} ({in_words(row.start)})" if row.start else row.context


def _above(x: Interval, y: Interval) -> bool:
    return x.low is not None and y.high is not None and x.low > y.high


def sentences(study: Study) -> list[str]:
    """The answers in words, and what a reader has to know of them."""
    rows, found = {row.name: row for row in study.rows}, answers(study.rows)
    said = []
    for key, who, what in (
        ("tuning_beats_best_fixed", "Tuning", "weight"),
        ("q_tuning_beats_best_fixed", "Tuning Q(λ)", "ε"),
    ):
        if found[key] is not None:
            said.append(_beating(who, what, rows, found[key]))
    if found["bmg_at_least_mg"] is not None:
        said.append(_comparing(rows, found["bmg_at_least_mg"]))
    return [*said, *diverged(study.rows), *_unseen(study)]


def _beating(who: str, what: str, rows: dict[str, Row], beats: dict[str, Any]) -> str:
    best, fixed = rows[beats["best"]], rows[beats["baseline"]]
    verdict = "beats" if beats["holds"] else "is not shown to beat"
    above = [rows[name].label for name in beats["above"]]
    return (
        f"{who} {verdict} the best fixed {what}: {_said(best)} a step against {_said(fixed)}. "
        f"Above it with intervals apart: {', '.join(above) or 'none'}."
    )


def _comparing(rows: dict[str, Row], at_least: dict[str, Any]) -> str:
    verdict = "is" if at_least["holds"] else "is not everywhere"
    pairs = (
        f"{_said(rows[pair['bmg']])} against {_said(rows[pair['mg']])}, "
        f"intervals {'apart' if pair['intervals_apart'] else 'not apart'}"
        for pair in at_least["contexts"].values()
    )
    return f"By their means bmg {verdict} at least mg: {'; '.join(pairs)}."


def diverged(rows: Sequence[Row]) -> list[str]:
    """Whose runs became NaN, in words."""
    return [
        f"{row.label}: {row.diverged.sum()} of {len(row.diverged)} runs diverged (NaN), "
        "and count with what they got."
        for row in rows
        if row.diverged.any()
    ]


def _unseen(study: Study) -> list[str]:
    """What is not told of, and why."""
    said = []
    coarse = [row.label for row in study.rows if not resolved(row.length, study.phase)]
    if coarse:
        said.append(
            f"Too few points to see what happens after a change of signs: {', '.join(coarse)}."
        )
    if study.left_out:
        said.append(
            "Not among them, as searches or for signs that change at other times: "
            f"{', '.join(study.left_out)}."
        )
    return said


def _said(row: Row) -> str:
    return f"{in_digits(mean_interval(row.means), 4)} ({row.label})"


def in_digits(x: Interval, digits: int) -> str:
    """A number with its interval, if it has one, to so many decimals."""
    if x.low is None:
        return f"{x.value:.{digits}f}"
    return f"{x.value:.{digits}f} [{x.low:.{digits}f}, {x.high:.{digits}f}]"
