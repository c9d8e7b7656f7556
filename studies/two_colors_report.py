"""What a Two Colors study says and leaves: summary.json, results.npz, pictures, a table."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from configs.settings import RunSettings
from configs.studies import SCALES
from studies import two_colors_files, two_colors_plots, two_colors_series
from studies.two_colors_published import PUBLISHED, SOURCE
from studies.two_colors_results import (
    Interval,
    Measured,
    Row,
    Study,
    best_fixed,
    mean_interval,
    ratio_interval,
)
from training import report, run_directory

RESULTS = "results.npz"
RECOVERED = 0.5  # of the ceiling
_FEW = 5  # seeds, below which a bootstrap interval is hardly more than their range


def write(directory: Path, study: Study) -> None:
    """Writes summary.json, results.npz and the pictures, anew if they are there."""
    text = json.dumps(summarise(study), indent=2, allow_nan=False) + "\n"
    path = directory / run_directory.SUMMARY
    two_colors_files.replace(path, lambda to: to.write_text(text, encoding="utf-8"))
    two_colors_files.save(directory / RESULTS, **arrays(study))
    two_colors_plots.draw(directory, study)


def summarise(study: Study) -> dict[str, Any]:
    """The content of summary.json."""
    settings = study.settings
    return {
        "study": two_colors_files.NAME,
        "command": command(study),
        "settings": asdict(settings),
        "ceiling": study.ceiling,
        "steps_between_changes": study.phase,
        "baseline": _name(best_fixed(study.rows)),
        "answers": answers(study.rows),
        "rows": {row.name: describe(row, study) for row in study.rows},
        "methods": {name: _describe_method(m) for name, m in study.measured.items()},
        "published": {"source": SOURCE, "rows": {k: v._asdict() for k, v in PUBLISHED.items()}},
    }


def command(study: Study) -> str:
    """The shortest command that runs the same study."""
    settings = study.settings
    commands = []
    for size, scale in SCALES.items():
        if scale.entropy == settings.entropy:
            flags = [] if size == "full" else [f"--{size}"]
            if scale.methods != settings.methods:
                flags.append(f"--methods {','.join(settings.methods)}")
            for name, usual in (("steps", scale.steps), ("seeds", scale.seeds), ("seed", 0)):
                if getattr(settings, name) != usual:
                    flags.append(f"--{name} {getattr(settings, name)}")
            commands.append(" ".join(["python run.py study", two_colors_files.NAME, *flags]))
    return min(commands, key=len, default="")


def describe(row: Row, study: Study) -> dict[str, Any]:
    """One row in numbers."""
    means, baseline = row.means, best_fixed(study.rows)
    ratio = None
    if baseline is not None and baseline is not row:
        ratio = ratio_interval(means, baseline.means)
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


def _describe_method(measured: Measured) -> dict[str, Any]:
    return {
        "runs_side_by_side": measured.reward.shape[0] * measured.reward.shape[1],
        "wall_seconds": measured.wall_seconds,
        "seconds": measured.seconds,
        "steps_per_second": measured.steps_per_second,
        "device": measured.device,
        "versions": measured.versions,
        "settings": _plain(_settings(measured.settings)),
    }


def _settings(settings: RunSettings) -> dict[str, Any]:
    """Settings without the hyperparameters that nothing reads."""
    used = {name: asdict(spec) for name, spec in settings.in_use.items()}
    return asdict(settings) | {"hyperparameters": used}


def _plain(value: Any) -> Any:
    """Infinities as text, which JSON has no number for."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def arrays(study: Study) -> dict[str, np.ndarray]:
    """The content of results.npz: curves of every seed, and what surrounds changes of signs."""
    phase = study.phase
    result = {"offset_edges": two_colors_series.offset_edges(phase)}
    for row in study.rows:
        edges = two_colors_series.curve_edges(row.env_steps, phase)
        result |= {
            f"{row.name}/total_reward": row.means * row.env_steps,
            f"{row.name}/edges": edges,
            f"{row.name}/reward": two_colors_series.means(row.reward, row.length, edges),
        }
        series = {"reward": row.reward}
        if row.tuned.size:
            series[row.hyperparameter] = row.tuned
            path = two_colors_series.means(row.tuned, row.length, edges)
            result[f"{row.name}/{row.hyperparameter}"] = path
        for key, values in series.items():
            around = two_colors_series.aligned(values, row.length, phase)
            if around.size:
                result[f"{row.name}/around_changes/{key}"] = around.mean(1)
    return result


def answers(rows: Sequence[Row]) -> dict[str, Any]:
    """What the study is for, as far as its rows can say it; see `sentences`."""
    return {"tuning_beats_best_fixed": _beats(rows), "bmg_at_least_mg": _at_least(rows)}


