"""Tasks that change over a life: `python -m selftuning.benchmarks.continual DIR [TASK ...]`.

    python -m selftuning.benchmarks.continual DIR ContinualCartPole-v0 --agents untuned default
    python -m selftuning.benchmarks.continual DIR ContinualCartPole-v0 --change actions
    python -m selftuning.benchmarks.continual DIR --agents grid --first-seed 1000 --seeds 3
    python -m selftuning.benchmarks.continual DIR --often --agents "actor_critic, rate by a network"

"Continual Gym Control" (TRAC, Muppidi et al. 2024, NeurIPS; C-CHAIN, Tang et al. 2025, ICML): ten
levels of 160,000 steps, at each of which another vector is added to all observations. Vectors are
those of the run's seed. Steps are those of all environments together, and all of them count. With
--change the same protocol has other changes than theirs. With --often there are 25 to 200 shorter
levels, and what changes is the actions.

Every run is a file in DIR, and a run that has its file is not made again: stop it when you like.
What is there joins what benchmarks/results/continual.json has, or takes its place, and the tables
of docs/continual.md are made of it. Lives of --first-seed 1000, by which settings are chosen, are
in continual_choice.json and have a table of their own; those of --often are in continual_often.json
and continual_often_choice.json. With --level-steps lives are shorter, to try things out, and in
none.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from selftuning.benchmarks import record
from selftuning.benchmarks.continual import lives, markdown
from selftuning.benchmarks.continual.agents import AGENTS, GRID, OFTEN_GRID
from selftuning.envs.changes import CHANGES


def main() -> None:
    """Lives what is missing, seed by seed, and writes the tables if lives are whole."""
    asked = _asked()
    schedules = lives.OFTEN if asked.often else lives.published(asked.level_steps)
    change = asked.change or (lives.OFTEN_CHANGE if asked.often else lives.OFFSET)
    grid = OFTEN_GRID if asked.often else ("untuned", *GRID)
    agents = [x for name in asked.agents for x in (grid if name == "grid" else [name])]
    tasks = asked.tasks or (lives.TASKS if change == lives.OFFSET else lives.INSIDE)
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        for task in tasks:
            for agent in agents:
                lives.measure(asked.directory, task, agent, seed, schedules[task], change)
    chooses = asked.first_seed >= lives.CHOICE
    if asked.level_steps == lives.LEVEL_STEPS:
        recorded = _recorded(asked.directory)
        if chooses and asked.often:
            print(markdown.often_choice(recorded["continual_often_choice"]), end="")
        elif chooses:
            print(markdown.choice(recorded["continual_choice"]), end="")
        elif asked.often:
            print(markdown.often(recorded["continual_often"]), end="")
        elif change != lives.OFFSET:
            print(markdown.other_changes(recorded["continual"]), end="")
    elif chooses:
        print(markdown.choice(lives.tried(asked.directory, schedules)), end="")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=record.directory)
    parser.add_argument("tasks", nargs="*", default=[], choices=[[], *lives.TASKS], metavar="TASK")
    parser.add_argument(
        "--agents",
        nargs="+",
        default=["untuned", "default"],
        choices=[*AGENTS, "grid"],
        metavar="AGENT",
        help="any of "
        + " | ".join(name for name in AGENTS if name not in {**GRID, **OFTEN_GRID})
        + ", and grid, which is untuned with each of the fixed settings "
        "[default: untuned default]",
    )
    parser.add_argument("--change", choices=CHANGES)
    parser.add_argument("--seeds", type=record.positive, default=6)
    parser.add_argument("--first-seed", type=int, default=0)
    levels = parser.add_mutually_exclusive_group()
    levels.add_argument("--level-steps", type=record.positive, default=lives.LEVEL_STEPS)
    levels.add_argument("--often", action="store_true")
    asked = parser.parse_intermixed_args()
    if asked.often and asked.change not in (None, lives.OFTEN_CHANGE):
        parser.error(f"--change: {asked.change} is not allowed with --often; it must be actions")
    outside = sorted({*asked.tasks} - {*lives.INSIDE}) if asked.often else []
    if outside:
        allowed = " | ".join(lives.INSIDE)
        parser.error(f"{outside[0]} is not allowed with --often; it must be any of {allowed}")
    return asked


def _recorded(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """Lives that are recorded, with those in a directory, which are recorded from now on.

    The page with their tables is written too.
    """
    made = [
        found(directory, schedules)
        for schedules in (lives.published(), lives.OFTEN)
        for found in (lives.kept, lives.tried)
    ]
    joined = {
        name: lives.in_order(record.with_recorded(name, found, lives.SAME))
        for name, found in zip(lives.RECORDED, made, strict=True)
    }
    page = markdown.render(markdown.PAGE.read_text(encoding="utf-8"), joined)
    for name, runs in joined.items():
        record.write(name, {"runs": runs})
    markdown.PAGE.write_text(page, encoding="utf-8")
    return joined


if __name__ == "__main__":
    record.run(main)
