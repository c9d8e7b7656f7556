"""How much higher contestants end than runs that do not tune, and than at the outer values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selftuning.studies.intervals import said
from selftuning.studies.report.parts import Cell, Methods, Section, Table


def section(methods: Methods, gains: Mapping[str, Mapping[str, Any]], score: str) -> list[Section]:
    """The table of differences; none if there is nobody to compare with.

    Args:
      methods: by name, as in summary.json.
      gains: by the names of contestant and of whom it is compared with, as there.
      score: by which runs are judged, in words.
    """
    others = list(dict.fromkeys(other for found in gains.values() for other in found))
    others = [name for name in methods if name in others]
    if not others:
        return []
    head = ["contestant", *(f"less {methods[other]['label']}" for other in others)]
    rows: list[list[Cell | str]] = [
        [methods[name]["label"], *(_cell(found.get(other)) for other in others)]
        for name, found in gains.items()
        if found
    ]
    text = (
        f"Each cell is the interquartile mean {score} of the row in the last tenth, less that of "
        "the column. Its interval is a paired bootstrap: seeds are drawn again for both together, "
        "and for all starts at once. Of few seeds such intervals are too narrow, and they are not "
        "corrected for their number. The answer above does not rest on them."
    )
    caption = f"Differences of interquartile means of the {score}, by a paired bootstrap over seeds"
    table = Table(caption, head, rows)
    return [Section("differences", "Differences", [text], table=table)]


def _cell(found: Mapping[str, Any] | None) -> Cell:
    value, _, ends = said(found).partition(" ")
    return Cell(value, None, ends)