def _beats(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Whether intervals of tuned rows are above that of the best fixed weight."""
    baseline = best_fixed(rows)
    tuned = [row for row in rows if row.family in ("mg", "bmg")]
    if baseline is None or not tuned:
        return None
    fixed = mean_interval(baseline.means)
    found = {row.name: mean_interval(row.means) for row in tuned}
    above = [name for name, x in found.items() if _above(x, fixed)]
    best = max(found, key=lambda name: found[name].value)
    return {"holds": best in above, "best": best, "baseline": baseline.name, "above": above}


def _at_least(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Whether the mean of bmg is at least that of mg, context by context."""
    by = {(row.family, row.context): row for row in rows}
    contexts = {}
    for context in ("none", "reward", "rich"):
        mg, bmg = by.get(("mg", context)), by.get(("bmg", context))
        if mg is not None and bmg is not None:
            x, y = mean_interval(bmg.means), mean_interval(mg.means)
            contexts[context] = {
                "bmg": bmg.name,
                "mg": mg.name,
                "holds": x.value >= y.value,
                "intervals_apart": _above(x, y) or _above(y, x),
            }
    if not contexts:
        return None
    return {"holds": all(x["holds"] for x in contexts.values()), "contexts": contexts}


def _above(x: Interval, y: Interval) -> bool:
    return x.low is not None and y.high is not None and x.low > y.high


def sentences(study: Study) -> list[str]:
    """The answers in words."""
    rows, said = {row.name: row for row in study.rows}, []
    beats, at_least = answers(study.rows).values()
    if beats is not None:
        best, baseline = rows[beats["best"]], rows[beats["baseline"]]
        verdict = "beats" if beats["holds"] else "is not shown to beat"
        above = [rows[name].label for name in beats["above"]]
        said.append(
            f"Tuning {verdict} the best fixed weight: {_said(best)} a step against "
            f"{_said(baseline)}. Above it with intervals apart: {', '.join(above) or 'none'}."
        )
    if at_least is not None:
        verdict = "is" if at_least["holds"] else "is not everywhere"
        pairs = (
            f"{_said(rows[pair['bmg']])} against {_said(rows[pair['mg']])}, "
            f"intervals {'apart' if pair['intervals_apart'] else 'not apart'}"
            for pair in at_least["contexts"].values()
        )
        said.append(f"By their means bmg {verdict} at least mg: {'; '.join(pairs)}.")
    return said + diverged(study.rows)


def diverged(rows: list[Row]) -> list[str]:
    """Whose runs became NaN, in words."""
    return [
        f"{row.label}: {row.diverged.sum()} of {len(row.diverged)} runs diverged (NaN), "
        "and count with what they got."
        for row in rows
        if row.diverged.any()
    ]


def _said(row: Row) -> str:
    return f"{_interval(mean_interval(row.means), 4)} ({row.label})"


def _interval(x: Interval, digits: int) -> str:
    if x.low is None:
        return f"{x.value:.{digits}f}"
    return f"{x.value:.{digits}f} [{x.low:.{digits}f}, {x.high:.{digits}f}]"


def line(name: str, measured: Measured) -> str:
    """What is said of a method when it has run."""
    means = ", ".join(f"{x:.4f}" for x in measured.reward.mean((1, 2), dtype=np.float64))
    speed = f"{measured.steps_per_second:,.0f} steps/s"
    return f"{name:<12}  {means} a step  {speed}  {measured.wall_seconds:.0f} s"


def print_summary(console: Console, directory: Path, study: Study) -> None:
    """Prints the table, the answers and the directory."""
    baseline = best_fixed(study.rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("row", no_wrap=True)
    for column in ("reward a step [95%]", "to best fixed [95%]", "steps/s"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in study.rows:
        ratio = "" if baseline is None else "1" if baseline is row else "-"
        if baseline is not None and baseline is not row:
            found = ratio_interval(row.means, baseline.means)
            ratio = "-" if found is None else _interval(found, 2)
        speed = f"{study.measured[row.method].steps_per_second / 1000:,.1f}k"
        table.add_row(row.label, _interval(mean_interval(row.means), 3), ratio, speed)
    console.print(table, highlight=False)
    seeds = study.settings.seeds
    size = f"{study.settings.steps:,} steps, {seeds} seed{'s' if seeds > 1 else ''}"
    if 1 < seeds < _FEW:
        size += " (so few that intervals are too narrow)"
    console.print(f"{size}; ceiling {study.ceiling:.3f} a step", highlight=False)
    for sentence in sentences(study):
        console.print(sentence, highlight=False, markup=False)
    report.print_rows(console, [("study directory", str(directory))])


def _name(row: Row | None) -> str | None:
    return None if row is None else row.name
