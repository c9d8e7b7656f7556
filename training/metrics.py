"""Numbers of a run on their way out: episode statistics, and the files they are logged to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from selftuning.training import faults, run_directory

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

WINDOW = 100  # episodes over which a return is averaged
_ROUNDING = 1e-9  # of sums of rewards, relative


class Episodes(NamedTuple):
    """Finished episodes in time order.

    Attributes:
      env_steps: environment steps of the run when each ended, int64 [E].
      returns: their undiscounted returns, float64 [E].
      env: which of the run's environments each was in, int32 [E].
    """

    env_steps: np.ndarray
    returns: np.ndarray
    env: np.ndarray


def finished_episodes(end: np.ndarray, returns: np.ndarray, steps_before: int) -> Episodes:
    """Picks the episodes that ended from [N, S, B] arrays in time order.

    Args:
      end: whether an episode ended at this entry.
      returns: its return.
      steps_before: environment steps of the run before the first entry.
    """
    num_envs = end.shape[-1]
    (entries,) = np.nonzero(end.reshape(-1))
    env_steps = steps_before + (entries.astype(np.int64) // num_envs + 1) * num_envs
    ended = returns.reshape(-1)[entries].astype(np.float64)
    return Episodes(env_steps, ended, (entries % num_envs).astype(np.int32))


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
    joined = np.concatenate([recent[-(WINDOW - 1) :], episodes.returns])
    if len(joined) < WINDOW:
        return None
    means = np.lib.stride_tricks.sliding_window_view(joined, WINDOW).mean(axis=-1)
    # A thousand rewards of 0.1 are 99.9999999999986.
    (reached,) = np.nonzero(means >= threshold - _ROUNDING * max(1.0, abs(threshold)))
    # Windows end with the last ones of `episodes`, and are as many or fewer.
    return int(episodes.env_steps[reached[0] - len(means)]) if reached.size else None


def last_tenth(values: np.ndarray) -> np.ndarray:
    """The end of a run [..., ceil(N / 10)] of what was measured at equal distances [..., N]."""
    return values[..., values.shape[-1] - math.ceil(values.shape[-1] / 10) :]


class EpisodeStatistics:
    """The episodes of a run, and when they first solved its task."""

    def __init__(self, threshold: float | None):
        self.solved_at: int | None = None
        self._threshold = threshold
        self._parts: list[Episodes] = []
        self._recent = np.zeros(0)

    def add(self, episodes: Episodes) -> None:
        """Appends episodes that ended after all before."""
        self._parts.append(episodes)
        if self.solved_at is None and self._threshold is not None:
            self.solved_at = first_solved(self._recent, episodes, self._threshold)
        self._recent = np.concatenate([self._recent, episodes.returns])[-WINDOW:]

    @property
    def count(self) -> int:
        """Number of episodes so far."""
        return sum(len(part.returns) for part in self._parts)

    @property
    def last_mean(self) -> float | None:
        """Mean return of the last `WINDOW` episodes, or of fewer if there are no more."""
        return float(self._recent.mean()) if self._recent.size else None

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
        empty = Episodes(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int32))
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


Scalars = Mapping[str, float | None]


class Sink(Protocol):
    """Where scalars are logged to."""

    def log(self, scalars: Scalars, step: int) -> None:
        """Takes scalars by name, finite ones or None, at an environment step."""

    def close(self) -> None:
        """Keeps what it was given; it is given no more."""


class JsonLines:
    """A line a step, with null where a scalar is not known."""

    def __init__(self, path: Path, size: int = 0):
        """Opens it.

        Args:
          path: of the file.
          size: bytes of it that are kept. What came after them belongs to no checkpoint.
        """
        there = path.stat().st_size if path.is_file() else 0
        if there < size:
            faults.warn(f"{path} is shorter than it was: lines of it are lost")
        self._lines = path.open("r+" if there and size else "w", encoding="utf-8")
        self._lines.seek(min(size, there))
        self._lines.truncate()

    def log(self, scalars: Scalars, step: int) -> None:
        """Appends one line."""
        self._lines.write(json.dumps({"env_steps": step, **scalars}) + "\n")
        self._lines.flush()

    @property
    def size(self) -> int:
        """Bytes of the lines so far."""
        return self._lines.tell()

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()


class TensorBoard:
    """An event for each scalar that is known."""

    def __init__(self, directory: Path, since: int = 0):
        self._directory, self._since = directory, since
        self._events: SummaryWriter | None = None

    def log(self, scalars: Scalars, step: int) -> None:
        """Adds events."""
        # Imported at the first of them: the device already works on the next chunk then, while
        # nothing at all would go on during an import at the top.
        if self._events is None:
            from tensorboardX import SummaryWriter

            # Viewers forget what an earlier file has of later steps: that was lost.
            purge = self._since + 1 if self._since else None
            self._events = SummaryWriter(str(self._directory), purge_step=purge)
        for name, value in scalars.items():
            if value is not None:
                self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        """Writes those that wait."""
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Writes those that wait; there are no more."""
        if self._events is not None:
            self._events.close()


class Log:
    """Writes scalars by name to metrics.jsonl, as TensorBoard events, and to further sinks."""

    def __init__(self, directory: Path, more: Sequence[Sink] = (), since: int = 0, size: int = 0):
        """Opens them all.

        Args:
          directory: of the run.
          more: sinks.
          since: environment steps after which a run goes on.
          size: bytes of metrics.jsonl up to there.
        """
        self._lines = JsonLines(directory / run_directory.METRICS, size)
        self._events = TensorBoard(directory / run_directory.TENSORBOARD, since)
        self._sinks: tuple[Sink, ...] = (self._lines, self._events, *more)

    def mark(self) -> int:
        """Bytes of metrics.jsonl so far. All that was logged is with the system now."""
        self._events.flush()
        return self._lines.size

    def write(self, env_steps: int, scalars: Scalars) -> None:
        """Logs them to all; numbers that are not finite become None."""
        numbers = {name: finite(value) for name, value in scalars.items()}
        for sink in self._sinks:
            sink.log(numbers, env_steps)

    def close(self) -> None:
        """Closes all."""
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close)


def finite(value: Any) -> float | None:
    """A float that JSON can hold."""
    return float(value) if value is not None and math.isfinite(value) else None
