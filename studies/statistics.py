"""What few runs say of a method: aggregates over runs and tasks with stratified intervals.

The definitions are those of Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the
Statistical Precipice". Scores are lists with an array [N_m] for each of M tasks, as tasks may
have different numbers of runs; a study of one environment with several starts takes starts as
tasks. Intervals are percentile intervals of a bootstrap that draws runs anew within each task,
`scipy.stats.bootstrap` with a sample for each task. Their library `rliable` gives the same numbers
(a test has some of them); it needs an older pandas than the newest and is not used for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

Scores = Sequence[np.ndarray]

RESAMPLES = 10_000
_BATCH = 1000  # resamples in memory at a time


class Estimate(NamedTuple):
    """A number, or an array of them, with its 95% interval."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


# Aggregates take samples [..., N_m] of each task and give [...].
Aggregate = Callable[..., np.ndarray]


def mean(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean over tasks of the mean over runs."""
    return np.mean([x.mean(axis) for x in samples], 0)


def median(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    """Median over tasks of the mean over runs."""
    return np.median([x.mean(axis) for x in samples], 0)


def interquartile_mean(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    """IQM: the mean of the middle half of all runs of all tasks."""
    return stats.trim_mean(np.concatenate(samples, axis), 0.25, axis)


def optimality_gap(target: float = 1.0) -> Aggregate:
    """How far runs stay below a target, which more counts as, in the mean over tasks."""

    def gap(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        return target - mean(*(np.minimum(x, target) for x in samples), axis=axis)

    return gap


AGGREGATES: Mapping[str, Aggregate] = {
    "iqm": interquartile_mean,
    "mean": mean,
    "median": median,
    "optimality_gap": optimality_gap(),
}


def estimate(scores: Scores, aggregate: Aggregate, resamples: int = RESAMPLES) -> Estimate:
    """An aggregate of scores with its interval.

    Args:
      scores: [N_m] for each task.
      aggregate: of `AGGREGATES`, or a function like them; it may give several numbers [..., K] for
        samples [..., N_m].
      resamples: of the bootstrap.

    Raises:
      ValueError: if there is no task, or one has fewer than two finite scores: from a single run
        no interval can be told.
    """
    return _bootstrap(checked(scores), aggregate, resamples)


def estimate_curve(
    curves: Scores, aggregate: Aggregate, resamples: int = RESAMPLES // 10
) -> Estimate:
    """An aggregate of curves [N_m, P] at each of P points, with pointwise intervals [P]."""
    return _bootstrap([np.asarray(curve, float).T for curve in curves], aggregate, resamples)


def performance_profile(
    scores: Scores, thresholds: np.ndarray, resamples: int = RESAMPLES
) -> Estimate:
    """Part of the runs above each threshold [K], mean over tasks, with pointwise intervals [K]."""
    columns = [
        estimate(scores, lambda *samples, axis=-1, t=t: _share_above(samples, t, axis), resamples)
        for t in thresholds
    ]
    return Estimate(*(np.stack(parts) for parts in zip(*columns, strict=True)))


def _share_above(samples: Sequence[np.ndarray], threshold: float, axis: int) -> np.ndarray:
    return np.mean([(x > threshold).mean(axis) for x in samples], 0)


def checked(scores: Scores) -> list[np.ndarray]:
    """Scores as arrays, each with two or more finite numbers; ValueError if they are not."""
    if not len(scores):
        raise ValueError("scores: no task")
    arrays = [np.asarray(x, float) for x in scores]
    for number, x in enumerate(arrays):
        if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
            raise ValueError(f"scores of task {number}: {x} are not two or more finite numbers")
    return arrays


def _bootstrap(samples: list[np.ndarray], statistic: Aggregate, resamples: int) -> Estimate:
    value = statistic(*samples)
    if all((np.ptp(x, -1) == 0).all() for x in samples):  # nothing to draw from
        return Estimate(value, value, value)
    ends = stats.bootstrap(
        samples,
        statistic,
        axis=-1,
        n_resamples=resamples,
        batch=_BATCH,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, ends.low, ends.high)
