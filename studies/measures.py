"""What is measured of runs side by side, from one point to the next."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from selftuning.training.metrics import WINDOW, finished_episodes, first_solved
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
      ends: which episodes ended, and with which return (bool, float32) [N, R, S, B]; () where
        nobody asks when the task was solved.
    """

    total: Any
    episodes: Any
    reward: Any
    hyperparameters: dict[str, Any]
    diagnostics: dict[str, Any]
    ends: tuple[Any, ...] = ()


def summed(metrics: CycleMetrics, ends: bool = False) -> Cycles:
    """Metrics of one cycle of one run [S, B], with its steps or without them."""
    end = metrics.episode_end
    total = jnp.where(end, metrics.episode_return, 0.0).sum((-2, -1))
    episodes = end.sum((-2, -1)).astype(jnp.float32)
    steps = (end, metrics.episode_return) if ends else ()
    known = metrics.reward, metrics.hyperparameters, metrics.diagnostics
    return Cycles(total, episodes, *known, steps)


class Solving(NamedTuple):
    """How far R runs are from having solved their task.

    Attributes:
      recent: returns of the last episodes [R, `WINDOW`]; NaN for those there were not yet.
      at: environment steps at which it was solved, NaN until then [R].
    """

    recent: np.ndarray
    at: np.ndarray


def unsolved(runs: int) -> Solving:
    """Before the first cycle."""
    return Solving(np.full((runs, WINDOW), np.nan), np.full(runs, np.nan))


def solve(
    solving: Solving, cycles: Cycles, before: float, threshold: float | None, members: int = 1
) -> Solving:
    """Looks whether runs have solved their task, as `training.metrics.first_solved` says.

    Args:
      solving: before the cycles.
      cycles: what happened.
      before: environment steps that were spent before them.
      threshold: of the environment; None if it has none, and is never solved.
      members: runs of a search side by side, all of whose steps count.
    """
    if threshold is None:
        return solving
    recent, at = solving.recent.copy(), solving.at.copy()
    end, returns = cycles.ends
    for run in np.flatnonzero(np.isnan(at)):
        episodes = finished_episodes(end[:, run], returns[:, run], 0)
        found = first_solved(recent[run], episodes, threshold)
        at[run] = np.nan if found is None else before + members * found
        recent[run] = np.concatenate([recent[run], episodes.returns])[-WINDOW:]
    return Solving(recent, at)


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
