"""One configuration on many tasks: `python -m selftuning.benchmarks.tasks DIR [TASK ...]`.

Every run of a task is a file in DIR, and a run that has its file is not made again. What one of
ours had learned when it was stopped is in DIR/runs, and it goes on from there, on the host with new
episodes: stop it when you like. What is there joins what benchmarks/results/tasks.json has, or
takes its place, and the table of docs/tasks.md is made of it. A score is the mean return of 20
greedy episodes after the last step of training; of a run that diverged, that of its last agent
before. With --steps runs are shorter than the table says,
and have a table of their own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

import selftuning as st
from selftuning.benchmarks import record
from selftuning.benchmarks.record import DOCS, keep, markdown, with_recorded, with_table, write
from selftuning.training.evaluation import summarise

EPISODES = 20  # of an evaluation
PAGE = DOCS / "tasks.md"


class Row(NamedTuple):
    """A task: environment steps of training, the score to reach, and that of the zoo's PPO.

    The zoo's agents have hyperparameters that were tuned for each task (rl-baselines3-zoo,
    benchmark.md, one run each; with other numbers of steps where the text says so).
    """

    steps: int
    goal: float
    zoo: str = ""


ROWS: dict[str, Row] = {
    "CartPole-v1": Row(100_000, 475, "500"),
    "Acrobot-v1": Row(500_000, -85, "-74 (1M)"),
    "Pendulum-v1": Row(100_000, -200, "-172"),
    "FrozenLake8x8-v1": Row(300_000, 0.6),
    "MountainCarContinuous-v0": Row(100_000, 85, "88 (20k)"),
    "InvertedPendulum-v5": Row(1_000_000, 1000),
    "Taxi-v4": Row(500_000, 7),
    "MiniGrid-Empty-8x8-v0": Row(300_000, 0.95),
    "MiniGrid-DoorKey-6x6-v0": Row(300_000, 0.9),
    "MountainCar-v0": Row(1_000_000, -120, "-110"),
    "LunarLander-v3": Row(1_000_000, 230, "242"),
    "LunarLanderContinuous-v3": Row(1_000_000, 250, "271"),
    "Hopper-v5": Row(1_000_000, 2400, "2410"),
    "Walker2d-v5": Row(1_000_000, 3000, "3479"),
    "HalfCheetah-v5": Row(1_000_000, 4000, "5819"),
    "Swimmer-v5": Row(1_000_000, 250, "282"),
    "BipedalWalker-v3": Row(2_000_000, 200, "213 (5M)"),
    "gymnax:Breakout-MinAtar": Row(10_000_000, 28),
    "gymnax:Asterix-MinAtar": Row(10_000_000, 15),
    "gymnax:Freeway-MinAtar": Row(10_000_000, 58),
    "gymnax:SpaceInvaders-MinAtar": Row(10_000_000, 131),
}

# The first is what a user gets who says nothing but the name of the task.
OURS: dict[str, dict[str, Any]] = {
    "default": {},
    "untuned": {"meta": "none"},
    # The default until it was seen what tuning the other two costs.
    "all_three": {"tune": ["lambda", "entropy"], "meta_optimizer": "adam"},
    "actor_critic": {"preset": "actor_critic"},
}
OTHER = "stable_baselines3"  # its PPO with its own defaults, one environment of them
AGENTS = (*OURS, OTHER)
SAME = ("task", "agent", "seed", "asked")  # of which a run is made once
COMPARED = ("default", "untuned", "all_three")  # where runs are short


def measure(directory: Path, task: str, agent: str, seed: int, steps: int) -> None:
    """Trains and evaluates once, unless that has been done."""
    file = directory / f"{task}-{agent}-{steps}-{seed}.json"
    if file.exists():
        return
    if agent == OTHER:
        run = _theirs(task, seed, steps)
    else:
        run = _ours(task, seed, steps, OURS[agent], directory / "runs" / file.stem)
    result = {"task": task, "agent": agent, "seed": seed, "asked": steps, **run}
    keep(file, result)


def _ours(task: str, seed: int, steps: int, changes: dict[str, Any], out: Path) -> dict[str, Any]:
    file = out / "summary.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if not known.get("finished"):
        run = st.train(task, seed=seed, steps=steps, out=out, **changes)
        if run.interrupted:
            raise KeyboardInterrupt
        known = run.summary
    return {
        "steps": known["env_steps"],
        "diverged": known["diverged"],
        "score": st.load(out).evaluate(EPISODES).mean,
        "last_100": known["last_100_return"],
        "solved_at": known["solved_at_env_steps"],
        "wall_seconds": known["wall_seconds"],
    }


def _theirs(task: str, seed: int, steps: int) -> dict[str, Any]:
    """The same of Stable-Baselines3, which `pip install stable-baselines3` adds."""
    import stable_baselines3 as sb3
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor

    env, begun = Monitor(gym.make(task)), time.perf_counter()
    model = sb3.PPO("MlpPolicy", env, seed=seed, device="cpu").learn(steps)
    seconds, last = time.perf_counter() - begun, env.get_episode_rewards()[-100:]
    fresh = Monitor(gym.make(task))
    fresh.reset(seed=seed + 10**6)
    score, _ = evaluate_policy(model, fresh, EPISODES)
    return {
        "steps": model.num_timesteps,
        "score": float(np.asarray(score)),
        "last_100": float(np.mean(last)),
        "solved_at": None,
        "wall_seconds": seconds,
    }


def kept(directory: Path) -> list[dict[str, Any]]:
    """All results in a directory, in the order of the table."""
    found = []
    for file in directory.glob("*-[0-9]*-[0-9]*.json"):
        # Files of version 0.2 have the steps that were asked for in their names alone.
        asked = int(file.stem.rsplit("-", 2)[1])
        found.append({"asked": asked, **json.loads(file.read_text(encoding="utf-8"))})
    return in_order(found)


def in_order(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results of the rows and agents that there are, as the table has them."""
    tasks = list(ROWS)
    known = (x for x in results if x["task"] in ROWS and x["agent"] in AGENTS)
    return sorted(
        known, key=lambda x: (tasks.index(x["task"]), AGENTS.index(x["agent"]), x["seed"])
    )


