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

from selftuning.benchmarks import record
from selftuning.benchmarks.continual.agents import AGENTS, GRID
from selftuning.benchmarks.continual.lives import (
    CHOICE,
    LEVEL_STEPS,
    OFFSET,
    SAME,
    TASKS,
    in_order,
    kept,
    measure,
    tried,
)
from selftuning.benchmarks.continual.markdown import INSIDE, PAGE, choice, other_changes, render
from selftuning.benchmarks.record import with_recorded, write
from selftuning.envs.changes import CHANGES


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
        for task in asked.tasks or (TASKS if asked.change == OFFSET else INSIDE):
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
