"""What a Two Colors study is for: whether tuning beats fixed values, and bmg mg; also in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selftuning.benchmarks.two_colors.rows import Row, Study, best_fixed
from selftuning.benchmarks.two_colors.series import resolved
from selftuning.studies.contestants import in_words
from selftuning.studies.intervals import Interval


def answers(rows: Sequence[Row]) -> dict[str, Any]:
    """What the study is for, as far as its rows can say it; see `sentences`."""
    return {
        "tuning_beats_best_fixed": _beats(rows, "fixed", ("mg", "bmg", "heads")),
        "bmg_at_least_mg": _at_least(rows),
        "q_tuning_beats_best_fixed": _beats(rows, "q_fixed", ("q_mg", "q_bmg")),
    }


def _beats(rows: Sequence[Row], fixed: str, families: Sequence[str]) -> dict[str, Any] | None:
    """Whether intervals of tuned rows are above that of the best fixed value."""
    best, tuned = best_fixed(rows, fixed), [row for row in rows if row.family in families]
    if best is None or not tuned:
        return None
    above = [row.name for row in tuned if _above(row.mean, best.mean)]
    first = max(tuned, key=lambda row: row.mean.value).name
    return {"holds": first in above, "best": first, "baseline": best.name, "above": above}


def _at_least(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Whether the mean of bmg is at least that of mg, context by context and start by start.

    Where several methods have a context and a start in common, by the best of each.
    """
    best = {(row.family, _where(row)): row for row in sorted(rows, key=lambda row: row.mean.value)}
    compared = {}
    for where in dict.fromkeys(map(_where, rows)):
        if ("mg", where) in best and ("bmg", where) in best:
            mg, bmg = best["mg", where], best["bmg", where]
            apart = _above(bmg.mean, mg.mean) or _above(mg.mean, bmg.mean)
            holds = bmg.mean.value >= mg.mean.value
            names = {"bmg": bmg.name, "mg": mg.name}
            compared[where] = names | {"holds": holds, "intervals_apart": apart}
    if not compared:
        return None
    return {"holds": all(x["holds"] for x in compared.values()), "contexts": compared}


def _where(row: Row) -> str:
    return f"{row.context} ({in_words(row.start)})" if row.start else row.context


def _above(x: Interval, y: Interval) -> bool:
    return x.low is not None and y.high is not None and x.low > y.high


def sentences(study: Study) -> list[str]:
    """The answers in words, and what a reader has to know of them."""
    said = {row.name: f"{in_digits(row.mean, 4)} ({row.label})" for row in study.rows}
    labels = {row.name: row.label for row in study.rows}
    found, lines = answers(study.rows), list[str]()
    questions = {"tuning": ("Tuning", "weight"), "q_tuning": ("Tuning Q(λ)", "ε")}
    for key, (who, what) in questions.items():
        if beats := found[f"{key}_beats_best_fixed"]:
            verdict = "beats" if beats["holds"] else "is not shown to beat"
            above = ", ".join(labels[name] for name in beats["above"]) or "none"
            lines.append(
                f"{who} {verdict} the best fixed {what}: {said[beats['best']]} a step against "
                f"{said[beats['baseline']]}. Above it with intervals apart: {above}."
            )
    if at_least := found["bmg_at_least_mg"]:
        verdict = "is" if at_least["holds"] else "is not everywhere"
        pairs = (
            f"{said[pair['bmg']]} against {said[pair['mg']]}, "
            f"intervals {'apart' if pair['intervals_apart'] else 'not apart'}"
            for pair in at_least["contexts"].values()
        )
        lines.append(f"By their means bmg {verdict} at least mg: {'; '.join(pairs)}.")
    return [*lines, *diverged(study.rows), *_unseen(study)]


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


def in_digits(x: Interval, digits: int) -> str:
    """A number with its interval, if it has one, to so many decimals."""
    if x.low is None:
        return f"{x.value:.{digits}f}"
    return f"{x.value:.{digits}f} [{x.low:.{digits}f}, {x.high:.{digits}f}]"
