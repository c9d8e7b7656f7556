"""The picture of docs/learning-rate.md: `python -m selftuning.benchmarks.learning_rate_picture`."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from selftuning.benchmarks.learning_rate import GUARDS, STARTS, STEPS
from selftuning.benchmarks.record import DOCS
from selftuning.studies import population

SEEDS = range(10)
PATH = DOCS / "images" / "learning-rate.png"
# Okabe and Ito's colours, with line styles for those who see none.
STYLES = (("#0072B2", "-"), ("#009E73", "--"), ("#E69F00", "-."), ("#D55E00", ":"))


def main() -> None:
    """Runs the agent with fixed and with tuned learning rates and draws both."""
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    returns_fixed, returns_tuned, rates = figure.subplots(1, 3)
    fixed, _ = _run("fixed")
    tuned, paths = _run("bmg, trust region")
    for axes, curves, title in (
        (returns_fixed, fixed, "learning rate fixed"),
        (returns_tuned, tuned, "learning rate tuned, trust region"),
    ):
        _lines(axes, curves)
        axes.set_title(title, fontsize=10)
        axes.set_ylabel("return of training episodes")
        axes.set_ylim(0, 515)
    _lines(rates, paths)
    rates.set_title("tuned learning rates", fontsize=10)
    rates.set_ylabel("learning rate")
    rates.set_yscale("log")
    handles, labels = rates.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(STARTS), frameon=False)
    figure.savefig(PATH, dpi=100)


def _run(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Learning curves and learning rates [starts, seeds, points]."""
    starts = {"learning_rate": [start for start in STARTS for _ in SEEDS]}
    outcome = population.run(GUARDS[name], [*SEEDS] * len(STARTS), starts)
    shape = (len(STARTS), len(SEEDS), -1)
    curves = population.curves(outcome).reshape(shape)
    return curves, outcome.hyperparameters["learning_rate"].reshape(shape)


def _lines(axes: Any, values: np.ndarray) -> None:
    """The median over seeds thick and every seed thin, over environment steps."""
    steps = (np.arange(values.shape[2]) + 1) / values.shape[2] * STEPS
    for (color, line), seeds, start in zip(STYLES, values, STARTS, strict=True):
        axes.plot(steps, seeds.T, color=color, linewidth=0.5, alpha=0.3)
        label = f"start {start:g}"
        axes.plot(steps, np.median(seeds, 0), color=color, ls=line, linewidth=2, label=label)
    axes.set_xlabel("environment steps")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
