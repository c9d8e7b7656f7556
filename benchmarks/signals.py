"""The signal in a meta-gradient, and which way it pulls.

    python run.py study --preset signals --out runs/signals
    python run.py study --preset drift --out runs/drift
    python -m selftuning.benchmarks.signals runs/signals runs/drift

The numbers behind docs/tuning.md. In `signals` all hyperparameters stay where they start, away
from their outer values, and every meta-gradient on the way is a point of the study. In `drift`
they move from the outer values, where nothing ought to pull them. Seeds are 2000 and up, used for
nothing that is reported elsewhere.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import polars as pl

from selftuning.benchmarks.record import write
from selftuning.studies.measures import DIAGNOSTICS
from selftuning.studies.study_files import RESULTS
from selftuning.training import json_files

TUNED = ("gamma", "lambda", "entropy", "critic")


def signals(table: pl.DataFrame) -> dict[str, Any]:
    """Mean over deviation of single meta-gradients, and how heavy their tails are, by method."""
    late = table.filter(pl.col("point") >= table["point"].n_unique() // 10)
    return {
        method: {name: _signal(rows[f"{DIAGNOSTICS}meta_gradient/{name}"]) for name in TUNED}
        for (method,), rows in late.group_by("method", maintain_order=True)
    }


def _signal(gradients: pl.Series) -> dict[str, float]:
    size = gradients.abs()
    return {
        "signal_to_noise": -gradients.mean() / gradients.std(ddof=0),  # type: ignore
        "raises": (gradients < 0).mean(),  # type: ignore
        "largest_over_median": size.max() / size.median(),  # type: ignore
    }


def drift(table: pl.DataFrame) -> dict[str, Any]:
    """Median values at the end, by method."""
    ends = table.filter(pl.col("point") == table["point"].max())
    medians = ends.group_by("method", maintain_order=True).agg(pl.col(TUNED).median())
    return {row.pop("method"): row for row in medians.to_dicts()}


def main() -> None:
    """Reads both studies and writes benchmarks/results/signals.json."""
    tables = [pl.read_parquet(Path(directory) / RESULTS) for directory in sys.argv[1:3]]
    result = {"signals": signals(tables[0]), "drift": drift(tables[1])}
    print(json_files.text(result, indent=1), end="")
    write("signals", result)


if __name__ == "__main__":
    main()