def table(results: list[dict[str, Any]]) -> str:
    """Tasks down, agents across: mean score over seeds with Student's 95% interval."""
    head = ("task", "steps", *AGENTS, "seeds", "goal", "zoo's PPO, tuned per task")
    full = [x for x in results if x["asked"] >= ROWS[x["task"]].steps]
    return markdown(head, _lines(full))


def shorter(results: list[dict[str, Any]]) -> str:
    """Runs that had fewer steps than a row of the table, the goal of which is that of all steps."""
    head = ("task", "steps", *COMPARED, "seeds", "goal, at these steps")
    lines = []
    for task, row in ROWS.items():
        found = [x for x in results if x["task"] == task and x["asked"] < row.steps]
        for steps in sorted({x["asked"] for x in found}):
            scores = [
                [x["score"] for x in found if (x["asked"], x["agent"]) == (steps, agent)]
                for agent in COMPARED
            ]
            seeds, goal = (
                "/".join(str(len(x)) for x in scores),
                f"{row.goal:g}, {_steps(row.steps)}",
            )
            lines.append((task, _steps(steps), *map(_interval, scores), seeds, goal))
    return markdown(head, lines)


def _steps(steps: int) -> str:
    return f"{steps / 1e3:.0f}k"


def _lines(results: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for task, row in ROWS.items():
        scores = {
            agent: [x["score"] for x in results if (x["task"], x["agent"]) == (task, agent)]
            for agent in AGENTS
        }
        seeds = "/".join(str(len(x)) for x in scores.values())
        cells = (_interval(x) for x in scores.values())
        yield task, _steps(row.steps), *cells, seeds, f"{row.goal:g}", row.zoo


def _interval(scores: list[float]) -> str:
    """The mean with its interval; one or two seeds as they are, an interval would say nothing."""
    if not scores:
        return "not measured"
    largest = max(map(abs, scores))
    digits = 2 if largest < 2 else 1 if largest < 20 else 0
    if len(scores) < 3:
        return ", ".join(f"{score:.{digits}f}" for score in scores)
    found = summarise(np.array(scores))
    return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def render(text: str, results: list[dict[str, Any]]) -> str:
    """The text of a page with the tables of some results."""
    return with_table(with_table(text, "tasks", table(results)), "shorter", shorter(results))


def main() -> None:
    """Measures what is missing, row by row, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=record.directory)
    parser.add_argument("tasks", nargs="*", default=[], choices=[[], *ROWS], metavar="TASK")
    parser.add_argument("--agents", nargs="+", default=["default", "untuned"], choices=AGENTS)
    parser.add_argument("--seeds", type=record.positive, default=5)
    less = "of each run, where that is less than the row's"
    parser.add_argument("--steps", type=record.positive, help=less)
    asked = parser.parse_intermixed_args()
    for task in asked.tasks or ROWS:
        for agent in asked.agents:
            for seed in range(asked.seeds):
                steps = min(asked.steps or ROWS[task].steps, ROWS[task].steps)
                measure(asked.directory, task, agent, seed, steps)
    results = in_order(with_recorded("tasks", kept(asked.directory), SAME))
    write("tasks", {"runs": results})
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    record.run(main)
