"""A Two Colors study in numbers: two-colors/summary.json, and a table to print."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selftuning.configs import files, studies
from selftuning.configs.settings import RunSettings
from selftuning.studies import study_files
from selftuning.studies.answers import FEW
from selftuning.studies.two_colors import series as two_colors_series
from selftuning.studies.two_colors.answers import answers, in_digits, sentences
from selftuning.studies.two_colors.published import SOURCE
from selftuning.studies.two_colors.results import (
    Row,
    Study,
    baseline,
    mean_interval,
    published,
    ratio_interval,
)

RECOVERED = 0.5  # of the ceiling


def write(folder: Path, study: Study) -> Path:
    """Writes summary.json, anew if it is there."""
    path = folder / study_files.SUMMARY
    text = json.dumps(summarise(study), indent=2, allow_nan=False) + "\n"
    study_files.write_text(path, text)
    return path


def summarise(study: Study) -> dict[str, Any]:
    """The content of summary.json."""
    measured, numbers = study.measured, published(study)
    run, best = measured.settings.run, baseline(study.rows)
    methods = dict.fromkeys(row.method for row in study.rows)
    theirs = {row.method: numbers[row.name]._asdict() for row in study.rows if row.name in numbers}
    return {
        "study": "two-colors",
        "command": measured.origin["command"],
        "env": run.env,
        "steps": run.steps,
        "seeds": measured.settings.seeds,
        "seed": run.seed,
        "complete": not measured.missing,
        "ceiling": study.ceiling,
        "steps_between_changes": study.phase,
        "baseline": None if best is None else best.name,
        "answers": answers(study.rows),
        "rows": {row.name: describe(row, study) for row in study.rows},
        "methods": {name: describe_method(name, study) for name in methods},
        "published": {"source": SOURCE, "rows": theirs},
    }


def describe(row: Row, study: Study) -> dict[str, Any]:
    """One row in numbers."""
    means, best = row.means, baseline(study.rows)
    ratio = None
    if best is not None and best is not row:
        ratio = ratio_interval(means, best.means)
    mean = mean_interval(means)
    return {
        "label": row.label,
        "method": row.method,
        "env_steps": row.env_steps,
        "total_reward": (means * row.env_steps).tolist(),
        "reward_per_step": means.tolist(),
        "mean": mean._asdict(),
        "sd": float(means.std(ddof=1)) if len(means) > 1 else None,
        "mean_total_reward": mean.value * row.env_steps,
        "last_tenth": mean_interval(_last_tenth(row.reward))._asdict(),
        "share_of_ceiling": mean.value / study.ceiling,
        "ratio_to_baseline": None if ratio is None else ratio._asdict(),
        "recovery": _recovery(row, study),
        "hyperparameter": hyperparameter(row),
        "diverged": int(row.diverged.sum()),
    }


def _last_tenth(series: np.ndarray) -> np.ndarray:
    return series[:, -math.ceil(series.shape[-1] / 10) :].mean(-1, dtype=np.float64)


def _recovery(row: Row, study: Study) -> dict[str, Any] | None:
    """Steps to recover from changes of signs; None if there are none, or too few points."""
    if not two_colors_series.resolved(row.length, study.phase):
        return None
    threshold = RECOVERED * study.ceiling
    steps = two_colors_series.recovery(row.reward, row.length, study.phase, threshold)
    if not steps.size:
        return None
    return {
        "threshold": threshold,
        "window": study.phase / two_colors_series.WINDOW,
        "changes": steps.shape[1],
        "steps": mean_interval(steps.mean(1))._asdict(),
        "reached": float((steps < study.phase).mean()),
        "per_seed": steps.mean(1).tolist(),
    }


def hyperparameter(row: Row) -> dict[str, Any]:
    """Where it was at first and at last, in the mean over the runs that did not diverge."""
    about: dict[str, Any] = {"name": row.hyperparameter, "fixed_at": row.value}
    tuned = row.tuned[~row.diverged]
    if tuned.size:
        first = float(tuned[:, : math.ceil(tuned.shape[-1] / 10)].mean(dtype=np.float64))
        about |= {"first_tenth": first, "last_tenth": float(_last_tenth(tuned).mean())}
    return about


def describe_method(name: str, study: Study) -> dict[str, Any]:
    """How the runs of a method were made, as far as they were."""
    measured = study.measured
    about = [x for unit, x in measured.about.items() if unit.rpartition("-")[0] == name]
    return {
        "runs": sum(len(row.reward) for row in study.rows if row.method == name),
        "programs": len(about),
        "seconds": sum(x["seconds"] for x in about),
        "compile_seconds": sum(x["compile_seconds"] for x in about),
        "steps_per_second": speed(name, study),
        "devices": sorted({x["device"] for x in about}),
        "machines": sorted({x["machine"] for x in about}),
        "settings": files.for_json(_settings(studies.run_settings(measured.settings, name))),
    }


def speed(name: str, study: Study) -> float | None:
    """Environment steps a second of one program of a method, all its runs together.

    None if one of them was stopped and went on: what it did before took a time that is not known.
    """
    about = [x for unit, x in study.measured.about.items() if unit.rpartition("-")[0] == name]
    if any(x["begun_at_point"] for x in about):
        return None
    steps = sum(row.env_steps * len(row.reward) for row in study.rows if row.method == name)
    return steps / sum(x["seconds"] for x in about)


def _settings(settings: RunSettings) -> dict[str, Any]:
    """Settings without the hyperparameters that nothing reads."""
    used = {name: files.plain(spec) for name, spec in settings.in_use.items()}
    return files.plain(settings) | {"hyperparameters": used}


def lines(study: Study) -> list[str]:
    """What is printed: a table, the answers, and what is to be known of them."""
    settings = study.measured.settings
    seeds = settings.seeds
    size = f"{settings.run.steps:,} steps, {seeds} seed{'s' if seeds > 1 else ''}"
    if 1 < seeds < FEW:
        size += " (so few that intervals are too narrow)"
    return [*_table(study), f"{size}; ceiling {study.ceiling:.3f} a step", *sentences(study)]


def _table(study: Study) -> list[str]:
    best = baseline(study.rows)
    cells = [("row", "reward a step [95%]", "to best fixed [95%]", "steps/s")]
    for row in study.rows:
        ratio = "" if best is None else "1" if best is row else "-"
        if best is not None and best is not row:
            found = ratio_interval(row.means, best.means)
            ratio = "-" if found is None else in_digits(found, 2)
        rate = speed(row.method, study)
        quick = "-" if rate is None else f"{rate / 1000:,.1f}k"
        cells.append((row.label, in_digits(mean_interval(row.means), 3), ratio, quick))
    return in_columns(cells)


def in_columns(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            f"{cell:>{width}}" if number else f"{cell:<{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
