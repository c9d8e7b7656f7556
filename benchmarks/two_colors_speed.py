"""How quick tuning is on Two Colors: `python -m selftuning.benchmarks.two_colors_speed`.

Ten seeds in one program, after compilation: environment steps a second of all of them, and how
much of the speed of matrix products in the same process that is. The contestants take turns;
numbers are medians over the turns.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from functools import partial
from typing import Any

from selftuning.benchmarks.record import write
from selftuning.benchmarks.speed import agents, roofline, turns
from selftuning.configs import presets
from selftuning.configs.settings import RunSettings
from selftuning.envs import registry
from selftuning.training import host_devices, json_files

SEEDS = 10
STEPS = 4608  # of each seed in a turn: whole cycles of either period
REPEATS = 9
_GROUP = "TwoColors-v0"


def contestants() -> dict[str, RunSettings]:
    """By name: without tuning, mg, bmg with a long target in two matchings, and the preset."""
    preset = presets.for_env("TwoColors-v0")

    def tuned(**changes: Any) -> RunSettings:
        return replace(preset, tuning=replace(preset.tuning, **changes))

    tuning = preset.tuning
    long = tuned(method="bmg", inner_steps=1, target_steps=8, period=9)
    divergence = replace(long, tuning=replace(long.tuning, matching="kl", parameter_weight=0.0))
    own = f"bmg, K={tuning.inner_steps}, L={tuning.target_steps}, period {tuning.period}"
    return {
        "none": tuned(method="none", period=9),
        "mg, K=1, period 9": tuned(method="mg", inner_steps=1, period=9),
        "bmg, K=1, L=8, period 9": long,
        "bmg, K=1, L=8, period 9, matching kl": divergence,
        f"{own} (preset)": preset,
    }


def flops_of(settings: RunSettings) -> dict[str, float]:
    """Floating point operations of an environment step, by part."""
    return roofline.flops(settings, *roofline.ends(registry.make(settings.env, 1, "jax").spec))


def contestant(name: str, settings: RunSettings, seeds: int, steps: int) -> turns.Contestant:
    """All seeds in one program; a turn makes `steps` environment steps of each."""
    prepare = partial(agents.training_many, settings, range(seeds), steps)
    return turns.Contestant(_GROUP, name, prepare, sum(flops_of(settings).values()))


def measure(seeds: int = SEEDS, steps: int = STEPS, repeats: int = REPEATS) -> dict[str, Any]:
    """Rates, operations and the part of the peak of each contestant."""
    settings = contestants()
    programs = [contestant(name, each, seeds, steps) for name, each in settings.items()]
    results = turns.measure(programs, repeats, roofline.matrix_product(), print)
    rows = {
        name: {
            "steps_per_second": turns.rate(result),
            "of_plain": turns.ratio(result, results[0]),
            "flops": flops_of(settings[name]),
            "flops_per_step": program.flops,
            "of_peak": statistics.median(result.of_peak),
            "compile_seconds": result.compile_seconds,
        }
        for name, program, result in zip(settings, programs, results, strict=True)
    }
    return {
        "seeds": seeds,
        "steps": steps,
        "repeats": repeats,
        "peak": statistics.median(results[0].peak),
        "rows": rows,
    }


def main() -> None:
    """Measures and writes the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    host_devices.enable()
    result = measure(arguments.seeds, arguments.steps, arguments.repeats)
    print(json_files.text(result, indent=1), end="")
    write("two-colors-speed", result)


if __name__ == "__main__":
    main()
