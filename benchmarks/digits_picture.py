"""The picture of `benchmarks.digits`: over samples, and over learning rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from selftuning.benchmarks import drawing

# Okabe and Ito's colours, with line styles and markers for those who see none.
STYLES = {
    "SGD": ("#000000", "--", "o"),
    "standard": ("#0072B2", "-", "s"),
    "optimistic, last gradient": ("#E69F00", "-", "^"),
    "optimistic, average": ("#D55E00", "-.", "v"),
    "bootstrapped, L=3": ("#009E73", "-", "D"),
}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draws two panels: loss over samples at the chosen rates, mean loss over initial rates."""
    figure = Figure(figsize=(11, 4.5))
    left, right = figure.subplots(1, 2)
    for name, (color, line, marker) in STYLES.items():
        row, look = result["rows"][name], {"color": color, "ls": line, "label": name}
        curve, swept = np.array(row["curve"]), np.array(row["cumulative_by_rate"])
        samples = result["batch"] * result["steps"] / len(curve) * (np.arange(len(curve)) + 1)
        drawing.banded(left, samples, *curve.T, **look)
        drawing.banded(right, row["rates"], *swept.T, marker=marker, ms=4, **look)
    left.set_title("Each method at its chosen rates", fontsize=10)
    left.set_xlabel("samples trained on")
    left.set_ylabel("training loss of minibatches, mean of an epoch (nats)")
    right.set_title("Each method at its chosen meta learning rate", fontsize=10)
    right.set_xlabel("initial learning rate of every parameter")
    right.set_ylabel(f"training loss, mean of all {result['steps']} steps (nats)")
    right.set_xscale("log", base=2)
    for axes in (left, right):
        axes.set_yscale("log")
    path.parent.mkdir(exist_ok=True)
    drawing.finished(figure, columns=len(STYLES)).savefig(path, dpi=130)
