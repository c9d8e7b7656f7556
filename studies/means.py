"""Means over seeds with Student's intervals, which keep their promise for few seeds too.

The seed is what is drawn at random, so it is the unit: runs of the same seed from several starts
begin with the same networks and count as one value, their mean. A percentile interval of a
bootstrap of three values holds their mean in three of four cases at most; Student's holds it in 19
of 20 where values are about normal. Neither knows of failures that no seed has shown.

Several comparisons are corrected by Holm's method (1979), which rejects one after the other, the
surest first: among K the first at 5% / K, the next at 5% / (K - 1), and so on. That one of them is
found though there is nothing has then a probability of 5% in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95


class Mean(NamedTuple):
    """A mean, or an array of them, as it is known from few values.

    Attributes:
      value: of it.
      error: its standard error.
      freedom: degrees of freedom of that.
    """

    value: np.ndarray
    error: np.ndarray
    freedom: np.ndarray

    def interval(self, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the interval of a level."""
        half = stats.t.ppf((1 + level) / 2, self.freedom) * self.error
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """Of the hypothesis that it is 0, two-sided."""
        if self.error == 0:  # all values are the same
            return float(self.value == 0)
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))


def over_seeds(values: np.ndarray) -> Mean:
    """The mean over the last axis of values [..., N], a seed each; N is 2 or more."""
    count = values.shape[-1]
    error = values.std(-1, ddof=1) / np.sqrt(count)
    error = np.where(np.ptp(values, -1) == 0, 0.0, error)  # no rounding where nothing varies
    return Mean(values.mean(-1), error, np.full(error.shape, count - 1))


def difference(ones: np.ndarray, others: np.ndarray) -> Mean:
    """The difference of two means over other seeds each [N] and [M], as Welch (1947) has it."""
    a, b = over_seeds(ones), over_seeds(others)
    squares = np.array([a.error, b.error]) ** 2
    freedoms = np.array([a.freedom, b.freedom])
    total = squares.sum()
    freedom = total**2 / (squares**2 / freedoms).sum() if total else freedoms.sum()
    return Mean(a.value - b.value, np.sqrt(total), np.asarray(freedom))


def holm(ps: Sequence[float], level: float = LEVEL) -> list[float]:
    """The levels of intervals that exclude 0 where Holm's method rejects, and nowhere else.

    Args:
      ps: of each comparison, that there is no difference.
      level: at which all of them together are right.
    """
    levels, step = [level] * len(ps), len(ps)
    for at in np.argsort(ps):
        levels[at] = 1 - (1 - level) / step
        # What is not rejected ends the method, and all that is less sure is judged like it.
        step -= ps[at] <= (1 - level) / step and step > 1
    return levels
