"""Tasks that change over a life: `python -m selftuning.benchmarks.continual DIR [TASK ...]`.

    python -m selftuning.benchmarks.continual DIR ContinualCartPole-v0 --agents untuned default
    python -m selftuning.benchmarks.continual DIR ContinualCartPole-v0 --change actions
    python -m selftuning.benchmarks.continual DIR --agents grid --first-seed 1000 --seeds 3

"Continual Gym Control" (TRAC, Muppidi et al. 2024, NeurIPS; C-CHAIN, Tang et al. 2025, ICML): ten
levels of 160,000 steps, at each of which another vector is added to all observations. Vectors are
those of the run's seed. Steps are those of all environments together, and all of them count. With
--change the same protocol has other changes than theirs.

Every run is a file in DIR, and a run that has its file is not made again: stop it when you like.
What is there joins what benchmarks/results/continual.json has, or takes its place, and the tables
of docs/continual.md are made of it. Lives of --first-seed 1000, by which settings are chosen, are
in continual_choice.json and have a table of their own. With --level-steps lives are shorter, to try
things out, and in none.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import selftuning as st
from selftuning.benchmarks import record
from selftuning.benchmarks.record import DOCS, keep, markdown, with_recorded, with_table, write
from selftuning.configs import keywords
from selftuning.configs.errors import require
from selftuning.configs.settings import RunSettings
from selftuning.envs.changes import CHANGES
from selftuning.envs.lives import CONTINUAL
from selftuning.training.metrics import Episodes

PAGE = DOCS / "continual.md"
LEVELS = 10
LEVEL_STEPS = 160_000
BLOCK = 800

TASKS = CONTINUAL
_INSIDE = tuple(task for task in TASKS if "Lunar" not in task)  # of which all changes are known
OFFSET = "offset"  # what changes in the published protocol
SAME = ("change", "task", "agent", "seed", "level_steps")  # of which a life is lived once
CHOICE = 1000  # seeds from here on are those by which settings are chosen
# Fixed settings that the best is chosen from. "untuned" has a weight of 0.01 and a rate of 0.001.
WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3)
RATES = (3e-4, 1e-3, 3e-3)

_UNTUNED: dict[str, Any] = {"meta": "none"}
_KEEPS_ALL: dict[str, Any] = {"normalization_reset": float("inf")}
_BARRIER: dict[str, Any] = {"regularize": "barrier"}
# A learning rate is cut where an update leaves its trust region, and has to come back.
_RATE: dict[str, Any] = {
    "meta": "mg",
    "tune": ["learning_rate"],
    "fix": ["gamma"],
    "trust_region_repay": 0.01,
}
_HARDLY: dict[str, Any] = {"meta_optimizer": "adam", "meta_learning_rate": 1e-8}


def _fixed(weight: float, rate: float) -> dict[str, Any]:
    return {**_UNTUNED, "start": {"entropy": weight, "learning_rate": rate}}


GRID = {
    f"untuned, entropy {weight:g}, rate {rate:g}": _fixed(weight, rate)
    for weight in WEIGHTS
    for rate in RATES
    if (weight, rate) != (0.01, 1e-3)
}
# Changes to the agent that a user gets who says nothing. No learning rate falls, but in "anneal": a
# life has no end that the agent knows of. The outer objective has an entropy weight of 0.01 in all.
AGENTS: dict[str, dict[str, Any]] = {
    "default": {},
    "default, entropy 0.03": {"start": {"entropy": 0.03}},
    "default, entropy 0.1": {"start": {"entropy": 0.1}},
    "all three tuned": {"tune": ["lambda", "entropy"]},
    "all four tuned": {"tune": ["lambda", "entropy", "learning_rate"]},
    "default, barrier": _BARRIER,
    "default, barrier tuned": {**_BARRIER, "tune": ["barrier"]},
    "rate tuned": _RATE,
    "rate tuned, barrier": {**_RATE, **_BARRIER},
    # The same trust region, and meta-gradients that move nothing: what does the region alone?
    "rate kept, barrier": {**_RATE, **_BARRIER, **_HARDLY},
    "untuned": _UNTUNED,
    "untuned, barrier": {**_UNTUNED, **_BARRIER},
    **GRID,
    "anneal": {**_UNTUNED, "anneal_learning_rate": True, "anneal_entropy": True},
    "untuned, keeps all": {**_UNTUNED, **_KEEPS_ALL},
    "untuned, entropy 0.03, keeps all": {**_UNTUNED, **_KEEPS_ALL, "start": {"entropy": 0.03}},
    "default, entropy 0.03, keeps all": {**_KEEPS_ALL, "start": {"entropy": 0.03}},
    "untuned, memory 5000, keeps all": {
        **_UNTUNED,
        **_KEEPS_ALL,
        "normalization_memory": 5000.0,
    },
    "untuned, raw observations": {**_UNTUNED, "normalize_observations": False},
    "untuned, trac": {**_UNTUNED, "inner_optimizer": "trac"},
    "untuned actor_critic": {**_UNTUNED, "preset": "actor_critic"},
    "actor_critic": {"preset": "actor_critic"},
}

# Means over six seeds and their standard errors, task after task: C-CHAIN (Tang et al. 2025),
# Table 1. Theirs is LunarLander-v2. "Oracle" is an agent with new networks at each level.
PUBLISHED: dict[str, tuple[tuple[float, float], ...]] = {
    "oracle": ((-125.7, 8.3), (299.9, 6.0), (1.1, 2.0), (-322.6, 9.4)),
    "PPO": ((-372.7, 3.3), (61.8, 6.9), (-499.4, 19.6), (-346.6, 4.6)),
    "TRAC": ((-166.6, 8.9), (217.4, 26.3), (-58.1, 17.5), (-400.0, 0.01)),
    "weight clipping": ((-118.8, 13.4), (154.3, 16.0), (-58.6, 2.9), (-267.9, 6.9)),
    "L2 Init": ((-134.0, 14.3), (266.1, 5.3), (-6.7, 5.9), (-369.4, 27.9)),
    "C-CHAIN": ((-119.2, 6.9), (160.4, 14.6), (-16.7, 8.4), (-245.7, 14.7)),
}


class Score(NamedTuple):
    """What a life came to; None of one that diverged before its end.

    Attributes:
      mean: over the blocks of all environments, of the mean return of the episodes in each.
      levels: the same over the blocks of each level.
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


