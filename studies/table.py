"""The tidy table of a study: a row for each run (or search) and point.

Columns: `env`, `method`, `run` (counted within the method), `seed`, `start_NAME` for every
hyperparameter that starts differ in (null for a search, which chooses), `point`, and what was
measured there (`studies.measures.measured`). What is not known, or no number, is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from selftuning.configs import studies
from selftuning.configs.studies import StudySettings
from selftuning.studies.execute import Result
from selftuning.studies.plan import Unit

START = "start_"
WHOLE = ("env_steps", "episodes", "solved_at")  # numbers
MEASURED = (*WHOLE, "return", "reward", "greedy", "finite")  # of every unit; others may be
_LABELS = ("env", "method", "run", "seed", "point")


def is_label(column: str) -> bool:
    """Whether a column says what a row is of, and nothing that was measured."""
    return column in _LABELS or column.startswith(START)


def varied(study: StudySettings) -> list[str]:
    """Hyperparameters whose start some method sets, in the order of the methods."""
    names: dict[str, None] = {}
    for method in study.methods:
        if study.methods[method].at_outer:
            continue
        for start in studies.starts(study, method):
            names |= dict.fromkeys(start)
    return list(names)


def of_unit(study: StudySettings, unit: Unit, result: Result) -> pl.DataFrame:
    """The rows of a unit, run after run."""
    points = len(next(iter(result.values.values())))
    runs = len(unit.runs)

    def each_run(values: Iterable[object]) -> list[object]:
        return [value for value in values for _ in range(points)]

    columns: dict[str, pl.Series] = {
        "env": pl.Series([unit.settings.env] * (runs * points)),
        "method": pl.Series([unit.method] * (runs * points)),
        "run": pl.Series(each_run(run.index for run in unit.runs), dtype=pl.Int32),
        "seed": pl.Series(each_run(run.seed for run in unit.runs), dtype=pl.Int64),
    }
    for name in varied(study):
        starts = each_run(_start(unit, number, name) for number in range(runs))
        columns[START + name] = pl.Series(starts, dtype=pl.Float64)
    columns["point"] = pl.Series(list(range(points)) * runs, dtype=pl.Int32)
    for name, values in result.values.items():
        columns[name] = _series(name, values.T.ravel())
    return pl.DataFrame(columns)


def _start(unit: Unit, number: int, name: str) -> float | None:
    spec = unit.settings.in_use.get(name)
    if spec is None or unit.kind != "runs":
        return None
    return unit.runs[number].start.get(name, spec.start)


def _series(name: str, values: np.ndarray) -> pl.Series:
    series = pl.Series(np.where(np.isfinite(values), values, np.nan)).fill_nan(None)
    if name == "finite":
        return series.cast(pl.Boolean)
    return series.cast(pl.Int64) if name in WHOLE else series


def joined(parts: Sequence[pl.DataFrame], methods: Iterable[str]) -> pl.DataFrame:
    """The table of a study from those of its units: methods in order, their runs in order."""
    order = pl.Enum(list(methods))
    return (
        pl.concat(parts, how="diagonal")
        .with_columns(pl.col("method").cast(order))
        .sort("method", "run", "point")
        .with_columns(pl.col("method").cast(pl.String))
    )
