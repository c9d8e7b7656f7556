"""What a run leaves when it has ended: summary.json, and a short table of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from selftuning.training.evaluation import Evaluation, summarise
from selftuning.training.evidence import moved_by
from selftuning.training.metrics import SMALL_WINDOW, WINDOW, finite
from selftuning.training.progress import in_lines


def print_run(
    console: Console, run: Path | None, summary: Mapping[str, Any], result: Evaluation | None
) -> None:
    """Prints the table at the end of a run; `result` is of its evaluation, if there was one."""
    rows = [describe(result)] if result is not None else []
    if summary["diverged"]:
        what = summary["not_finite"] or "a parameter of the agent is not finite"
        rows.append(
            ("diverged", f"{what}; the agent is that of step {summary['agent_env_steps']:,}")
        )
    last, reward = summary["last_100_return"], summary["reward_per_step"]
    if last is not None:
        rows.append(("training return", f"{last:.1f} ({_mean_of(summary['last_100_episodes'])})"))
    elif reward is not None:
        rows.append(("training reward", f"{reward:.4g} a step (mean of the run's last tenth)"))
    rows += _solved(summary)
    speed = f"{summary['steps_per_second']:,.0f} a second"
    rows.append(("environment steps", f"{summary['env_steps']:,} ({speed})"))
    seconds = f"{summary['wall_seconds']:.1f} ({summary['compile_seconds']:.1f} to compile)"
    rows.append(("seconds", seconds))
    for name, value in summary["hyperparameters"].items():
        moved = f" -> {_listed(value['end'])}" if value["tuned"] else ""
        rows.append((name, f"{_listed(value['start'])}{moved} ({moved_by(**value)})"))
    if run is not None:
        rows.append(("run directory", str(run)))
    print_rows(console, rows)


def _mean_of(episodes: int) -> str:
    """Which episodes a mean is of, in words."""
    if episodes == WINDOW:
        return f"mean of the last {WINDOW} episodes"
    return f"mean of all {episodes} episodes" if episodes > 1 else "of the only episode"


def _solved(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """When the task was solved, and when the policy first was that good, as far as is known."""
    solved, window = summary["solved_at_env_steps"], summary["solved_window_env_steps"]
    if solved is not None:
        yield "solved", f"step {solved:,} (mean of {WINDOW} episodes, over {window:,} steps)"
    reached, greedy = summary["reached_at_env_steps"], summary["greedy_reached_at_env_steps"]
    found = []
    if reached is not None:
        found.append(f"step {reached:,} ({SMALL_WINDOW} episodes)")
    if greedy is not None:
        found.append(f"step {greedy:,} (greedy)")
    if found:
        yield f"reached {summary['reward_threshold']:g}", ", ".join(found)


def print_rows(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Prints a table of two columns.

    Lines that are longer than a terminal are broken behind commas. A path is never broken, so that
    it can be copied.
    """
    rows = list(rows)
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        if console.is_terminal:
            parts = re.split(r"(?<=,) ", value)
            value = f"\n{'':<{width}}  ".join(in_lines(parts, console.width - width - 2, " "))
        console.print(f"{label:<{width}}  {value}", highlight=False, markup=False, soft_wrap=True)


class Measure(NamedTuple):
    """What greedy episodes are judged by.

    Attributes:
      name: "return", or "reward_per_step" where no episode has ended.
      plural: of the name.
      values: of each episode, [E] float64.
      digits: format of a value.
      unit: what is printed behind a value.
      of: which episodes these are, in words.
    """

    name: str
    plural: str
    values: np.ndarray
    digits: str
    unit: str
    of: str


def measure(result: Evaluation) -> Measure:
    """Returns of episodes, or rewards a step of what has been cut out of streams without end."""
    count, s = len(result.steps), "s" if len(result.steps) > 1 else ""
    if result.returns is not None:
        return Measure("return", "returns", result.returns, ".1f", "", f"{count} episode{s}")
    of = f"{count} stream{s} of {result.steps.max():,} steps"
    values = result.rewards / result.steps
    return Measure("reward_per_step", "rewards_per_step", values, ".4g", " a step", of)


def describe(result: Evaluation) -> tuple[str, str]:
    """A row: mean return with its 95% interval, or reward a step where no episode has ended."""
    what = measure(result)
    mean, digits = summarise(what.values), what.digits
    known = finite(mean.low) is not None
    interval = f"95% interval {mean.low:{digits}} to {mean.high:{digits}}, " if known else ""
    label = f"evaluation {what.name.partition('_')[0]}"
    return label, f"{mean.mean:{digits}}{what.unit} ({interval}{what.of})"


def _listed(value: float | list[float]) -> str:
    """A hyperparameter, or one a head."""
    return ", ".join(f"{x:.4g}" for x in (value if isinstance(value, list) else [value]))
