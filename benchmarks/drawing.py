"""What pictures of benchmarks have in common: colours, lines with bands, one legend below."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe & Ito's colours but yellow, which is too light for lines; markers tell lines apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8c8c8c")
MARKERS = "osD^vPX*"


def banded(axes: Axes, x: Any, middle: Any, low: Any, high: Any, **style: Any) -> None:
    """A line with a band around it; `style` is the line's, in Matplotlib's words."""
    axes.plot(x, middle, **style)
    if not np.array_equal(low, high):
        axes.fill_between(x, low, high, color=style["color"], alpha=0.14, lw=0)


def finished(figure: Figure, extra: Iterable[Line2D] = (), columns: int = 2) -> Figure:
    """With grids, and below everything a legend in which each label is once.

    Args:
      figure: of one or several axes.
      extra: entries of the legend that no line has.
      columns: of the legend.
    """
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        axes.grid(alpha=0.27)
        axes.spines[["top", "right"]].set_visible(False)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    handles |= {str(line.get_label()): line for line in extra}
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": columns}
    figure.set_layout_engine("constrained")
    figure.legend(handles.values(), handles, frameon=False, fontsize="small", **place)
    return figure
