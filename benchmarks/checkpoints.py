"""What saving costs a run: `python -m selftuning.benchmarks.checkpoints`.

Each task is trained with a checkpoint after every chunk. What training waits for is timed: copying
the state of the run to the host, and handing it to the writer, who may still be busy with the one
before. Once a minute it is that part of 60 seconds. Beside it stands how long the file itself takes
to be written, and how long Orbax takes for the same arrays.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import selftuning as st
from selftuning.benchmarks.record import DOCS, markdown, with_table, write
from selftuning.configs.settings import CHECKPOINT_EVERY
from selftuning.training import checkpoints
from selftuning.training.saving import Saver
from selftuning.training.session import Session

WRITES = 9
PAGE = DOCS / "performance.md"
TASKS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"steps": 100_000},
    "CartPole-v1 on the host": {"env": "CartPole-v1", "steps": 20_000, "backend": "host"},
    "gymnax:Breakout-MinAtar": {"steps": 30_000},
}


def measure(tasks: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a task: bytes of a checkpoint, median seconds that training waits for it."""
    rows = []
    for name, asked in tasks.items():
        settings: dict[str, Any] = {"env": name, "eval_episodes": 1, "progress": False} | asked
        with tempfile.TemporaryDirectory() as folder, _waits() as waits:
            st.train(**settings, out=folder, checkpoint_every=0.0)
            path = checkpoints.path_in(Path(folder))
            size, arrays = path.stat().st_size, checkpoints.read(path).arrays
        one = statistics.median(waits)
        row = {"task": name, "bytes": size, "seconds": one, "share": one / CHECKPOINT_EVERY}
        rows.append(row | {"checkpoints": len(waits), "write": _written(arrays)})
        print(rows[-1], flush=True)
    return rows


@contextmanager
def _waits() -> Iterator[list[float]]:
    """Inside, the seconds of every save: of what a session copies, and of the saver."""
    seconds: list[float] = []

    def timed(function: Callable[..., Any], first: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            begun = time.perf_counter()
            result = function(*arguments, **more)
            passed = time.perf_counter() - begun
            if first:
                seconds.append(passed)
            else:
                seconds[-1] += passed
            return result

        return call

    with (
        patch.object(Session, "_content", timed(Session._content, True)),
        patch.object(Saver, "save", timed(Saver.save, False)),
    ):
        yield seconds


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
    write("checkpoints", {"rows": rows})
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_table(page, "checkpoints", table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
