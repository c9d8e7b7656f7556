"""What is measured of runs side by side, from one point to the next."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from selftuning.training.metrics import WINDOW
from selftuning.training.runner import CycleMetrics

DIAGNOSTICS = "diagnostics/"

Values = dict[str, np.ndarray]  # by name [R]


class Cycles(NamedTuple):
    """N cycles of R runs.

    Attributes:
      total: sum of the returns of the episodes that ended in each [N, R].
      episodes: how many did [N, R].
      reward: mean of an environment step [N, R].
      hyperparameters: values after each, by name [N, R] or [N, R, H].
      diagnostics: of the meta-learner, by name [N, R].
    """

    total: Any
    episodes: Any
    reward: Any
    hyperparameters: dict[str, Any]
    diagnostics: dict[str, Any]


def summed(metrics: CycleMetrics) -> Cycles:
    """Metrics of one cycle of one run [S, B], without the steps."""
    end = metrics.episode_end
    total = jnp.where(end, metrics.episode_return, 0.0).sum((-2, -1))
    episodes = end.sum((-2, -1)).astype(jnp.float32)
    return Cycles(total, episodes, metrics.reward, metrics.hyperparameters, metrics.diagnostics)


class Solving(NamedTuple):
    """How far R runs are from having solved their task.

    Attributes:
      total: sums of returns of the latest cycles in which episodes ended [R, `WINDOW`].
      episodes: how many did in each [R, `WINDOW`]; 0 where there was no such cycle yet.
      at: environment steps at which it was solved, NaN until then [R].
    """

    total: np.ndarray
    episodes: np.ndarray
    at: np.ndarray


def unsolved(runs: int) -> Solving:
    """Before the first cycle."""
    return Solving(np.zeros((runs, WINDOW)), np.zeros((runs, WINDOW)), np.full(runs, np.nan))


def solve(solving: Solving, cycles: Cycles, steps: np.ndarray, threshold: float | None) -> Solving:
    """Looks whether the last episodes of runs have reached a threshold.

    A run has solved its task at the end of the first cycle at which its last episodes, at least
    100 of them and no more cycles than that takes, have a mean return of `threshold`.

    Args:
      solving: before the cycles.
      cycles: what happened.
      steps: environment steps at the end of each [N].
      threshold: of the environment; None if it has none, and is never solved.
    """
    if threshold is None:
        return solving
    for total, episodes, now in zip(cycles.total, cycles.episodes, steps, strict=True):
        solving = _after_cycle(solving, np.asarray(total), np.asarray(episodes), now, threshold)
    return solving


def _after_cycle(
    solving: Solving, total: np.ndarray, episodes: np.ndarray, now: float, threshold: float
) -> Solving:
    ended = episodes > 0
    if not ended.any():
        return solving

    def appended(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        return np.where(ended[:, None], np.concatenate([old[:, 1:], new[:, None]], 1), old)

    totals, counts = appended(solving.total, total), appended(solving.episodes, episodes)
    # Sums over the last 1, 2, ... cycles; the first that has enough episodes is looked at.
    sums, number = (np.cumsum(x[:, ::-1], 1) for x in (totals, counts))
    enough = number >= WINDOW
    first = enough.argmax(1)[:, None]
    mean = np.take_along_axis(sums, first, 1) / np.take_along_axis(number, first, 1).clip(1)
    reached = enough.any(1) & ended & (mean[:, 0] >= threshold) & np.isnan(solving.at)
    return Solving(totals, counts, np.where(reached, now, solving.at))


def measured(cycles: Cycles, *, steps: float, solving: Solving, **others: np.ndarray) -> Values:
    """The columns of the table at a point, by name [R].

    Args:
      cycles: since the last point.
      steps: environment steps of a run so far.
      solving: now.
      others: columns that cycles do not say.

    Returns:
      "env_steps", "return" (mean over the episodes that ended since the last point, NaN if none
      did), "episodes" (how many did), "reward" (mean of an environment step since then),
      "solved_at", the others, hyperparameters after the point (those of further heads as NAME_1,
      NAME_2, ...), and means of diagnostics, as `DIAGNOSTICS` + name.
    """
    total, episodes = (np.asarray(x, np.float64).sum(0) for x in (cycles.total, cycles.episodes))
    known = {
        "env_steps": np.full(len(total), float(steps)),
        "return": np.where(episodes > 0, total / episodes.clip(1), np.nan),
        "episodes": episodes,
        "reward": np.asarray(cycles.reward, np.float64).mean(0),
        "solved_at": solving.at,
    }
    for name, value in cycles.hyperparameters.items():
        known |= by_head(name, np.asarray(value)[-1])
    diagnostics = {
        DIAGNOSTICS + name: np.asarray(value, np.float64).mean(0)
        for name, value in cycles.diagnostics.items()
    }
    return known | others | diagnostics


def by_head(name: str, values: np.ndarray) -> Values:
    """Values [R], or [R, H] as columns NAME, NAME_1, ... of one head each."""
    if values.ndim == 1:
        return {name: values.astype(np.float64)}
    return {
        f"{name}_{head}" if head else name: column.astype(np.float64)
        for head, column in enumerate(values.T)
    }
