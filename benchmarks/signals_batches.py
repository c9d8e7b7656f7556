"""Signal and noise of meta-gradients at three sizes of a batch.

    python run.py study --preset signals-batches --out runs/batch-64
    python run.py study --preset signals-batches --num-envs 32 --steps 640000 --out runs/batch-512
    python run.py study --preset signals-batches --num-envs 160 --steps 3200000 \
      --out runs/batch-2560
    python -m selftuning.benchmarks.signals_batches runs/batch-64 runs/batch-512 runs/batch-2560

Batches have 16 steps of 4, 32 or 160 environments, and every study has 1,250 updates and as many
meta-gradients. Nothing moves: hyperparameters stay at their outer values, where nothing ought to
pull them, or where they are told to. The *signal* of a seed is the mean of its meta-gradients over
their standard deviation, so that the noise is 1; what is left of it in the mean over seeds, at the
outer values, is bias. docs/tuning.md says what came out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import polars as pl

from selftuning.benchmarks import record, tables
from selftuning.benchmarks.signals import TUNED
from selftuning.studies import means, study_files
from selftuning.studies.measures import DIAGNOSTICS


def signals(table: pl.DataFrame, name: str) -> means.Mean:
    """The signal of a hyperparameter, over the seeds of one method; + raises it.

    The first tenth of a run is left out, as `benchmarks.signals` does.
    """
    late = table.filter(pl.col("point") >= table["point"].n_unique() // 10)
    gradient = pl.col(f"{DIAGNOSTICS}meta_gradient/{name}")
    by_seed = late.group_by("seed", maintain_order=True).agg(
        (-gradient.mean() / gradient.std(ddof=0)).alias("signal")
    )
    return means.over_seeds(by_seed["signal"].to_numpy())


def rows(directory: Path) -> dict[str, list[dict[str, float]]]:
    """The row of each method of a study: the mean of each hyperparameter's signal, its interval."""
    study = study_files.read(directory)
    run = study.settings.run
    samples = run.num_envs * run.agent.rollout_length
    found = {}
    for name, method in study.settings.methods.items():
        of_method = study.table.filter(pl.col("method") == name)
        measured = (signals(of_method, tuned) for tuned in TUNED)
        label = f"{samples:,} samples, {method.label}"
        found[label] = [_interval(mean) for mean in measured]
    return found


def _interval(mean: means.Mean) -> dict[str, float]:
    low, high = mean.interval()
    return {"value": float(mean.value), "low": float(low), "high": float(high)}


def main() -> None:
    """Reads the studies, and writes benchmarks/results/signals-batches.json and its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR")
    found: dict[str, Any] = {}
    for directory in parser.parse_args().directories:
        found |= rows(directory)
    ordered = sorted(found.items(), key=lambda row: row[0].partition(", ")[2])
    record.write("signals-batches", {"head": TUNED, "rows": dict(ordered)})
    tables.write_pages()


if __name__ == "__main__":
    main()
