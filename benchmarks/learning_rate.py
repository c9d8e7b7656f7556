"""Tuning the learning rate from bad starts: `python -m selftuning.benchmarks.learning_rate`.

CartPole-v1, 300,000 steps, 10 seeds each. Only the learning rate is tuned unless a row says
otherwise. `guards` are what was tried to make that safe and useful, `optimizers` are other inner
optimisers, with and without the guard that was chosen. `--trial` runs seeds from 1000, on
which choices were made; seeds below chose nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from selftuning.benchmarks.cartpole import settings_for
from selftuning.benchmarks.record import write
from selftuning.configs.settings import InnerOptimizer, Method, RunSettings
from selftuning.studies import population

STARTS = (3e-5, 3e-4, 3e-3, 1.5e-2)
WELL_TUNED = 3e-3
STEPS = 300_000
OFF = 1e9  # of a trust region, and of what has none
NONE = 1e-9


def variant(
    method: Method = "bmg",
    *,
    everything: bool = False,
    inner_optimizer: InnerOptimizer = "rms",
    also: Sequence[str] = (),
    **tuning: Any,
) -> RunSettings:
    """Settings that tune the learning rate, and `also`, or with `everything` the usual ones."""
    settings = settings_for(method, steps=STEPS)
    tuned = {
        name: replace(spec, tuned=name in ("learning_rate", *also) or (everything and spec.tuned))
        for name, spec in settings.hyperparameters.items()
    }
    return replace(
        settings,
        hyperparameters=tuned,
        agent=replace(settings.agent, inner_optimizer=inner_optimizer),
        tuning=replace(settings.tuning, **tuning),
    )


GUARDS: Mapping[str, RunSettings] = {
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
    "bmg, trust region": variant(),
    "the same, all five tuned (`--tune learning_rate`)": variant(everything=True),
    "the same, meta-step size 0.1": variant(learning_rate=0.1),
}
_ACCELERATED = partial(variant, inner_optimizer="accelerated")
OPTIMIZERS: Mapping[str, RunSettings] = {
    "rms": variant(),
    "adam, nothing tuned": variant("none", inner_optimizer="adam"),
    "adam, no trust region": variant(inner_optimizer="adam", trust_region=OFF),
    "adam": variant(inner_optimizer="adam"),
    "accelerated, nothing tuned": _ACCELERATED("none"),
    "accelerated, no trust region": _ACCELERATED(trust_region=OFF),
    "accelerated": _ACCELERATED(),
    "accelerated, momentum and hint weight tuned too": _ACCELERATED(
        also=("momentum", "hint_weight")
    ),
}
PARTS = {"guards": GUARDS, "optimizers": OPTIMIZERS}


def measure(settings: RunSettings, seeds: Sequence[int]) -> dict[str, Any]:
    """Returns and learning rates for each start, [starts] or [starts, seeds]."""
    starts = {"learning_rate": [start for start in STARTS for _ in seeds]}
    outcome = population.run(settings, [*seeds] * len(STARTS), starts)
    curve = population.curves(outcome)
    shape = (len(STARTS), len(seeds))
    last, whole = population.last_tenth(curve).reshape(shape), curve.mean(1).reshape(shape)
    paths = {
        name: np.median(x.reshape(*shape, -1), 1)
        for name, x in outcome.hyperparameters.items()
        if settings.hyperparameters[name].tuned
    }
    return {
        "last_tenth": [population.interval(x[None]) for x in last],
        "whole_run": [population.interval(x[None]) for x in whole],
        "worst_last_tenth": last.min(1).tolist(),
        "hyperparameters": {
            name: {
                part: path[:, int(fraction * (path.shape[1] - 1))].tolist()
                for part, fraction in (("tenth", 0.1), ("half", 0.5), ("end", 1.0))
            }
            for name, path in paths.items()
        },
    }


def main() -> None:
    """Runs all variants of a part, or those whose names contain what was given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--only", default="", help="variants whose names contain this")
    parser.add_argument("--trial", action="store_true", help="seeds from 1000; writes nothing")
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    first = 1000 if arguments.trial else 0
    seeds = range(first, first + arguments.seeds)
    rows = {}
    for name, settings in PARTS[arguments.part].items():
        if arguments.only in name:
            rows[name] = measure(settings, seeds)
            print(name, json.dumps(rows[name]), flush=True)
    if not arguments.trial and not arguments.only:
        result = {"seeds": len(seeds), "steps": STEPS, "starts": STARTS, "rows": rows}
        write(f"learning-rate-{arguments.part}", result)


if __name__ == "__main__":
    main()
