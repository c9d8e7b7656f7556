"""A Two Colors study in numbers: two-colors/summary.json, and what is printed."""

from __future__ import annotations

import math
from typing import Any

from rich.table import Table

from selftuning.benchmarks.two_colors import published, series
from selftuning.benchmarks.two_colors.answers import answers, in_digits, sentences
from selftuning.benchmarks.two_colors.rows import (
    Row,
    Study,
    baseline,
    mean_interval,
    ratio_interval,
)
from selftuning.configs import files, studies
from selftuning.studies.answers import FEW
from selftuning.training.metrics import last_tenth

RECOVERED = 0.5  # of the ceiling
DEAD = 500_000  # steps at the end of a run that is dead if they bring less than nothing


def summarise(study: Study) -> dict[str, Any]:
    """The content of summary.json."""
    measured, theirs = study.measured, published.of_rows(study)
    run, best = measured.settings.run, baseline(study.rows)
    methods = dict.fromkeys(row.method for row in study.rows)
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
        "published": {
            "source": published.SOURCE,
            "rows": {
                row.method: theirs[row.name]._asdict() for row in study.rows if row.name in theirs
            },
        },
    }


def describe(row: Row, study: Study) -> dict[str, Any]:
    """One row in numbers."""
    means, mean = row.means, row.mean
    ratio = to_baseline(row, study)
    return {
        "label": row.label,
        "method": row.method,
        "env_steps": row.env_steps,
        "total_reward": (means * row.env_steps).tolist(),
        "reward_per_step": means.tolist(),
        "mean": mean._asdict(),
        "sd": float(means.std(ddof=1)) if len(means) > 1 else None,
        "mean_total_reward": mean.value * row.env_steps,
        "last_tenth": mean_interval(last_tenth(row.reward).mean(-1))._asdict(),
        "dead": _dead(row),
        "share_of_ceiling": mean.value / study.ceiling,
        "ratio_to_baseline": None if ratio is None else ratio._asdict(),
        "recovery": _recovery(row, study),
        "hyperparameter": hyperparameter(row),
        "diverged": int(row.diverged.sum()),
    }


def _dead(row: Row) -> int | None:
    """How many runs are dead at the end; None where that end would be more than a quarter."""
    if row.env_steps < 4 * DEAD:
        return None
    end = row.reward[:, -math.ceil(DEAD / row.length) :]
    return int((end.mean(-1) < 0).sum())


def to_baseline(row: Row, study: Study):
    """Ratio of means with its interval; None for the baseline itself, or where there is none."""
    best = baseline(study.rows)
    return None if best is None or best is row else ratio_interval(row.means, best.means)


def _recovery(row: Row, study: Study) -> dict[str, Any] | None:
    """Steps to recover from changes of signs; None if there are none, or too few points."""
    if not series.resolved(row.length, study.phase):
        return None
    threshold = RECOVERED * study.ceiling
    steps = series.recovery(row.reward, row.length, study.phase, threshold)
    if not steps.size:
        return None
    return {
        "threshold": threshold,
        "window": study.phase / series.WINDOW,
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
        first = float(tuned[:, : math.ceil(tuned.shape[-1] / 10)].mean())
        about |= {"first_tenth": first, "last_tenth": float(last_tenth(tuned).mean(-1).mean())}
    return about


def describe_method(name: str, study: Study) -> dict[str, Any]:
    """How the runs of a method were made, as far as they were."""
    about = [x for unit, x in study.measured.about.items() if unit.rpartition("-")[0] == name]
    settings = studies.run_settings(study.measured.settings, name)
    used = {key: files.plain(spec) for key, spec in settings.in_use.items()}
    return {
        "runs": sum(len(row.reward) for row in study.rows if row.method == name),
        "programs": len(about),
        "seconds": sum(x["seconds"] for x in about),
        "compile_seconds": sum(x["compile_seconds"] for x in about),
        "steps_per_second": speed(name, study),
        "devices": sorted({x["device"] for x in about}),
        "machines": sorted({x["machine"] for x in about}),
        # Without the hyperparameters that nothing reads.
        "settings": files.for_json(files.plain(settings) | {"hyperparameters": used}),
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


def table(study: Study) -> Table:
    """The rows, 80 columns wide where labels are short."""
    result, best = Table(box=None, pad_edge=False, header_style="bold"), baseline(study.rows)
    result.add_column("row", overflow="fold")
    for column in ("reward a step [95%]", "to best fixed [95%]", "steps/s"):
        result.add_column(column, justify="right", no_wrap=True)
    for row in study.rows:
        ratio, rate = to_baseline(row, study), speed(row.method, study)
        result.add_row(
            row.label,
            in_digits(row.mean, 3),
            in_digits(ratio, 2) if ratio else "1" if best is row else "-" if best else "",
            "-" if rate is None else f"{rate / 1000:,.1f}k",
        )
    return result


def lines(study: Study) -> list[str]:
    """The size of the study, the answers, and what is to be known of them."""
    settings = study.measured.settings
    size = f"{settings.run.steps:,} steps, {settings.seeds} seed{'s' * (settings.seeds > 1)}"
    if 1 < settings.seeds < FEW:
        size += " (so few that intervals are too narrow)"
    return [f"{size}; ceiling {study.ceiling:.3f} a step", *sentences(study)]
