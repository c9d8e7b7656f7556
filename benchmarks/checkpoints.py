"""What saving costs a run: `python -m selftuning.benchmarks.checkpoints`.

Each task is trained twice in turn, with a checkpoint after every chunk and with one at the end. The
difference of the times, divided by the checkpoints, is what one of them takes away from training;
once a minute it is that part of 60 seconds. Compiling is counted in neither. Beside it stands how
long the file itself takes to be written, and how long Orbax takes for the same arrays.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import selftuning as st
from selftuning.benchmarks.record import DOCS, markdown, with_table, write
from selftuning.configs.settings import CHECKPOINT_EVERY
from selftuning.training import checkpoints

REPEATS = 5
WRITES = 9
PAGE = DOCS / "performance.md"
TASKS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"steps": 500_000},
    "CartPole-v1 on the host": {"env": "CartPole-v1", "steps": 60_000, "backend": "host"},
    "gymnax:Breakout-MinAtar": {"steps": 50_000},
}


def measure(tasks: dict[str, dict[str, Any]], repeats: int = REPEATS) -> list[dict[str, Any]]:
    """A row a task: bytes of a checkpoint, seconds that one takes, and that of a minute."""
    rows = []
    for name, asked in tasks.items():
        settings = {"env": name, "eval_episodes": 1, "progress": False} | asked
        each, size = [], 0
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                always, never = (
                    _seconds(Path(folder) / str(every), every, settings)
                    for every in (0.0, float("inf"))
                )
                path = checkpoints.path_in(Path(folder) / "0.0")
                size, arrays = path.stat().st_size, checkpoints.read(path).arrays
            each.append((always[0] - never[0]) / (always[1] - 1))
        one = statistics.median(each)
        row = {"task": name, "bytes": size, "seconds": one, "share": one / CHECKPOINT_EVERY}
        rows.append(row | {"each": each, "write": _written(arrays)})
        print(rows[-1], flush=True)
    return rows


def _seconds(out: Path, every: float, settings: dict[str, Any]) -> tuple[float, int]:
    """Seconds of training, and the chunks of it."""
    run = st.train(**settings, out=out, checkpoint_every=every)
    chunks = len((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return run.summary["env_steps"] / run.summary["steps_per_second"], chunks


def _written(arrays: Any) -> dict[str, float]:
    """Median seconds that a file takes, here and by Orbax, which takes no empty arrays."""
    import orbax.checkpoint as ocp

    content = {name.replace("/", "."): np.array(x) for name, x in arrays.items() if x.size}

    def orbax(folder: Path) -> None:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder / "orbax", content)

    ways: dict[str, Callable[[Path], None]] = {
        "safetensors": lambda folder: checkpoints.save(folder / "one", content, 0),
        "orbax": orbax,
    }
    return {
        name: statistics.median(_timed(way) for _ in range(WRITES)) for name, way in ways.items()
    }


def _timed(write: Callable[[Path], None]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        write(Path(folder))
        return time.perf_counter() - begun


def table(rows: list[dict[str, Any]]) -> str:
    """For docs/performance.md."""
    head = (
        *("task", "size of a checkpoint", "training waits for", "share, once a minute"),
        *("its file takes", "Orbax takes"),
    )
    return markdown(
        head,
        (
            (
                row["task"],
                f"{row['bytes'] / 1e6:.2g} MB",
                f"{1000 * row['seconds']:.0f} ms",
                f"{row['share']:.2%}",
                *(f"{1000 * row['write'][name]:.0f} ms" for name in ("safetensors", "orbax")),
            )
            for row in rows
        ),
    )


def main() -> None:
    """Measures, writes the numbers and puts them into docs/performance.md."""
    rows = measure(TASKS)
    write("checkpoints", {"repeats": REPEATS, "rows": rows})
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_table(page, "checkpoints", table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
