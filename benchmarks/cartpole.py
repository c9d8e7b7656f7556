"""What the README claims of CartPole-v1, measured: `python -m selftuning.benchmarks.cartpole PART`.

Parts are `learning` (20 seeds with the defaults), `starts` (12 starts x 10 seeds, with and
without tuning), `meta-optimizers` (the same with each of them), `speed` (steps a second, in
one run) and `host` (the same agent in-graph and through gymnasium.vector). Each prints its
numbers and writes them to benchmarks/results/.
None of its seeds was used to choose the defaults; those were 1000 and up.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from operator import truediv
from typing import Any, NamedTuple, get_args

import jax
import numpy as np

from selftuning.agents import self_tuning
from selftuning.benchmarks.record import write
from selftuning.configs import presets
from selftuning.configs.settings import MetaOptimizer, Method, RunSettings
from selftuning.envs import registry
from selftuning.studies import population
from selftuning.training.runner import make_runner

THRESHOLD = 475.0
STARTS = list(itertools.product((0.5, 0.9, 0.99), (0.01, 0.5), (0.5, 0.95)))
FIXED = "fixed at the outer values"
METHODS: tuple[Method, ...] = ("none", "mg", "bmg")


def settings_for(method: Method, agent: str = "default", **changes: Any) -> RunSettings:
    """The defaults with a method; `agent="trial"` is the slower agent of our first trials.

    It has 16 environments, 8-step rollouts, critic weight 0.05 and values that are not
    scaled.
    """
    settings = presets.for_env("CartPole-v1")
    settings = replace(settings, tuning=replace(settings.tuning, method=method), **changes)
    if agent == "trial":
        critic = replace(settings.hyperparameters["critic"], start=0.05, outer=0.05)
        settings = replace(
            settings,
            num_envs=16,
            agent=replace(settings.agent, rollout_length=8, value_scale=1.0),
            hyperparameters={**settings.hyperparameters, "critic": critic},
        )
    return settings


def learning(seeds: int = 20) -> dict[str, Any]:
    """Steps to solve, and what is kept of it, with each method and the default start."""
    rows = {}
    for method in METHODS:
        outcome = population.run(settings_for(method, steps=500_000), range(seeds), evaluations=100)
        solved = population.solved_at(outcome, THRESHOLD)
        greedy = population.greedy_at(outcome, THRESHOLD)
        tail = population.last_tenth(population.curves(outcome))
        rows[method] = {
            "solved_within_250k": int((solved <= 250_000).sum()),
            "solved_at": population.median_interval(solved),
            "solved_at_slowest": float(solved.max()),
            "greedy_at": population.median_interval(greedy),
            "last_tenth_above_450": int((tail > 450).sum()),
            "last_tenth": population.median_interval(tail),
            "last_tenth_worst": float(tail.min()),
        }
        print(method, json.dumps(rows[method]), flush=True)
    return {"seeds": seeds, "steps": 500_000, "rows": rows}


def starts(seeds: int = 10, agent: str = "default") -> dict[str, Any]:
    """Twelve starts with each method, and the agent fixed at the outer objective's values."""
    contestants: dict[str, Method] = {method: method for method in METHODS} | {FIXED: "none"}
    return {"agent": agent} | _from_starts(
        {name: settings_for(method, agent) for name, method in contestants.items()}, seeds
    )


def meta_optimizers(seeds: int = 10) -> dict[str, Any]:
    """The same twelve starts with each meta-optimiser, at the step size chosen for Adam."""
    settings = settings_for("bmg")
    return _from_starts(
        {
            name: replace(settings, tuning=replace(settings.tuning, optimizer=name))
            for name in get_args(MetaOptimizer)
        },
        seeds,
    )


def _from_starts(contestants: dict[str, RunSettings], seeds: int) -> dict[str, Any]:
    grid = {
        name: [start[i] for start in STARTS for _ in range(seeds)]
        for i, name in enumerate(("gamma", "entropy", "lambda"))
    }
    runs = list(range(seeds)) * len(STARTS)
    rows = {}
    for name, settings in contestants.items():
        seeds_of_runs, at = (range(len(runs)), None) if name == FIXED else (runs, grid)
        outcome = population.run(replace(settings, steps=300_000), seeds_of_runs, at)
        curve = population.curves(outcome)
        last = population.last_tenth(curve).reshape(len(STARTS), seeds)
        whole = curve.mean(1).reshape(len(STARTS), seeds)
        rows[name] = {
            "last_tenth": population.interval(last),
            "last_tenth_by_start": last.mean(1).tolist(),
            "whole_run": population.interval(whole),
            "whole_run_by_start": whole.mean(1).tolist(),
            "hyperparameters_at_end": {
                h: np.median(x[:, -1].reshape(len(STARTS), seeds), 1).tolist()
                for h, x in outcome.hyperparameters.items()
            },
        }
        print(name, json.dumps(rows[name]), flush=True)
    return {"seeds": seeds, "steps": 300_000, "starts": STARTS, "rows": rows}


