"""The picture of docs/learning-rate.md.

python run.py study --preset learning-rate-guards --methods fixed,bmg --out runs/guards
python -m selftuning.benchmarks.learning_rate_picture runs/guards
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from selftuning.benchmarks.record import DOCS
from selftuning.studies.study_files import RESULTS

# Okabe and Ito's colours, with line styles for those who see none.
STYLES = (("#0072B2", "-"), ("#009E73", "--"), ("#E69F00", "-."), ("#D55E00", ":"))


def main() -> None:
    """Draws the agent with fixed and with tuned learning rates."""
    table = pl.read_parquet(Path(sys.argv[1]) / RESULTS)
    fixed, tuned = (table.filter(pl.col("method") == name) for name in ("fixed", "bmg"))
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    returns_fixed, returns_tuned, rates = figure.subplots(1, 3)
    for axes, rows, title in (
        (returns_fixed, fixed, "learning rate fixed"),
        (returns_tuned, tuned, "learning rate tuned, trust region"),
    ):
        _lines(axes, rows, "return")
        axes.set_title(title, fontsize=10)
        axes.set_ylabel("return of training episodes")
        axes.set_ylim(0, 515)
    _lines(rates, tuned, "learning_rate")
    rates.set_title("tuned learning rates", fontsize=10)
    rates.set_ylabel("learning rate")
    rates.set_yscale("log")
    handles, labels = rates.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(STYLES), frameon=False)
    figure.savefig(DOCS / "images" / "learning-rate.png", dpi=100)


def _lines(axes: Any, rows: pl.DataFrame, column: str) -> None:
    """The median over seeds thick and every seed thin, over environment steps."""
    starts = rows.partition_by("start_learning_rate", maintain_order=True)
    for (color, line), runs in zip(STYLES, starts, strict=True):
        values = runs[column].fill_null(np.nan).to_numpy().reshape(runs["run"].n_unique(), -1)
        steps = runs["env_steps"].to_numpy()[: values.shape[1]]
        axes.plot(steps, values.T, color=color, linewidth=0.5, alpha=0.3)
        label = f"start {runs['start_learning_rate'][0]:g}"
        axes.plot(steps, np.nanmedian(values, 0), color=color, ls=line, linewidth=2, label=label)
    axes.set_xlabel("environment steps")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
