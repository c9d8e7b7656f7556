"""Self-tuning and its alternatives on equal steps: `python -m selftuning.benchmarks.methods TASK`.

Tasks are CartPole and Acrobot. Eight starts, a good one among them and bad ones, are eight runs
of a self-tuning agent, or the eight members of a random search or of population-based training.
With the budget "member" a search makes as many environment steps as the eight runs of one seed
together, with "run" no more than one of them. `--options` takes the eight starts of CartPole
with each option of tuning in place of that.

No seed below 1000 was used to choose settings. The outer objective has the same values
everywhere, and no method is told which start is the good one.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from selftuning.benchmarks import record
from selftuning.benchmarks.cartpole import FIXED
from selftuning.configs import presets
from selftuning.configs.searches import Budget, SearchSettings
from selftuning.configs.settings import RunSettings
from selftuning.studies import population
from selftuning.studies.population import BINS, WINDOW
from selftuning.studies.searches import search_results, stages
from selftuning.training import host_devices

STARTS = list(itertools.product((0.7, 0.99), (0.003, 0.3), (0.5, 0.95)))
NAMES = ("gamma", "entropy", "lambda")
STEPS = 300_000
SEEDS = 10
THRESHOLDS = {"CartPole": 475.0, "Acrobot": -100.0}  # of the environments

SELF_TUNED = ("none", "mg", "bmg", "stacx")


def settings_for(task: str) -> RunSettings:
    """The default agent of a task, with bmg."""
    return replace(presets.for_env(f"{task}-v1"), steps=STEPS)


def with_contestant(settings: RunSettings, name: str) -> RunSettings:
    """Settings with a method of tuning, or with none."""
    if name in presets.METHODS:
        return presets.with_method(settings, name)
    method: Any = "none" if name == FIXED else name
    return replace(settings, tuning=replace(settings.tuning, method=method))


def _tuning(**changes: Any) -> Callable[[RunSettings], RunSettings]:
    return lambda settings: replace(settings, tuning=replace(settings.tuning, **changes))


def _agent(**changes: Any) -> Callable[[RunSettings], RunSettings]:
    return lambda settings: replace(settings, agent=replace(settings.agent, **changes))


OPTIONS: dict[str, Callable[[RunSettings], RunSettings]] = {
    "bmg": _tuning(),
    "bmg, L=4": _tuning(target_steps=4),
    "bmg, L=4 by the mixed target": _tuning(target_steps=4, target_by="mixed"),
    "bmg, target with a state of its own": _tuning(target_state="own"),
    "bmg, KL(target, student)": _tuning(matching="kl"),
    "bmg, value weight 1": _tuning(value_weight=1.0),
    "bmg, K=3": _tuning(inner_steps=3),
    "bmg, K=3, horizon mixing 0.5": _tuning(inner_steps=3, horizon_mixing=0.5),
    "bmg, implicit": _tuning(differentiation="implicit"),
    "bmg, resumed from the student": _tuning(resume="student"),
    "bmg, context of rewards": _tuning(context="reward", learning_rate=1e-2),
    "bmg, rich context": _tuning(context="rich", learning_rate=1e-2),
    "bmg, outer critic": _agent(outer_critic=True),
    "bmg, omega": _tuning(optimizer="omega"),
    "mg": _tuning(method="mg"),
    "mg, outer KL 1": _tuning(method="mg", outer_kl=1.0),
    "mg, outer critic": lambda s: _tuning(method="mg")(_agent(outer_critic=True)(s)),
}


def members_of(curves: np.ndarray, steps: int, interval: int) -> np.ndarray:
    """Curves [R, 60] of the member that is best by what came before, of P side by side.

    Chosen as searches choose: by the returns of the last `interval` environment steps of each.

    Args:
      curves: of all members [P, R, 60].
      steps: environment steps of a member.
      interval: environment steps by which members are compared.
    """
    past = max(1, round(interval * BINS / steps))
    result = curves.mean(0)  # while nothing is known
    for b in range(past, BINS):
        best = curves[:, :, b - past : b].mean(2).argmax(0)
        result[:, b] = curves[best, np.arange(len(best)), b]
    return result


def backfilled(curves: np.ndarray) -> np.ndarray:
    """Curves [R, 60] in which what is not known yet, NaN, is the first value that is known.

    Within the steps of one run members are so short that no episode ends in their first parts.
    """
    first = np.argmax(~np.isnan(curves), 1)
    return np.where(np.isnan(curves), curves[np.arange(len(curves)), first][:, None], curves)


def search_solved_at(result: search_results.Result, threshold: float) -> np.ndarray:
    """Environment steps [R] of whole searches until a member solves the task; inf if none does.

    A member solves it at the end of the first cycle at which its last episodes, at least 100 of
    them and no more cycles than that takes, have a mean return of `threshold`.
    """
    solved = np.full(len(result.returns), np.inf)
    for r, p in itertools.product(*map(range, result.returns.shape[:2])):
        number = result.episodes[r, p]
        counts = np.append(0, np.cumsum(number))
        sums = np.append(0, np.cumsum(np.where(number > 0, result.returns[r, p], 0.0) * number))
        since = np.searchsorted(counts, counts[1:] - WINDOW, side="right") - 1
        number_of_last = counts[1:] - counts[since]
        mean = (sums[1:] - sums[since]) / np.maximum(number_of_last, 1)
        passed = (counts[1:] >= WINDOW) & (mean >= threshold)
        if passed.any():
            solved[r] = min(solved[r], result.steps[passed.argmax()])
    return solved


def population_row(
    outcome: population.Outcome, seeds: int, threshold: float, interval: int
) -> dict[str, Any]:
    """What is reported of 8 runs for each of the seeds, in the order of `runs_of`.

    The runs of one seed are a group; its steps are those of all of them, as a search's are.
    """
    members = len(outcome.episode_end) // seeds
    curves = population.curves(outcome).reshape(members, seeds, BINS)
    best = members_of(curves, outcome.env_steps, interval)
    solved = population.solved_at(outcome, threshold)
    by_start = curves[:, :, -BINS // 10 :].mean((1, 2))
    return {
        "env_steps": members * outcome.env_steps,
        "last_tenth": population.interval(curves[:, :, -BINS // 10 :].mean(2)),
        "whole_run": population.interval(curves.mean(2)),
        "last_tenth_by_start": by_start.tolist(),
        "worst_start": float(by_start.min()),
        **_of_best(best),
        **_solved(solved),
        "seconds": outcome.seconds,
    }


def search_row(result: search_results.Result, threshold: float) -> dict[str, Any]:
    """What is reported of one search for each seed: of members that run, and of the best."""
    curves = search_results.curves(result)
    mean, best = backfilled(curves.mean), backfilled(curves.best)
    return {
        "env_steps": result.env_steps,
        "last_tenth": population.interval(population.last_tenth(mean)[None]),
        "whole_run": population.interval(mean.mean(1)[None]),
        "worst_start": None,  # members change places, or are stopped
        **_of_best(best),
        **_solved(search_solved_at(result, threshold)),
        "seconds": result.seconds,
    }


def _of_best(best: np.ndarray) -> dict[str, Any]:
    last = population.last_tenth(best)
    return {
        "best_last_tenth": population.interval(last[None]),
        "best_worst_seed": float(last.min()),
        "best_whole_run": population.interval(best.mean(1)[None]),
    }


def _solved(steps: np.ndarray) -> dict[str, Any]:
    """Counts, and the median with those that never solved it at the end; None if it is one."""
    median = float(np.median(steps)) if np.isfinite(np.median(steps)) else None
    return {"runs": len(steps), "solved": int(np.isfinite(steps).sum()), "solved_at": median}


def runs_of(seeds: Sequence[int]) -> tuple[list[int], dict[str, list[float]]]:
    """Seeds and start values of eight runs for each seed: start after start."""
    starts = {name: [start[i] for start in STARTS for _ in seeds] for i, name in enumerate(NAMES)}
    return list(seeds) * len(STARTS), starts


def as_members() -> dict[str, list[float]]:
    """The eight starts as those of the members of a search."""
    return {name: [start[i] for start in STARTS] for i, name in enumerate(NAMES)}


def contest(task: str, seeds: Sequence[int], steps: int = STEPS) -> dict[str, Any]:
    """All contestants on one task."""
    settings, threshold = replace(settings_for(task), steps=steps), THRESHOLDS[task]
    config = SearchSettings(members=len(STARTS), interval=min(10_000, steps // 20))
    rows: dict[str, dict[str, Any]] = {}
    runs, starts = runs_of(seeds)
    for name in (*SELF_TUNED, FIXED):
        others = stages.member_seeds(seeds, len(STARTS))
        which, at = (others, None) if name == FIXED else (runs, starts)
        outcome = population.run(with_contestant(settings, name), which, at)
        row = population_row(outcome, len(seeds), threshold, config.interval)
        if name == FIXED:  # eight times the same start
            del row["worst_start"], row["last_tenth_by_start"]
        rows[name] = row
        _tell(name, row)
    for budget in get_args(Budget):
        within = replace(config, budget=budget)
        if budget == "run":  # a life of an eighth, and as many comparisons in it
            within = replace(within, interval=config.interval // len(STARTS))
        for name, find, at_start in (
            ("random search", search_results.random_search, as_members()),
            ("random search, random starts", search_results.random_search, None),
            ("PBT", search_results.population_based_training, as_members()),
        ):
            result = find(settings, seeds, within, None, at_start)
            rows[f"{name}, {budget}"] = row = search_row(result, threshold)
            _tell(f"{name}, {budget}", row)
    return {"task": task, "seeds": len(seeds), "steps": steps, "starts": STARTS, "rows": rows}


def options(seeds: Sequence[int], steps: int = STEPS) -> dict[str, Any]:
    """The eight starts of CartPole with each option of tuning."""
    settings = replace(settings_for("CartPole"), steps=steps)
    rows = {}
    runs, starts = runs_of(seeds)
    for name, change in OPTIONS.items():
        outcome = population.run(change(settings), runs, starts)
        rows[name] = population_row(outcome, len(seeds), THRESHOLDS["CartPole"], 10_000)
        _tell(name, rows[name])
    return {"seeds": len(seeds), "steps": steps, "starts": STARTS, "rows": rows}


def _tell(name: str, row: dict[str, Any]) -> None:
    print(name, json.dumps(row), flush=True)


def main() -> None:
    """Runs one benchmark and writes its numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=list(THRESHOLDS))
    parser.add_argument("--options", action="store_true", help="of tuning, on CartPole")
    parser.add_argument("--seeds", type=int, help="other than the default, 10 (options: 5)")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    host_devices.enable()
    if arguments.options:
        if arguments.task != "CartPole":
            parser.error("--options: CartPole only")
        result = options(range(arguments.seeds or SEEDS // 2), arguments.steps)
        record.write("methods-options", result)
    else:
        result = contest(arguments.task, range(arguments.seeds or SEEDS), arguments.steps)
        record.write(f"methods-{arguments.task.lower()}", result)


if __name__ == "__main__":
    main()