def life(task: str, agent: str, seed: int, level_steps: int, change: str = OFFSET) -> RunSettings:
    """The settings of a run. Its clock counts the steps of one environment, so levels are divided.

    Raises:
      ConfigError: if environments cannot share a level equally.
    """
    changes = {"anneal_learning_rate": False, **AGENTS[agent]}
    preset = changes.pop("preset", None)
    changes |= {"seed": seed, "steps": LEVELS * level_steps}
    num_envs = keywords.run_settings(None, task, None, preset, changes).num_envs
    each = f"a multiple of {num_envs * BLOCK}, a block of each of {num_envs} environments"
    require(level_steps % (num_envs * BLOCK) == 0, "--level-steps", level_steps, each)
    changes["env_kwargs"] = {
        "change": change,
        "levels": LEVELS,
        "switch_every": level_steps // num_envs,
        "block": BLOCK,
        "change_seed": seed,
    }
    return keywords.run_settings(None, task, None, preset, changes)


def measure(
    directory: Path, task: str, agent: str, seed: int, level_steps: int, change: str = OFFSET
) -> None:
    """Lives once, unless that has been done."""
    name = agent.replace(", ", "-").replace(" ", "_")
    name = name if change == OFFSET else f"{change}-{name}"
    file = directory / f"{task}-{name}-{level_steps}-{seed}.json"
    if file.exists():
        return
    settings = life(task, agent, seed, level_steps, change)
    run = st.train(settings=settings)
    if run.interrupted:
        raise KeyboardInterrupt
    found = Score(None, None)
    if not run.summary["diverged"]:
        found = score(run.episodes, settings.num_envs, level_steps)
    result = {
        "task": task,
        "change": change,
        "agent": agent,
        "seed": seed,
        "level_steps": level_steps,
        "steps": run.summary["env_steps"],
        "score": found.mean,
        "levels": found.levels,
        "wall_seconds": run.summary["wall_seconds"],
    }
    keep(file, result)


