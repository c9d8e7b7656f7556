"""A picture of how learning went: policy, critic, gradients and speed over environment steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter

from selftuning.training import run_directory

_DPI = 150
_COLUMNS = 3
# What is drawn, where it was logged, with the lowest and the highest value that are of interest.
_PANELS: dict[str, tuple[str, float | None, float | None]] = {
    "learning/entropy": ("entropy of the policy (nats)", None, None),
    "learning/barrier": ("KL(uniform || policy) (nats)", 0.0, None),
    "learning/kl": ("KL(new || old) of a rollout (nats)", 0.0, None),
    "learning/policy_loss": ("policy loss", None, None),
    "learning/value_loss": ("value loss", 0.0, None),
    "learning/explained_variance": ("explained variance", -1.0, 1.0),
    "learning/gradient_norm": ("norm of the gradient", 0.0, None),
    "learning/learning_rate": ("learning rate", 0.0, None),
    "episode_length": ("mean length of 100 episodes", None, None),
    "steps_per_second": ("environment steps a second", 0.0, None),
}


def learning(path: Path, title: str, log: Path) -> None:
    """Draws what a run has logged of its learning, a panel for each number that is known.

    Args:
      path: PNG file to write.
      title: of the figure.
      log: metrics.jsonl of the run.
    """
    with log.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    known = dict(_known(rows))
    if not known:
        return
    count = -(-len(known) // _COLUMNS)
    figure = Figure(figsize=(9.6, 0.6 + 2.1 * count), layout="constrained")
    grid = list(figure.subplots(count, _COLUMNS, squeeze=False).flat)
    for axes, (name, (steps, values)) in zip(grid, known.items(), strict=False):
        label, low, high = _PANELS[name]
        axes.plot(steps, values, color="C0", marker="." if len(steps) < 3 else None)
        axes.set_ylim(*_limits(axes.get_ylim(), values, low, high))
        axes.set_title(label, fontsize="small")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(known) :]:
        axes.set_axis_off()
    for axes in grid[: len(known)][-_COLUMNS:]:
        axes.set_xlabel("environment steps")
    figure.suptitle(title)
    with run_directory.replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png")


def _limits(
    drawn: tuple[float, float], values: np.ndarray, low: float | None, high: float | None
) -> tuple[float, float]:
    """Of an axis: those that Matplotlib has chosen, but nothing beyond what is of interest."""
    bottom, top = drawn
    if low is not None and (bottom < low or values.min() <= low):
        bottom = low
    if high is not None:
        top = min(top, high)
    return bottom, top if top > bottom else high if high is not None else bottom + 1.0


def _known(
    rows: list[Mapping[str, Any]],
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Names of the panels of which anything is known, with steps and values [N]."""
    for name in _PANELS:
        found = [(row["env_steps"], x) for row in rows if (x := row.get(name)) is not None]
        if found:
            steps, values = np.asarray(found, float).T
            yield name, (steps, values)
