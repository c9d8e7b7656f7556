"""From the start of the process to a solved task: `python -m selftuning.benchmarks.startup`.

`selftuning --env CartPole` with the defaults, seeds 0 to 4, first with an empty cache of compiled
programs and then with the one that this left. Solved is a mean return of 475 over 100 episodes in
the log of the run; ended is when the process is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from selftuning.benchmarks.record import write

THRESHOLD = 475.0
SEEDS = 5


def timed(seed: int, out: Path, cache: Path) -> dict[str, float]:
    """Seconds of one run from the start of its process."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "selftuning", "--env", "CartPole", "--seed", str(seed)]
    begun, solved = time.perf_counter(), None
    process = subprocess.Popen(
        [*command, "--out", str(out)], env=environment, stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        if solved is None and has_solved(out / "metrics.jsonl"):
            solved = time.perf_counter() - begun
        time.sleep(0.02)
    ended = time.perf_counter() - begun
    if process.returncode or solved is None:
        raise RuntimeError(f"seed {seed}: exit code {process.returncode}, solved: {solved}")
    return {"solved": solved, "ended": ended}


def has_solved(log: Path) -> bool:
    """Whether a line of a log says so; the last one may not be complete yet."""
    if not log.exists():
        return False
    *lines, _ = log.read_text(encoding="utf-8").split("\n")
    means = (json.loads(line)["return_mean_100"] for line in lines)
    return any(mean is not None and mean >= THRESHOLD for mean in means)


def measure(seeds: int = SEEDS) -> dict[str, Any]:
    """Seconds with an empty cache and with a warm one, of each seed and their medians."""
    rows: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder) / "cache"
            for name, row in rows.items():
                row.append(timed(seed, Path(folder) / name, cache))
                print(seed, name, row[-1], flush=True)
    return {
        "seeds": seeds,
        "rows": {
            name: {
                part: {
                    "median": statistics.median(run[part] for run in runs),
                    "slowest": max(run[part] for run in runs),
                }
                for part in ("solved", "ended")
            }
            for name, runs in rows.items()
        },
    }


def main() -> None:
    """Measures and writes the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    write("startup", measure(parser.parse_args().seeds))


if __name__ == "__main__":
    main()
