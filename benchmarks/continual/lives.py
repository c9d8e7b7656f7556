"""Lives of agents: their settings by the protocol, their scores, and the files that they leave."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import selftuning as st
from selftuning.benchmarks.continual.agents import AGENTS
from selftuning.benchmarks.record import keep
from selftuning.configs import keywords
from selftuning.configs.errors import require
from selftuning.configs.settings import RunSettings
from selftuning.envs.changes import CHANGES
from selftuning.envs.lives import CONTINUAL
from selftuning.training.metrics import Episodes


class Schedule(NamedTuple):
    """When a task changes over a life.

    Attributes:
      levels: how many there are.
      level_steps: of each, of all environments together.
    """

    levels: int
    level_steps: int


LEVELS = 10
LEVEL_STEPS = 160_000
BLOCK = 800

TASKS = CONTINUAL
INSIDE = tuple(task for task in TASKS if "Lunar" not in task)  # of which all changes are known
OFFSET = "offset"  # what changes in the published protocol
OFTEN_CHANGE = "actions"
# Levels that come often are a few times as long as the actor-critic needs to learn them.
OFTEN = {
    "ContinualAcrobot-v0": Schedule(50, 32_000),
    "ContinualCartPole-v0": Schedule(200, 16_000),
    "ContinualMountainCar-v0": Schedule(25, 64_000),
}
SAME = ("change", "task", "agent", "seed", "level_steps")  # of which a life is lived once
# Files of results: of reported lives, and of those by which settings are chosen.
RECORDED = ("continual", "continual_choice", "continual_often", "continual_often_choice")
CHOICE = 1000  # seeds from here on are those by which settings are chosen


class Score(NamedTuple):
    """What a life came to; None of one that diverged before its end.

    Attributes:
      mean: over the blocks of all environments, of the mean return of the episodes in each.
      levels: the same over the blocks of each level, or of each part of a life.
    """

    mean: float | None
    levels: list[float] | None


def score(
    episodes: Episodes, num_envs: int, level_steps: int, levels: int = LEVELS, block: int = BLOCK
) -> Score:
    """The score of a life of `levels` * `level_steps` steps, from every episode of it.

    A block is `block` steps of one environment, and an episode ends with it, as published. With
    several environments there are as many blocks as with one. Episodes that end later than the
    life, since a run has whole cycles, are left out.

    Raises:
      ValueError: if no episode ended in a block: the life is not a whole one.
    """
    own_steps, per_env = episodes.env_steps // num_envs, levels * level_steps // num_envs
    lived = own_steps <= per_env
    at = (own_steps[lived] - 1) // block, episodes.env[lived]
    count, total = (np.zeros((per_env // block, num_envs)) for _ in range(2))
    np.add.at(count, at, 1)
    np.add.at(total, at, episodes.returns[lived])
    if not count.all():
        raise ValueError(f"{np.sum(count == 0)} blocks of {count.size} have no end of an episode")
    by_level = (total / count).reshape(levels, -1).mean(axis=1)
    return Score(float(by_level.mean()), by_level.tolist())


def published(level_steps: int = LEVEL_STEPS) -> dict[str, Schedule]:
    """Ten levels for every task."""
    return dict.fromkeys(TASKS, Schedule(LEVELS, level_steps))


def life(task: str, agent: str, seed: int, schedule: Schedule, change: str = OFFSET) -> RunSettings:
    """The settings of a run. Its clock counts the steps of one environment, so levels are divided.

    Raises:
      ConfigError: if environments cannot share a level equally.
    """
    changes = {"anneal_learning_rate": False, **AGENTS[agent]}
    preset = changes.pop("preset", None)
    levels, level_steps = schedule
    changes |= {"seed": seed, "steps": levels * level_steps}
    num_envs = keywords.run_settings(None, task, None, preset, changes).num_envs
    each = f"a multiple of {num_envs * BLOCK}, a block of each of {num_envs} environments"
    require(level_steps % (num_envs * BLOCK) == 0, "--level-steps", level_steps, each)
    changes["env_kwargs"] = {
        "change": change,
        "levels": levels,
        "switch_every": level_steps // num_envs,
        "block": BLOCK,
        "change_seed": seed,
    }
    return keywords.run_settings(None, task, None, preset, changes)


def measure(
    directory: Path, task: str, agent: str, seed: int, schedule: Schedule, change: str = OFFSET
) -> None:
    """Lives once, unless that has been done."""
    level_steps = schedule.level_steps
    name = agent.replace(", ", "-").replace(" ", "_")
    name = name if change == OFFSET else f"{change}-{name}"
    levels = "" if schedule.levels == LEVELS else f"{schedule.levels}x"
    file = directory / f"{task}-{name}-{levels}{level_steps}-{seed}.json"
    if file.exists():
        return
    settings = life(task, agent, seed, schedule, change)
    run = st.train(settings=settings)
    if run.interrupted:
        raise KeyboardInterrupt
    found = Score(None, None)
    if not run.summary["diverged"]:
        found = score(run.episodes, settings.num_envs, schedule.levels * level_steps // LEVELS)
    result = {
        "task": task,
        "change": change,
        "agent": agent,
        "seed": seed,
        "num_levels": schedule.levels,
        "level_steps": level_steps,
        "steps": run.summary["env_steps"],
        "score": found.mean,
        # Of a life with more levels than ten: of its tenths.
        "levels" if schedule.levels == LEVELS else "tenths": found.levels,
        "wall_seconds": run.summary["wall_seconds"],
    }
    keep(file, result)


def kept(directory: Path, schedules: Mapping[str, Schedule]) -> list[dict[str, Any]]:
    """The results in a directory of lives with these schedules, in the order of the tables."""
    return [x for x in _found(directory, schedules) if x["seed"] < CHOICE]


def tried(directory: Path, schedules: Mapping[str, Schedule]) -> list[dict[str, Any]]:
    """The same of seeds by which settings are chosen."""
    return [x for x in _found(directory, schedules) if x["seed"] >= CHOICE]


def _found(directory: Path, schedules: Mapping[str, Schedule]) -> list[dict[str, Any]]:
    files = directory.glob("*-[0-9]*-[0-9]*.json")
    found = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    lived = [x for x in found if _schedule(x) == schedules.get(x["task"])]
    # Files of version 0.2 do not name the change, of which there was one.
    return in_order({"change": OFFSET, **x} for x in lived)


def _schedule(result: dict[str, Any]) -> Schedule:
    return Schedule(result.get("num_levels", LEVELS), result["level_steps"])


def in_order(lives: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lives of the tasks and agents that there are, as the tables have them."""
    agents, changes = list(AGENTS), list(CHANGES)
    known = (x for x in lives if x["agent"] in AGENTS and x["task"] in TASKS)

    def place(x: dict[str, Any]) -> tuple[int, ...]:
        change, task, agent = changes.index(x["change"]), TASKS.index(x["task"]), x["agent"]
        return change, task, agents.index(agent), x["seed"]

    return sorted(known, key=place)
