"""What is measured of searches side by side, from one point to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selftuning.studies import measures
from selftuning.studies.measures import Values
from selftuning.studies.searches.search import Row

ALL = "return_all"  # column: mean over the members that run
_LEAVES = ("total", "episodes", "reward")
_ADDED = ("greedy", "finite")  # by those who have the agents


def measured(
    rows: Sequence[Row],
    *,
    steps: float,
    solved_at: np.ndarray,
    hyperparameters: Values,
    **others: np.ndarray,
) -> Values:
    """The columns of the table at a point, by name [R]; see `measures.measured`.

    In each cycle counts the member that was best by what came before. While none was known all
    do: "return" and "reward" are means over members, and "episodes" those of all of them.

    Args:
      rows: cycles since the last point, leaves [N, R, P], those of each stage by themselves.
      steps: environment steps of a search so far, all members together.
      solved_at: those at which its first member had solved the task [R].
      hyperparameters: of the best member now, by name [R] or [R, H].
      others: columns that rows do not say.

    Returns:
      Columns as those of runs, and "return_all", which is the mean over members throughout.
    """
    known = np.concatenate([row.best >= 0 for row in rows])  # [N, R]
    total, episodes, reward = (_of_best(rows, known, leaf) for leaf in _LEAVES)
    totals, counts, rewards = (_of_members(rows, leaf) for leaf in _LEAVES)
    each = mean(totals, counts)  # [R, M]
    everyone = mean(np.where(counts > 0, each, 0.0).sum(1), (counts > 0).sum(1))
    member_cycles = sum(row.cycles.reward[:, 0].size for row in rows)
    count = known.sum(0)
    some = count > 0
    values = {
        "env_steps": np.full(len(count), float(steps)),
        "return": np.where(some, mean(total, episodes), everyone),
        "episodes": np.where(some, episodes, counts.sum(1)),
        "reward": np.where(some, mean(reward, count), rewards.sum(1) / member_cycles),
        "solved_at": solved_at,
    }
    for name, x in hyperparameters.items():
        values |= measures.by_head(name, np.asarray(x))
    return values | {ALL: everyone} | others


def _of_best(rows: Sequence[Row], known: np.ndarray, leaf: str) -> np.ndarray:
    """Sums over the cycles of which a best member was known [R]."""
    best = [
        np.take_along_axis(getattr(row.cycles, leaf), np.maximum(row.best, 0)[..., None], 2)
        for row in rows
    ]
    return np.where(known, np.concatenate(best)[..., 0].astype(np.float64), 0.0).sum(0)


def _of_members(rows: Sequence[Row], leaf: str) -> np.ndarray:
    """Sums over the cycles of each member, those of each stage by themselves [R, M]."""
    sums = [np.asarray(getattr(row.cycles, leaf), np.float64).sum(0) for row in rows]
    return np.concatenate(sums, 1)


def mean(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sums divided by how many terms they have; NaN for none."""
    return np.where(weight > 0, total / np.maximum(weight, 1), np.nan)


def columns(hyperparameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of what is measured of searches with these hyperparameters [R] or [R, H]."""
    heads = {name: np.zeros(x.shape) for name, x in hyperparameters.items()}
    known = [column for name, x in heads.items() for column in measures.by_head(name, x)]
    return ("env_steps", "return", "episodes", "reward", "solved_at", *known, ALL, *_ADDED)
