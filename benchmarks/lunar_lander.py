"""Tuning on a task that is stepped on the host: `python -m selftuning.benchmarks.lunar_lander`.

LunarLander-v3 (`pip install -e '.[box2d]'`) through gymnasium.vector: two discounts x two entropy
weights x 3 seeds, fixed and tuned, 300,000 steps each. A run is a serial program, so several
processes of one thread make them. What is measured is written after every run; the same command
goes on where it was stopped. No seed below 1000 was used to choose the settings.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from selftuning.agents import self_tuning
from selftuning.benchmarks import record
from selftuning.benchmarks.cartpole import FIXED
from selftuning.configs import presets
from selftuning.configs.settings import Method, RunSettings
from selftuning.envs import registry
from selftuning.studies import population
from selftuning.training.runner import make_runner

NAME = "lunar-lander"
STEPS = 300_000
SEEDS = 3
STARTS = list(itertools.product((0.9, 0.999), (0.01, 0.3)))
CONTESTANTS: dict[str, Method] = {"none": "none", "mg": "mg", "bmg": "bmg", FIXED: "none"}

# One thread for each process: XLA's own would only wait for each other.
_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


class Job(NamedTuple):
    """One run: a contestant, its start values of gamma and entropy or None, and a seed."""

    contestant: str
    start: tuple[float, float] | None
    seed: int

    @property
    def key(self) -> str:
        """By which the run is found among the results."""
        return " ".join(map(str, (self.contestant, *(self.start or ()), self.seed)))


def settings_for(method: Method, steps: int = STEPS) -> RunSettings:
    """The preset, which learns something within 300,000 steps (trials on seeds 1000 and up)."""
    settings = presets.for_env("LunarLander-v3")
    tuning = replace(settings.tuning, method=method)
    return replace(settings, steps=steps, backend="host", tuning=tuning)


def jobs(seeds: int = SEEDS) -> list[Job]:
    """All runs, in an order in which the contestants come to the same seed one after the other.

    The agent fixed at the outer values has as many runs as each of the others, of other seeds.
    """
    result = []
    for seed in range(seeds):
        for number, start in enumerate(STARTS):
            for contestant in CONTESTANTS:
                if contestant == FIXED:
                    result.append(Job(contestant, None, number * seeds + seed))
                else:
                    result.append(Job(contestant, start, seed))
    return result


def run(job: Job, steps: int = STEPS) -> dict[str, Any]:
    """One run: its learning curve [60], the hyperparameters at its end, seconds of running."""
    settings = replace(settings_for(CONTESTANTS[job.contestant], steps), seed=job.seed)
    task = registry.make(settings.env, settings.num_envs, settings.backend)
    spaces = task.spec.observation_space, task.spec.action_space
    runner = make_runner(task, self_tuning.make(*spaces, settings), settings)
    values = dict(zip(("gamma", "entropy"), job.start, strict=True)) if job.start else None
    state = runner.init(jax.random.PRNGKey(job.seed), values)
    advance = runner.compile(state, -(-steps // runner.steps_per_cycle))
    begun = time.perf_counter()
    _, metrics = jax.tree.map(np.asarray, advance(state))
    seconds = time.perf_counter() - begun
    shape = (1, -1, settings.num_envs)
    ends, returns = (
        x.reshape(shape) for x in (metrics.episode_end.astype(bool), metrics.episode_return)
    )
    curve = population.curves(population.Outcome(ends, returns, np.empty(0), {}, {}, 0.0))
    return {
        "curve": curve[0].round(2).tolist(),
        "hyperparameters_at_end": {n: float(x[-1]) for n, x in metrics.hyperparameters.items()},
        "seconds": round(seconds, 1),
    }


def rows(runs: dict[str, dict[str, Any]], seeds: int = SEEDS) -> dict[str, Any]:
    """The table, of the contestants all of whose runs are there."""
    result = {}
    for contestant in CONTESTANTS:
        mine = [job for job in jobs(seeds) if job.contestant == contestant]
        if not all(job.key in runs for job in mine):
            continue
        done = [runs[job.key] for job in mine]
        curve = np.array([one["curve"] for one in done])
        # `jobs` goes through the starts within each seed.
        last = population.last_tenth(curve).reshape(seeds, len(STARTS)).T
        whole = curve.mean(1).reshape(seeds, len(STARTS)).T
        ends = [one["hyperparameters_at_end"] for one in done]
        result[contestant] = {
            "last_tenth": population.interval(last),
            "last_tenth_by_start": last.mean(1).tolist(),
            "whole_run": population.interval(whole),
            "whole_run_by_start": whole.mean(1).tolist(),
            "hyperparameters_at_end": {
                name: [
                    statistics.median(end[name] for end in ends[start :: len(STARTS)])
                    for start in range(len(STARTS))
                ]
                for name in ends[0]
            },
            "seconds": sum(one["seconds"] for one in done),
        }
    return result


def _done_before(settings: dict[str, Any]) -> dict[str, Any]:
    """Runs with these settings that an earlier process has finished."""
    path = record.RESULTS / f"{NAME}.json"
    if not path.exists():
        return {}
    before = json.loads(path.read_text(encoding="utf-8"))
    return before["runs"] if before["settings"] == settings else {}


def _as_json(settings: RunSettings) -> dict[str, Any]:
    """What the runs have in common, as it is read back."""
    agent, tuning = settings.agent, settings.tuning
    return {
        "num_envs": settings.num_envs,
        "rollout_length": agent.rollout_length,
        "value_scale": agent.value_scale,
        "outer_values": {n: x for n, x in settings.outer.items() if n in settings.in_use},
        "period": tuning.period,
        "meta_learning_rate": tuning.learning_rate,
    }


def measure(seeds: int, steps: int, processes: int) -> None:
    """Makes the runs that are not there yet, and writes the results after each."""
    settings = _as_json(settings_for("bmg")) | {"seeds": seeds, "steps": steps}
    runs = _done_before(settings)
    missing = [job for job in jobs(seeds) if job.key not in runs]
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_ONE_THREAD}".strip()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context) as pool:
        running = {pool.submit(run, job, steps): job for job in missing}
        for future in as_completed(running):
            runs[running[future].key] = future.result()
            print(len(runs), running[future].key, runs[running[future].key]["seconds"], flush=True)
            result = {"settings": settings, "starts": STARTS, "rows": rows(runs, seeds)}
            record.write(NAME, result | {"runs": runs})
    print(json.dumps(rows(runs, seeds), indent=1))


def main() -> None:
    """Runs the benchmark, or what is left of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    measure(arguments.seeds, arguments.steps, arguments.processes)


if __name__ == "__main__":
    main()
