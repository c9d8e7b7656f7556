"""Tuning the learning rate from starts too small and too large: `python -m benchmarks.learning_rate`.

CartPole-v1, 300,000 steps, 10 seeds each. Only the learning rate is tuned unless a row says
otherwise. The variants are what was tried to make it safe and useful; seeds below 1000 chose
nothing. `--trial` runs seeds from 1000, on which choices were made.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import population
from benchmarks.cartpole import settings_for
from benchmarks.record import write
from configs.settings import Method, RunSettings

STARTS = (3e-5, 3e-4, 3e-3, 1.5e-2)
WELL_TUNED = 3e-3
STEPS = 300_000
OFF = 1e9  # of a trust region, and of what has none
NONE = 1e-9


def variant(
    method: Method = "bmg",
    *,
    everything: bool = False,
    inner_optimizer: Any = "rms",
    **tuning: Any,
) -> RunSettings:
    """Settings that tune the learning rate, or with `everything` all hyperparameters."""
    settings = settings_for(method, steps=STEPS)
    tuned = {
        name: replace(spec, tuned=name == "learning_rate" or (everything and spec.tuned))
        for name, spec in settings.hyperparameters.items()
    }
    return replace(
        settings,
        hyperparameters=tuned,
        agent=replace(settings.agent, inner_optimizer=inner_optimizer),
        tuning=replace(settings.tuning, **tuning),
    )


VARIANTS: Mapping[str, RunSettings] = {
    "fixed": settings_for("none", steps=STEPS),
    "mg, no trust region": variant("mg", trust_region=OFF),
    "bmg, no trust region": variant(trust_region=OFF),
    "bmg, L=4, no trust region": variant(trust_region=OFF, target_steps=4),
    "bmg, a meta-step every update, no trust region": variant(trust_region=OFF, period=1),
    "trust region alone, nothing tuned": variant(learning_rate=NONE, trust_region_cut=NONE),
    "trust region that only lowers": variant(learning_rate=NONE),
    "bmg, updates shortened, learning rate not lowered": variant(trust_region_cut=NONE),
    "bmg, lowered by all of the cut": variant(trust_region_cut=1.0),
    "bmg, trust region 0.2": variant(trust_region=0.2),
    "bmg, trust region 0.0125": variant(trust_region=0.0125),
    "mg, trust region": variant("mg"),
    "bmg, trust region (`--tune learning_rate`)": variant(),
    "the same, all five tuned": variant(everything=True),
    "the same, meta-step size 0.1": variant(learning_rate=0.1),
}


def measure(settings: RunSettings, seeds: Sequence[int]) -> dict[str, Any]:
    """Returns and learning rates for each start, [starts] or [starts, seeds]."""
    starts = {"learning_rate": [start for start in STARTS for _ in seeds]}
    outcome = population.run(settings, [*seeds] * len(STARTS), starts)
    curve = population.curves(outcome)
    shape = (len(STARTS), len(seeds))
    last, whole = population.last_tenth(curve).reshape(shape), curve.mean(1).reshape(shape)
    path = np.median(outcome.hyperparameters["learning_rate"].reshape(*shape, -1), 1)
    return {
        "last_tenth": [population.interval(x[None]) for x in last],
        "whole_run": [population.interval(x[None]) for x in whole],
        "worst_last_tenth": last.min(1).tolist(),
        "learning_rate": {
            part: path[:, int(fraction * (path.shape[1] - 1))].tolist()
            for part, fraction in (("tenth", 0.1), ("half", 0.5), ("end", 1.0))
        },
    }


def main() -> None:
    """Runs all variants, or those whose names contain what was given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="variants whose names contain this")
    parser.add_argument("--trial", action="store_true", help="seeds from 1000; writes nothing")
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    first = 1000 if arguments.trial else 0
    seeds = range(first, first + arguments.seeds)
    rows = {}
    for name, settings in VARIANTS.items():
        if arguments.only in name:
            rows[name] = measure(settings, seeds)
            print(name, json.dumps(rows[name]), flush=True)
    if not arguments.trial and not arguments.only:
        result = {"seeds": len(seeds), "steps": STEPS, "starts": STARTS, "rows": rows}
        write("learning_rate", result)


if __name__ == "__main__":
    main()
