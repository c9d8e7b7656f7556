"""Many seeds in one program and one after the other: `python -m selftuning.benchmarks.seeds`.

The default agent on CartPole, after compilation: a run alone, as `run.py` makes it, and 64 runs as
one vmapped program on as many devices as there are cores. They take turns, in one process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from typing import Any

from selftuning.benchmarks.record import write
from selftuning.benchmarks.speed import agents, roofline, turns
from selftuning.benchmarks.speed.turns import Contestant
from selftuning.configs import presets
from selftuning.training import host_devices

SEEDS = 64
STEPS = 2**16  # of each run
REPEATS = 7


def measure(seeds: int = SEEDS, steps: int = STEPS, repeats: int = REPEATS) -> dict[str, Any]:
    """Rates of both, and the time of all seeds together as a part of that one by one."""
    settings = presets.with_method(presets.for_env("CartPole-v1"), "actor_critic")
    group = f"CartPole-v1, {settings.num_envs} environments"
    contestants = [
        Contestant(group, "one seed", partial(agents.training, settings, steps)),
        Contestant(
            group, f"{seeds} seeds", partial(agents.training_many, settings, range(seeds), steps)
        ),
    ]
    results = turns.measure(contestants, repeats, roofline.matrix_product(), print)
    one, many = results
    return {
        "seeds": seeds,
        "steps": steps,
        "repeats": repeats,
        "one": turns.rate(one),
        "together": turns.rate(many),
        "time_of_one_by_one": statistics.median(
            a / b for a, b in zip(one.steps_per_second, many.steps_per_second, strict=True)
        ),
    }


def main() -> None:
    """Measures and writes the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    host_devices.enable()
    begun = time.perf_counter()
    result = measure(arguments.seeds, repeats=arguments.repeats)
    print(result, round(time.perf_counter() - begun), "s")
    write("seeds", result)


if __name__ == "__main__":
    main()
