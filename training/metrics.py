"""What is known of a run's episodes and rewards, and when it has solved its task."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

WINDOW = 100  # episodes over which a return is averaged, and by which a task is solved
SMALL_WINDOW = 10  # episodes that show where the policy has come to, and are soon over
_ROUNDING = 1e-9  # of sums of rewards, relative
_NONE = np.zeros(0)


class Episodes(NamedTuple):
    """Finished episodes in time order.

    Attributes:
      env_steps: environment steps of the run when each ended, int64 [E].
      returns: their undiscounted returns, float64 [E].
      env: which of the run's environments each was in, int32 [E].
      lengths: steps of that environment that each took, int64 [E].
    """

    env_steps: np.ndarray
    returns: np.ndarray
    env: np.ndarray
    lengths: np.ndarray


def finished_episodes(
    end: np.ndarray, returns: np.ndarray, steps_before: int, begun: np.ndarray | None = None
) -> Episodes:
    """Picks the episodes that ended from [N, S, B] arrays in time order.

    Args:
      end: whether an episode ended at this entry.
      returns: its return.
      steps_before: environment steps of the run before the first entry.
      begun: those at which the episode of each environment began that goes on there, int64 [B];
        None if all begin there.
    """
    num_envs = end.shape[-1]
    (entries,) = np.nonzero(end.reshape(-1))
    env_steps = steps_before + (entries.astype(np.int64) // num_envs + 1) * num_envs
    ended = returns.reshape(-1)[entries].astype(np.float64)
    env = (entries % num_envs).astype(np.int32)
    begun = np.full(num_envs, steps_before) if begun is None else begun
    return Episodes(env_steps, ended, env, lengths_of(env_steps, env, begun, num_envs))


def lengths_of(
    env_steps: np.ndarray, env: np.ndarray, begun: np.ndarray, num_envs: int
) -> np.ndarray:
    """How long episodes [E] were, from where those before them in their environments ended."""
    order = np.lexsort((env_steps, env))  # environment by environment, in time
    ends, where = env_steps[order], env[order]
    first = np.concatenate([[True], where[1:] != where[:-1]])[: len(where)]
    since = np.where(first, begun[where], np.roll(ends, 1))
    lengths = np.empty(len(order), np.int64)
    lengths[order] = (ends - since) // num_envs
    return lengths


def reaches(mean: Any, threshold: float) -> Any:
    """Whether mean returns are at least a threshold, but for rounding."""
    # A thousand rewards of 0.1 are 99.9999999999986.
    return np.asarray(mean) >= threshold - _ROUNDING * max(1.0, abs(threshold))


def first_window(returns: np.ndarray, threshold: float, window: int = WINDOW) -> int | None:
    """The first episode [E] that ends a window of so many whose mean return is the threshold."""
    if len(returns) < window:
        return None
    means = np.lib.stride_tricks.sliding_window_view(returns, window).mean(axis=-1)
    (reached,) = np.nonzero(reaches(means, threshold))
    return int(reached[0]) + window - 1 if reached.size else None


def first_solved(recent: np.ndarray, episodes: Episodes, threshold: float) -> int | None:
    """The environment step at which a run has solved its task, among those of some episodes.

    It has at the end of the first episode at which the mean return of the last `WINDOW` episodes,
    that one included, is at least the threshold. Runs and studies both mean this.

    Args:
      recent: returns of the last episodes before these [<= WINDOW]; NaN for those there were not.
      episodes: what came next.
      threshold: of the environment.

    Returns:
      None if it has not, or had too few episodes.
    """
    before = recent[-(WINDOW - 1) :]
    ends = first_window(np.concatenate([before, episodes.returns]), threshold)
    return None if ends is None else int(episodes.env_steps[ends - len(before)])


def last_tenth(values: np.ndarray) -> np.ndarray:
    """The end of a run [..., ceil(N / 10)] of what was measured at equal distances [..., N]."""
    return values[..., values.shape[-1] - math.ceil(values.shape[-1] / 10) :]


class Reached(NamedTuple):
    """When the mean return of a window of episodes first was the threshold.

    Attributes:
      at: environment step at which the last of them ended.
      steps: environment steps of the run since the one before the first of them had ended.
    """

    at: int
    steps: int


class EpisodeStatistics:
    """The episodes of a run, and when they first solved its task."""

    def __init__(self, threshold: float | None):
        self._threshold = threshold
        self._parts: list[Episodes] = []
        self._recent = np.zeros((2, 0))  # returns and lengths

    def add(self, episodes: Episodes) -> None:
        """Appends episodes that ended after all before."""
        self._parts.append(episodes)
        latest = np.stack([episodes.returns, episodes.lengths])
        self._recent = np.concatenate([self._recent, latest], 1)[:, -WINDOW:]

    @property
    def count(self) -> int:
        """Number of episodes so far."""
        return sum(len(part.returns) for part in self._parts)

    @property
    def last_mean(self) -> float | None:
        """Mean return of the last `WINDOW` episodes, or of fewer if there are no more."""
        return float(self._recent[0].mean()) if self._recent.size else None

    @property
    def last_length(self) -> float | None:
        """Mean length of the same episodes, in steps of one environment."""
        return float(self._recent[1].mean()) if self._recent.size else None

    def reached(self, window: int = WINDOW) -> Reached | None:
        """When so many episodes in a row first had the threshold as their mean, if they did."""
        episodes = self.all
        ends = None
        if self._threshold is not None:
            ends = first_window(episodes.returns, self._threshold, window)
        if ends is None:
            return None
        at, before = int(episodes.env_steps[ends]), ends - window
        return Reached(at, at - (int(episodes.env_steps[before]) if before >= 0 else 0))

    @property
    def solved_at(self) -> int | None:
        """The environment step at which the task was solved; see `first_solved`."""
        return None if self._threshold is None else first_solved(_NONE, self.all, self._threshold)

    def means_at(self, env_steps: np.ndarray) -> np.ndarray:
        """Mean returns of the last `window` episodes that had ended by some environment steps.

        Args:
          env_steps: [N], in order.

        Returns:
          float64 [N]: of fewer episodes where there were no more, NaN where there was none.
        """
        episodes = self.all
        sums = np.concatenate([[0.0], np.cumsum(episodes.returns)])
        until = np.searchsorted(episodes.env_steps, env_steps, side="right")
        since = np.maximum(until - WINDOW, 0)
        count = until - since
        total = sums[until] - sums[since]
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @property
    def all(self) -> Episodes:
        """Every episode of the run."""
        whole = np.zeros(0, np.int64)
        empty = Episodes(whole, np.zeros(0), np.zeros(0, np.int32), whole)
        parts = [empty, *self._parts]
        return Episodes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class RewardStatistics:
    """The rewards of a run, which are all there is to judge it by where no episode ends.

    Attributes:
      total: sum of all rewards so far.
    """

    def __init__(self, steps_per_cycle: int) -> None:
        self.total = 0.0
        self._steps_per_cycle = steps_per_cycle
        self._parts = [np.zeros(0)]

    def add(self, reward: np.ndarray) -> float:
        """Appends the mean rewards [N] of a step in each of N cycles and returns their mean."""
        means = reward.astype(np.float64)
        self.total += float(means.sum()) * self._steps_per_cycle
        self._parts.append(means)
        return float(means.mean())

    @property
    def cycles(self) -> np.ndarray:
        """Mean reward a step of each cycle so far, float64 [C]."""
        return np.concatenate(self._parts)

    @property
    def last_mean(self) -> float | None:
        """Mean reward a step over the last tenth of the cycles, rounded up to whole ones."""
        cycles = self.cycles
        return float(last_tenth(cycles).mean()) if len(cycles) else None


def finite(value: Any) -> float | None:
    """A float that JSON can hold."""
    return float(value) if value is not None and math.isfinite(value) else None