class Contestant(NamedTuple):
    """A compiled run and its rates so far, in environment steps a second."""

    run: Callable[[Any], Any]
    steps: int
    compile_seconds: float
    rates: list[float]


def _contestant(method: Method, num_envs: int) -> tuple[Contestant, Any]:
    settings = replace(settings_for(method), num_envs=num_envs)
    task = registry.make("CartPole-v1", num_envs, "jax")
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    runner = make_runner(task, agent, settings)
    state = runner.init(jax.random.PRNGKey(0))
    cycles = 200_000 // runner.steps_per_cycle
    begun = time.perf_counter()
    run = runner.compile(state, cycles)
    seconds = time.perf_counter() - begun
    return Contestant(run, cycles * runner.steps_per_cycle, seconds, []), state


def speed(repeats: int = 9) -> dict[str, Any]:
    """Steps a second of one run after compilation: the contestants in turn, medians."""
    names = list(itertools.product((4, 64), METHODS))
    contestants, states = {}, {}
    for num_envs, method in names:
        contestants[num_envs, method], states[num_envs, method] = _contestant(method, num_envs)
    for _ in range(repeats):
        for name, contestant in contestants.items():
            begun = time.perf_counter()
            states[name] = jax.block_until_ready(contestant.run(states[name])[0])
            contestant.rates.append(contestant.steps / (time.perf_counter() - begun))
    rows = {}
    for (num_envs, method), contestant in contestants.items():
        plain = contestants[num_envs, "none"].rates
        rows[f"{num_envs} environments, {method}"] = {
            "steps_per_second": statistics.median(contestant.rates),
            "of_plain": statistics.median(map(truediv, contestant.rates, plain)),
            "compile_seconds": contestant.compile_seconds,
        }
    print(json.dumps(rows, indent=1))
    return {"rows": rows}


def host(seeds: int = 5) -> dict[str, Any]:
    """The same agent on the same task, in-graph and through gymnasium.vector."""
    rows: dict[str, Any] = {}
    for backend in ("jax", "host"):
        solved, last, rates = [], [], []
        for seed in range(seeds):
            settings = settings_for("bmg", steps=200_000, seed=seed)
            task = registry.make("CartPole-v1", settings.num_envs, backend)
            spaces = task.spec.observation_space, task.spec.action_space
            runner = make_runner(task, self_tuning.make(*spaces, settings), settings)
            state = runner.init(jax.random.PRNGKey(seed))
            run = runner.compile(state, -(-settings.steps // runner.steps_per_cycle))
            begun = time.perf_counter()
            _, metrics = jax.tree.map(np.asarray, run(state))
            rates.append(settings.steps / (time.perf_counter() - begun))
            shape = (1, -1, settings.num_envs)
            ends, returns = (
                metrics.episode_end.reshape(shape),
                metrics.episode_return.reshape(shape),
            )
            outcome = population.Outcome(ends, returns, np.empty(0), {}, {}, 0.0)
            solved.append(float(population.solved_at(outcome, THRESHOLD)[0]))
            last.append(float(population.last_tenth(population.curves(outcome))[0]))
        rows[backend] = {
            "solved_at": solved,
            "last_tenth": last,
            "steps_per_second": statistics.median(rates),
        }
        print(backend, json.dumps(rows[backend]), flush=True)
    return {"seeds": seeds, "steps": 200_000, "rows": rows}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "learning": learning,
    "starts": starts,
    "meta-optimizers": meta_optimizers,
    "speed": speed,
    "host": host,
}


def main() -> None:
    """Runs one part and writes its numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--seeds", type=int, help="other than the default of the part")
    parser.add_argument("--agent", choices=["default", "trial"], default="default")
    arguments = parser.parse_args()
    keywords: dict[str, Any] = {}
    if arguments.seeds and arguments.part != "speed":
        keywords["seeds"] = arguments.seeds
    if arguments.part == "starts":
        keywords["agent"] = arguments.agent
    result = PARTS[arguments.part](**keywords)
    suffix = "-trial" if arguments.agent == "trial" else ""
    write(f"cartpole-{arguments.part}{suffix}", result)


if __name__ == "__main__":
    main()
