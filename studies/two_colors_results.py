"""What a Two Colors study measured, row by row, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from configs.settings import RunSettings
from configs.studies import TwoColorsSettings


class Measured(NamedTuple):
    """A method that has run: W rows, each of N seeds, over C cycles.

    Attributes:
      settings: of its runs.
      reward: mean of an environment step in each cycle, [W, N, C].
      tuned: the tuned hyperparameter after each cycle, [W, N, C]; [W, N, 0] for a fixed method.
      length: environment steps of a run in each cycle.
      seconds: of running, without compiling.
      wall_seconds: with it.
      device: kind of device it ran on.
      versions: of the libraries that it ran with, by name.
    """

    settings: RunSettings
    reward: np.ndarray
    tuned: np.ndarray
    length: int
    seconds: float
    wall_seconds: float
    device: str
    versions: dict[str, str]

    @property
    def env_steps(self) -> int:
        """Environment steps of one run."""
        return self.reward.shape[-1] * self.length

    @property
    def steps_per_second(self) -> float:
        """Environment steps a second of all runs together."""
        return self.reward.size * self.length / self.seconds


class Row(NamedTuple):
    """A contestant: N seeds of one method, at one value if it is a fixed one.

    Attributes:
      name: in files, such as "fixed_0.1".
      label: in words.
      method: key of `two_colors_methods.METHODS`.
      family: of the method.
      context: of the method.
      hyperparameter: name of what is tuned or fixed.
      value: it is fixed at; None where it is tuned.
      reward: mean of an environment step in each cycle, [N, C].
      tuned: the tuned hyperparameter after each cycle, [N, C]; [N, 0] for a fixed row.
      length: environment steps in each cycle.
    """

    name: str
    label: str
    method: str
    family: str
    context: str
    hyperparameter: str
    value: float | None
    reward: np.ndarray
    tuned: np.ndarray
    length: int

    @property
    def env_steps(self) -> int:
        """Environment steps of one run."""
        return self.reward.shape[-1] * self.length

    @property
    def diverged(self) -> np.ndarray:
        """Whether the tuned hyperparameter of a run has become NaN, [N] bool."""
        return np.isnan(self.tuned).any(-1)

    @property
    def means(self) -> np.ndarray:
        """Mean reward of an environment step over the whole run, [N]."""
        return self.reward.mean(-1, dtype=np.float64)


class Study(NamedTuple):
    """All of it.

    Attributes:
      settings: what was asked for.
      measured: methods by name.
      rows: of all methods, in the order of the settings.
      phase: environment steps between two changes of the signs.
      ceiling: mean reward a step of a policy that knows the signs.
    """

    settings: TwoColorsSettings
    measured: dict[str, Measured]
    rows: list[Row]
    phase: int
    ceiling: float


class Interval(NamedTuple):
    """An estimate with its 95% interval; both ends None where one seed says nothing of others."""

    value: float
    low: float | None
    high: float | None


def mean_interval(values: np.ndarray) -> Interval:
    """Mean of values [N] with its 95% bootstrap interval."""
    return _bootstrap((values,), lambda x, axis: np.mean(x, axis))


def ratio_interval(values: np.ndarray, others: np.ndarray) -> Interval | None:
    """Ratio of two means with its 95% bootstrap interval; both are resampled.

    Returns:
      None where the divisor may be 0 or less, by its own interval.
    """
    divisor = mean_interval(others)
    if (divisor.value if divisor.low is None else divisor.low) <= 0:
        return None
    return _bootstrap((values, others), lambda x, y, axis: np.mean(x, axis) / np.mean(y, axis))


def _bootstrap(samples: Sequence[np.ndarray], statistic: Callable[..., Any]) -> Interval:
    value = float(statistic(*samples, axis=-1))
    if min(len(sample) for sample in samples) < 2:
        return Interval(value, None, None)
    ends = stats.bootstrap(
        samples, statistic, vectorized=True, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Interval(value, float(ends.low), float(ends.high))


def band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95% bootstrap intervals of the means of values [N, E] over their first axis, [E] each."""
    if len(values) < 2:
        return values[0], values[0]
    draws = np.random.default_rng(0).integers(0, len(values), (1000, len(values)))
    resampled = np.stack([values[draw].mean(0) for draw in draws])
    low, high = np.quantile(resampled, (0.025, 0.975), axis=0)
    return low, high


def best_fixed(rows: Sequence[Row], family: str = "fixed") -> Row | None:
    """The row of a family with the highest mean reward, chosen by the very runs it is shown with.

    That is in favour of the fixed rows.
    """
    candidates = [row for row in rows if row.family == family]
    return max(candidates, key=lambda row: float(row.means.mean()), default=None)
