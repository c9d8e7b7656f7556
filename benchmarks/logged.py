"""What it costs to log how learning goes: `python -m selftuning.benchmarks.logged`.

The chunks of an in-graph run on CartPole, with a look at learning and without, take turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import jax
import numpy as np

from selftuning.agents import self_tuning
from selftuning.benchmarks.record import DOCS, markdown, with_table, write
from selftuning.benchmarks.speed.turns import Contestant, measure
from selftuning.configs import presets
from selftuning.envs import registry
from selftuning.training import loop, runner

PAGE = DOCS / "performance.md"
AGENTS = {"ppo": 10, "actor_critic": 20}  # chunks of a turn
_REPEATS = 101


def main() -> None:
    """Measures, and writes results and table."""
    rows = [compared(name, chunks, _REPEATS) for name, chunks in AGENTS.items()]
    write("logged", {"rows": rows})
    text = with_table(PAGE.read_text(encoding="utf-8"), "logged", table(rows))
    PAGE.write_text(text, encoding="utf-8")


def compared(name: str, chunks: int, repeats: int) -> dict[str, Any]:
    """A row for an agent: rates without and with a look at learning, and the ratio of times."""
    contestants = [
        Contestant(name, str(look), partial(_turn, name, chunks, look)) for look in (False, True)
    ]
    found = measure(contestants, repeats)
    without, looking = (np.array(one.steps_per_second) for one in found)
    low, high = np.quantile(without / looking, [0.25, 0.75])
    rates = statistics.median(without), statistics.median(looking)
    return {
        "agent": name,
        "without": rates[0],
        "with": rates[1],
        "ratio": rates[0] / rates[1],
        "quartiles": [float(low), float(high)],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown."""
    head = ("agent", "without, steps/s", "logged, steps/s", "ratio of times", "its quartiles")
    return markdown(
        head,
        (
            (
                row["agent"],
                f"{row['without'] / 1000:,.1f}k",
                f"{row['with'] / 1000:,.1f}k",
                f"{row['ratio']:.3f}",
                f"{row['quartiles'][0]:.3f} to {row['quartiles'][1]:.3f}",
            )
            for row in rows
        ),
    )


def _turn(name: str, chunks: int, look: bool) -> tuple[Callable[[], object], int]:
    """Chunks as a run has them, and their environment steps."""
    settings = presets.for_env("CartPole-v1")
    settings = presets.with_method(settings, name) if name in presets.METHODS else settings
    task = registry.make(settings.env, settings.num_envs, "jax")
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    made = runner.make_runner(task, agent, settings)
    cycles = loop.plan(settings.steps, made.steps_per_cycle).cycles
    state = made.init(jax.random.PRNGKey(0))
    with patch.object(runner, "looked_at", runner.looked_at if look else lambda cycles: None):
        advance = made.compile(state, cycles)

    def turn() -> None:
        nonlocal state
        for _ in range(chunks):
            state, metrics = advance(state)
        jax.block_until_ready(metrics)

    return turn, chunks * cycles * made.steps_per_cycle


if __name__ == "__main__":
    main()