def kept(directory: Path) -> list[dict[str, Any]]:
    """All results of whole lives in a directory, in the order of the tables."""
    return [x for x in _found(directory, LEVEL_STEPS) if x["seed"] < CHOICE]


def tried(directory: Path, level_steps: int) -> list[dict[str, Any]]:
    """The same of seeds by which settings are chosen."""
    return [x for x in _found(directory, level_steps) if x["seed"] >= CHOICE]


def _found(directory: Path, level_steps: int) -> list[dict[str, Any]]:
    files = directory.glob("*-[0-9]*-[0-9]*.json")
    found = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    # Files of version 0.2 do not name the change, of which there was one.
    return in_order({"change": OFFSET, **x} for x in found if x["level_steps"] == level_steps)


def in_order(lives: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lives of the tasks and agents that there are, as the tables have them."""
    agents, changes = list(AGENTS), list(CHANGES)
    known = (x for x in lives if x["agent"] in AGENTS and x["task"] in TASKS)

    def place(x: dict[str, Any]) -> tuple[int, ...]:
        change, task, agent = changes.index(x["change"]), TASKS.index(x["task"]), x["agent"]
        return change, task, agents.index(agent), x["seed"]

    return sorted(known, key=place)


def table(results: list[dict[str, Any]]) -> str:
    """Agents that were measured, by tasks: mean over seeds, its standard error, number of them."""
    theirs = (
        (f"*{name}, published*", *(f"{mean:.1f} ({error:.3g}), 6" for mean, error in row))
        for name, row in PUBLISHED.items()
    )
    offsets = [x for x in results if x["change"] == OFFSET]
    return markdown(("agent", *map(_short, TASKS)), (*_scores(offsets, TASKS), *theirs))


def other_changes(results: list[dict[str, Any]]) -> str:
    """The same with changes that are not the published one."""
    return markdown(("change", "agent", *map(_short, _INSIDE)), _other_rows(results))


def _other_rows(results: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for change in CHANGES:
        found = [x for x in results if x["change"] == change != OFFSET]
        for row in _scores(found, _INSIDE):
            yield change, *row


def _scores(results: list[dict[str, Any]], tasks: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for agent in AGENTS:
        if any(x["agent"] == agent for x in results):
            yield agent, *(_cell(_of(results, task, agent)) for task in tasks)


def by_level(results: list[dict[str, Any]]) -> str:
    """Offsets, level after level: means over seeds."""
    head = ("task", "agent", "seeds", *(str(level) for level in range(1, LEVELS + 1)))
    return markdown(head, _level_rows([x for x in results if x["change"] == OFFSET]))


def _level_rows(results: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for task in TASKS:
        for agent in AGENTS:
            found = [x["levels"] for x in _lived(_of(results, task, agent))]
            if found:
                means = (f"{x:.0f}" for x in np.mean(found, axis=0))
                yield _short(task), agent, str(len(found)), *means


def choice(results: list[dict[str, Any]]) -> str:
    """Settings by tasks: mean over seeds and their number, the best of all fixed ones in bold."""
    return markdown(("change", "agent", *map(_short, TASKS)), _choice_rows(results))


def _choice_rows(results: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for change in CHANGES:
        found = [x for x in results if x["change"] == change]
        means = {
            (task, agent): (float(np.mean(scores)), len(scores))
            for task in TASKS
            for agent in AGENTS
            if (scores := [x["score"] for x in _lived(_of(found, task, agent))])
        }
        best = {
            # Of those with most seeds: a single one may be lucky.
            max(fixed, key=lambda key: (means[key][1], means[key][0]))
            for task in TASKS
            if (fixed := [(task, x) for x in ("untuned", *GRID) if (task, x) in means])
        }
        for agent in AGENTS:
            keys = [(task, agent) for task in TASKS]
            if any(key in means for key in keys):
                yield change, agent, *(_tried(means.get(key), key in best) for key in keys)


def _tried(mean: tuple[float, int] | None, is_best: bool) -> str:
    if mean is None:
        return "not measured"
    said = f"{mean[0]:.1f}, {mean[1]}"
    return f"**{said}**" if is_best else said


def _of(results: list[dict[str, Any]], task: str, agent: str) -> list[dict[str, Any]]:
    return [x for x in results if (x["task"], x["agent"]) == (task, agent)]


def _lived(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [x for x in results if x["score"] is not None]


def _short(task: str) -> str:
    return task.removeprefix("Continual").removesuffix("-v0")


def _cell(results: list[dict[str, Any]]) -> str:
    scores = [x["score"] for x in _lived(results)]
    if not results:
        return "not measured"
    lost = len(results) - len(scores)
    said = f"; {lost} diverged" if lost else ""
    if len(scores) < 2:  # of which there is no error
        return "".join(f"{score:.1f}, 1" for score in scores) + said
    error = np.std(scores, ddof=1) / np.sqrt(len(scores))
    return f"{np.mean(scores):.1f} ({error:.3g}), {len(scores)}{said}"


def render(text: str, results: list[dict[str, Any]], tried: list[dict[str, Any]]) -> str:
    """The text of a page with the tables of lives that are reported, and of those for a choice."""
    tables = {
        "choice": choice(tried),
        "continual": table(results),
        "levels": by_level(results),
        "other-changes": other_changes(results),
    }
    for name, found in tables.items():
        text = with_table(text, name, found)
    return text


def main() -> None:
    """Lives what is missing, seed by seed, and writes the tables if lives are whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=record.directory)
    parser.add_argument("tasks", nargs="*", default=[], choices=[[], *TASKS], metavar="TASK")
    parser.add_argument(
        "--agents",
        nargs="+",
        default=["untuned", "default"],
        choices=[*AGENTS, "grid"],
        metavar="AGENT",
        help=f"any of {' | '.join(name for name in AGENTS if name not in GRID)}, and grid, which "
        "is untuned with each of the fixed settings [default: untuned default]",
    )
    parser.add_argument("--change", default=OFFSET, choices=CHANGES)
    parser.add_argument("--seeds", type=record.positive, default=6)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--level-steps", type=record.positive, default=LEVEL_STEPS)
    asked = parser.parse_args()
    agents = [
        x for name in asked.agents for x in (("untuned", *GRID) if name == "grid" else [name])
    ]
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        for task in asked.tasks or (TASKS if asked.change == OFFSET else _INSIDE):
            for agent in agents:
                measure(asked.directory, task, agent, seed, asked.level_steps, asked.change)
    chooses = asked.first_seed >= CHOICE
    if asked.level_steps != LEVEL_STEPS:
        if chooses:
            print(choice(tried(asked.directory, asked.level_steps)), end="")
        return
    lives = {"continual": kept(asked.directory)}
    lives["continual_choice"] = tried(asked.directory, LEVEL_STEPS)
    lives = {name: in_order(with_recorded(name, found, SAME)) for name, found in lives.items()}
    for name, runs in lives.items():
        write(name, {"runs": runs})
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), *lives.values()), encoding="utf-8")
    if chooses:
        print(choice(lives["continual_choice"]), end="")
    elif asked.change != OFFSET:
        print(other_changes(lives["continual"]), end="")


if __name__ == "__main__":
    record.run(main)
