"""P(a run of one method ends better than a run of another), with an interval for few runs.

The estimate is the share of pairs, U / (N M) of Mann and Whitney, as in Agarwal et al. (2021). A
bootstrap says [1, 1] when all of three runs are better than all of three others, which chance alone
does once in ten studies. The interval is that of Newcombe (2006), "Confidence intervals for an
effect measure based on the Mann-Whitney statistic", method 5: the probabilities from which the
estimate is not too far away, by the variance that it would have if they were true. His normal
quantile is replaced by Student's. Intervals of several starts make that of their mean as if runs
from them were independent (Zou and Donner 2008); where one start stands against all, they are
averaged, as that start's runs are in all of them.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import optimize, stats

from selftuning.studies.statistics import Estimate, Scores, checked

_ROUNDING = 1e-9


def probability_of_improvement(scores: Scores, others: Scores) -> Estimate:
    """P(X > Y) of a run of one method and one of another, mean over tasks; ties count half.

    Others with a single task stand for all tasks of the first method, as an agent does that has
    but one start and is compared with one that has several.

    Raises:
      ValueError: if there is no task, one has fewer than two finite scores, or the tasks are not
        equally many.
    """
    if len(others) not in (1, len(scores)):
        raise ValueError(f"{len(scores)} and {len(others)} tasks: they must be the same")
    xs, ys = checked(scores), checked(others)
    shared = len(ys) < len(xs)
    pairs = list(zip(xs, ys * len(xs) if shared else ys, strict=True))
    each = np.array([share_above(x, y) for x, y in pairs])
    ends = [
        _limits(round(float(p), 12), len(x), len(y)) for p, (x, y) in zip(each, pairs, strict=True)
    ]
    low, high = np.array(ends).T
    if shared:
        return Estimate(each.mean(), low.mean(), high.mean())
    return mean_of_independent(each, low, high)


def mean_of_independent(each: np.ndarray, low: np.ndarray, high: np.ndarray) -> Estimate:
    """The mean of independent estimates [S] with their ends, by Zou and Donner's rule."""
    value = each.mean()
    down, up = (np.sqrt(((each - end) ** 2).sum()) / len(each) for end in (low, high))
    return Estimate(value, value - down, value + up)


def share_above(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of pairs [..., N] x [..., M] in which x is larger, ties half: U / (N M)."""
    differences = np.sign(x[..., :, None] - y[..., None, :])
    return 0.5 + 0.5 * differences.mean((-2, -1))


@cache
def _limits(share: float, ones: int, others: int) -> tuple[float, float]:
    """The interval of a share of pairs of so many runs."""
    quantile = stats.t.ppf(0.975, ones + others - 2)
    mean = (ones + others) / 2

    def too_far(p: float) -> float:
        spread = 1 + (mean - 1) * ((1 - p) / (2 - p) + p / (1 + p))
        return abs(p - share) - quantile * np.sqrt(p * (1 - p) * spread / (ones * others))

    def end(at: float) -> float:
        """Between the share, which is not too far from itself, and an end that may be."""
        inside = share + np.sign(at - share) * _ROUNDING
        return optimize.brentq(too_far, inside, at) if too_far(at) > 0 > too_far(inside) else at

    return end(0.0), end(1.0)
