"""How contestants of a Two Colors study look, the same in all of its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from selftuning.studies.two_colors.results import Row

# Okabe & Ito's colours for methods, dashes for contexts, greys and markers for fixed values.
_COLOURS = {
    "mg": "#D55E00",
    "bmg": "#0072B2",
    "heads": "#E69F00",
    "q_mg": "#56B4E9",
    "q_bmg": "#009E73",
}
_DASHES: dict[str, Any] = {"none": (0, (1, 1.2)), "reward": "-", "rich": (0, (5, 1.5))}
MARKERS = "osD^vP"
_VALUES = (0.0, 0.05, 0.1, 0.2, 0.4)  # up to these, a marker each
CEILING = "#CC79A7"

Style = dict[str, Any]  # of a line, in Matplotlib's words


def styles(rows: Sequence[Row]) -> dict[str, Style]:
    """The style of each row by its name."""
    return {row.name: _tuned(row, rows) if row.value is None else _fixed(row) for row in rows}


def _tuned(row: Row, rows: Sequence[Row]) -> Style:
    """Rows that have method and context in common are told apart by markers."""
    alike = [x.name for x in rows if (x.family, x.context) == (row.family, row.context)]
    marker = MARKERS[alike.index(row.name) % len(MARKERS)] if len(alike) > 1 else ""
    look = {"color": _COLOURS[row.family], "ls": _DASHES[row.context], "marker": marker}
    return look | {"lw": 1.6, "ms": 4.0}


def _fixed(row: Row) -> Style:
    assert row.value is not None
    rank = int(np.searchsorted(_VALUES, row.value - 1e-9))
    grey = f"{max(0.1, 0.7 - 0.12 * rank):.2f}"
    return {
        "color": grey,
        "ls": "-",
        "marker": MARKERS[rank % len(MARKERS)],
        "mfc": grey if row.family == "fixed" else "white",
        "lw": 1.1,
        "ms": 4.0,
    }
