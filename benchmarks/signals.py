"""The signal in a meta-gradient, and which way it pulls: `python -m selftuning.benchmarks.signals`.

The numbers behind docs/tuning.md. `signals` leaves all hyperparameters where they start
(discount 0.7, lambda 0.7, entropy 0.1: away from their outer values) and records the
meta-gradients on the way. `drift` lets them move from the outer values, where nothing
ought to pull them. Seeds are 2000 and up, used for nothing that is reported elsewhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from selftuning.benchmarks.cartpole import settings_for
from selftuning.benchmarks.record import write
from selftuning.configs.settings import Method, RunSettings
from selftuning.studies import population

STANDING = 1e-12  # a meta step size that moves nothing
START = {"gamma": 0.7, "lambda": 0.7, "entropy": 0.1}
SIGNALS: dict[str, dict[str, Any]] = {
    "bmg": {},
    "bmg, value weight 1": {"value_weight": 1.0},
    "bmg, policy only": {"value_weight": 1e-9},
    "mg": {"method": "mg"},
    "mg, value weight 1": {"method": "mg", "value_weight": 1.0},
    "mg, policy only": {"method": "mg", "value_weight": 1e-9},
    "bmg, L=3": {"target_steps": 3},
    "bmg, K=2": {"inner_steps": 2},
    "bmg, K=4": {"inner_steps": 4},
    "bmg, step size 3e-4": {"step_size": 3e-4},
    "bmg, step size 3e-4, K=2": {"step_size": 3e-4, "inner_steps": 2},
    "bmg, step size 3e-4, K=4": {"step_size": 3e-4, "inner_steps": 4},
}
DRIFTS: dict[str, dict[str, Any]] = {
    "reverse_kl, L=1": {"matching": "reverse_kl"},
    "kl, L=1": {"matching": "kl"},
    "reverse_kl, L=4": {"matching": "reverse_kl", "target_steps": 4},
    "kl, L=4": {"matching": "kl", "target_steps": 4},
}


def variant(
    start: dict[str, float],
    *,
    method: Method = "bmg",
    step_size: float | None = None,
    steps: int,
    **tuning: Any,
) -> RunSettings:
    """The default agent with a meta-step after every update, and some settings changed."""
    settings = settings_for(method, steps=steps)
    start = start | ({"learning_rate": step_size} if step_size else {})
    moved = {name: replace(settings.hyperparameters[name], start=x) for name, x in start.items()}
    return replace(
        settings,
        tuning=replace(settings.tuning, **{"period": 1, **tuning}),
        hyperparameters={**settings.hyperparameters, **moved},
    )


def signals(runs: int) -> dict[str, Any]:
    """Mean over standard deviation of single meta-gradients, and how heavy their tails are."""
    rows = {}
    for name, changes in SIGNALS.items():
        settings = variant(START, steps=80_000, learning_rate=STANDING, **changes)
        outcome = population.run(settings, range(2000, 2000 + runs))
        row = {}
        for hyperparameter in ("gamma", "lambda", "entropy", "critic"):
            values = outcome.diagnostics[f"meta_gradient/{hyperparameter}"]
            values = values[:, values.shape[1] // 10 :]
            size = np.abs(values)
            row[hyperparameter] = {
                "signal_to_noise": float(-values.mean() / values.std()),
                "raises": float((values < 0).mean()),
                "largest_over_median": float(size.max() / np.median(size)),
            }
        rows[name] = row
        print(name, json.dumps(row), flush=True)
    return rows


def drift(runs: int) -> dict[str, Any]:
    """Median values after 200,000 steps that began at the outer objective's own values."""
    rows = {}
    for name, changes in DRIFTS.items():
        settings = variant({}, steps=200_000, learning_rate=1e-2, **changes)
        outcome = population.run(settings, range(2000, 2000 + runs))
        rows[name] = {h: float(np.median(x[:, -1])) for h, x in outcome.hyperparameters.items()}
        print(name, json.dumps(rows[name]), flush=True)
    return rows


def main() -> None:
    """Runs both parts and writes benchmarks/results/signals.json."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    parts: dict[str, Callable[[int], dict[str, Any]]] = {"signals": signals, "drift": drift}
    result = {"runs": runs} | {name: part(runs) for name, part in parts.items()}
    write("signals", result)


if __name__ == "__main__":
    main()
