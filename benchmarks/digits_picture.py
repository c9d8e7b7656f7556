"""The picture of `benchmarks.digits`: over samples, and over learning rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

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
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for name, (color, line, marker) in STYLES.items():
        row = result["rows"][name]
        curve = np.array(row["curve"])
        samples = result["batch"] * result["steps"] / len(curve) * (np.arange(len(curve)) + 1)
        _band(left, samples, curve, color=color, linestyle=line, label=name)
        swept = np.array(row["cumulative_by_rate"])
        _band(right, row["rates"], swept, color=color, linestyle=line, marker=marker, label=name)
    left.set_title("Each method at its chosen rates", fontsize=10)
    left.set_xlabel("samples trained on")
    left.set_ylabel("training loss of minibatches, mean of an epoch (nats)")
    right.set_title("Each method at its chosen meta learning rate", fontsize=10)
    right.set_xlabel("initial learning rate of every parameter")
    right.set_ylabel(f"training loss, mean of all {result['steps']} steps (nats)")
    right.set_xscale("log", base=2)
    for axes in (left, right):
        axes.set_yscale("log")
        axes.grid(alpha=0.3, which="both", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=9)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _band(axes: Any, x: Any, triples: np.ndarray, **style: Any) -> None:
    """Means with their intervals, triples [N, 3]."""
    mean, low, high = triples.T
    axes.plot(x, mean, linewidth=1.6, markersize=4, **style)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
