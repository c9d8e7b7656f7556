"""`run.py bench`: how quick the agents are on this machine, as one table and one JSON file."""

from __future__ import annotations

import itertools
import json
import platform
import statistics
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from selftuning.configs.bench import BenchSettings
from selftuning.studies import roofline, speed, speed_contestants
from selftuning.studies.speed import Contestant, Measured
from selftuning.training import run_directory
from selftuning.training.host_devices import cores

RESULT = "bench.json"
_VERSIONS_OF = ("jax", "dm-haiku", "optax", "gymnasium", "numpy", "rejax", "stable-baselines3")


def run(settings: BenchSettings, out: Path | None, console: Console) -> Path:
    """Measures, prints a table and writes DIR/bench.json; returns DIR.

    Raises:
      ConfigError: if the directory cannot be used.
    """
    run_directory.check(out)
    contestants = speed_contestants.all_of(settings)
    with console.status("") as status:
        results = speed.measure(
            contestants, settings.repeats, roofline.matrix_product(), status.update
        )
    result = report(settings, contestants, results)
    console.print(*tables(result["rows"]), sep="\n\n")
    console.print(
        f"medians of {settings.repeats} rounds; {_says(result['machine'])}; "
        f"matrix products of {roofline.SIZE} x {roofline.SIZE}: "
        f"{result['peak'] / 1e9:.0f} GFLOP/s"
    )
    directory = run_directory.create_named(out, "bench")
    (directory / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console.print(f"written: {directory / RESULT}")
    return directory


def report(
    settings: BenchSettings, contestants: list[Contestant], results: list[Measured]
) -> dict[str, Any]:
    """All that was measured, as plain data.

    Ratios are medians over rounds: to A2C in the same group, and of the self-tuning agent to each
    of the other libraries' (`self_tuning_to`, by group of ours).
    """
    rows = []
    for contestant, result in zip(contestants, results, strict=True):
        plain = _find(contestants, results, contestant.group, speed_contestants.A2C)
        rows.append(
            {
                "group": contestant.group,
                "name": contestant.name,
                "steps_per_second": speed.rate(result),
                "of_a2c": plain and speed.ratio(result, plain),
                "flops_per_step": contestant.flops or None,
                "of_peak": statistics.median(result.of_peak) if contestant.flops else None,
                "compile_seconds": result.compile_seconds,
                "all_steps_per_second": result.steps_per_second,
                "self_tuning_to": _self_tuning_to(contestant, result, contestants, results),
            }
        )
    return {
        "settings": asdict(settings),
        "machine": _machine(),
        "peak": statistics.median(results[0].peak),
        "rows": rows,
    }


def _find(
    contestants: list[Contestant], results: list[Measured], group: str, name: str
) -> Measured | None:
    for contestant, result in zip(contestants, results, strict=True):
        if (contestant.group, contestant.name) == (group, name):
            return result
    return None


def _self_tuning_to(
    other: Contestant, result: Measured, contestants: list[Contestant], results: list[Measured]
) -> dict[str, float] | None:
    if other.group != speed_contestants.OTHERS:
        return None
    return {
        contestant.group: speed.ratio(mine, result)
        for contestant, mine in zip(contestants, results, strict=True)
        if contestant.name == speed_contestants.SELF_TUNING
    }


def _machine() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": cores(),
        "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
        "python": platform.python_version(),
        **{name: found for name in _VERSIONS_OF if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _says(machine: dict[str, Any]) -> str:
    return f"{machine['cores']} cores, {', '.join(machine['devices'])}, JAX {machine['jax']}"


def tables(rows: list[dict[str, Any]]) -> list[Table]:
    """A table for each group of rows."""
    result = []
    for group, members in itertools.groupby(rows, lambda row: row["group"]):
        others = group == speed_contestants.OTHERS
        table = Table(title=group, title_justify="left", title_style="bold", box=None)
        table.add_column("", no_wrap=True)
        last = "self-tuning to it" if others else "of A2C"
        for column in ("steps/s", last, "of the peak", "compile, s"):
            table.add_column(column, justify="right")
        for row in members:
            table.add_row(
                row["name"],
                f"{row['steps_per_second'] / 1e3:,.1f}k",
                _times(row),
                "" if row["of_peak"] is None else f"{row['of_peak']:.0%}",
                f"{row['compile_seconds']:.1f}",
            )
        result.append(table)
    return result


def _times(row: dict[str, Any]) -> str:
    if row["self_tuning_to"]:
        ratios = row["self_tuning_to"].values()
        return f"{min(ratios):.3g} to {max(ratios):.3g}"
    return "" if row["of_a2c"] is None else f"{row['of_a2c']:.2f}"
