"""What a run leaves when it has ended: summary.json, and a short table of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from training.evaluation import Interval
from training.metrics import finite


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a new JSON file.

    Raises:
      FileExistsError: if there is one already.
    """
    with path.open("x", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2) + "\n")


def print_run(
    console: Console, run: Path, summary: Mapping[str, Any], result: Interval | None
) -> None:
    """Prints the table at the end of a run; `result` is of its evaluation, if there was one."""
    rows = [("evaluation return", describe(result))] if result is not None else []
    last, solved = summary["last_100_return"], summary["solved_at_env_steps"]
    if last is not None:
        rows.append(("training return", f"{last:.1f} (mean of the last 100 episodes)"))
    if solved is not None:
        rows.append(("solved", f"after {solved:,} environment steps (mean of 100 episodes)"))
    speed = f"{summary['steps_per_second']:,.0f} a second"
    rows.append(("environment steps", f"{summary['env_steps']:,} ({speed})"))
    seconds = f"{summary['wall_seconds']:.1f} ({summary['compile_seconds']:.1f} to compile)"
    rows.append(("seconds", seconds))
    for name, value in summary["hyperparameters"].items():
        moved = f" -> {value['end']:.4g}" if value["tuned"] else " (fixed)"
        rows.append((name, f"{value['start']:.4g}{moved}"))
    rows.append(("run directory", str(run)))
    print_rows(console, rows)


def print_rows(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Prints a table of two columns. Its lines are never broken, so that a path can be copied."""
    rows = list(rows)
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        console.print(f"{label:<{width}}  {value}", highlight=False, markup=False, soft_wrap=True)


def describe(result: Interval) -> str:
    """Mean return with its 95% interval."""
    known = finite(result.low) is not None
    interval = f"95% interval {result.low:.1f} to {result.high:.1f}, " if known else ""
    episodes = "episode" if result.episodes == 1 else "episodes"
    return f"{result.mean:.1f} ({interval}{result.episodes} {episodes})"
