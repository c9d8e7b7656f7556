"""`run.py bench`: how quick the agents are on this machine, as one table and one JSON file."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from selftuning.benchmarks import record
from selftuning.benchmarks.speed import agents, roofline, turns
from selftuning.benchmarks.speed.turns import Contestant, Measured
from selftuning.configs.bench import BenchSettings
from selftuning.training import json_files, run_directory

RESULT = "bench.json"


def run(settings: BenchSettings, out: Path | None, console: Console) -> Path:
    """Measures, prints a table and writes DIR/bench.json; returns DIR.

    Raises:
      ConfigError: if the directory cannot be used.
    """
    run_directory.check(out)
    contestants = agents.all_of(settings)
    with console.status("") as status:
        # Where no line can be replaced, in a log, lines say what takes so long.
        tell = status.update if console.is_terminal else console.print
        results = turns.measure(contestants, settings.repeats, roofline.matrix_product(), tell)
    result = report(settings, contestants, results)
    console.print(*tables(result["rows"]), sep="\n\n")
    console.print(
        f"medians of {settings.repeats} rounds; {_says(result['machine'])}; "
        f"matrix products of {roofline.SIZE} x {roofline.SIZE}: "
        f"{result['peak'] / 1e9:.0f} GFLOP/s"
    )
    directory = run_directory.create_named(out, "bench")
    json_files.write_new(directory / RESULT, result)
    console.print(f"written: {directory / RESULT}")
    return directory


def report(
    settings: BenchSettings, contestants: list[Contestant], results: list[Measured]
) -> dict[str, Any]:
    """All that was measured, as plain data.

    Ratios are medians over rounds: to A2C in the same group, and of the self-tuning agent to each
    of the other libraries' (`self_tuning_to`, by group of ours).
    """
    pairs = list(zip(contestants, results, strict=True))
    plain = {one.group: result for one, result in pairs if one.name == agents.A2C}
    tuned = {one.group: result for one, result in pairs if one.name == agents.EVERY_FOURTH}
    rows = [
        {
            "group": one.group,
            "name": one.name,
            "steps_per_second": turns.rate(result),
            "of_a2c": turns.ratio(result, plain[one.group]) if one.group in plain else None,
            "flops_per_step": one.flops or None,
            "of_peak": statistics.median(result.of_peak) if one.flops else None,
            "compile_seconds": result.compile_seconds,
            "all_steps_per_second": result.steps_per_second,
            "self_tuning_to": {group: turns.ratio(ours, result) for group, ours in tuned.items()}
            if one.group == agents.OTHERS
            else None,
        }
        for one, result in pairs
    ]
    return {
        "settings": asdict(settings),
        "machine": record.machine(),
        "peak": statistics.median(results[0].peak),
        "rows": rows,
    }


def _says(machine: dict[str, Any]) -> str:
    return f"{machine['cores']} cores, {', '.join(machine['devices'])}, JAX {machine['jax']}"


def tables(rows: list[dict[str, Any]]) -> list[Table]:
    """A table for each group of rows."""
    result = []
    for group, members in itertools.groupby(rows, lambda row: row["group"]):
        others = group == agents.OTHERS
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
