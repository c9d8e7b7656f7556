"""Where the numbers of a run are logged to: lines, TensorBoard, and a table of episodes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from selftuning.training import faults, run_directory
from selftuning.training.metrics import Episodes, finite

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

# Groups of the scalars that have none in their name.
_GROUPS = {
    "return_mean_100": "episodes",
    "episode_length": "episodes",
    "episodes": "episodes",
    "reward_per_step": "episodes",
    "eval_mean": "evaluation",
    "steps_per_second": "time",
    "wall_seconds": "time",
}
_JUDGED = ("return_mean_100", "reward_per_step", "eval_mean")  # what the tab HPARAMS compares

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


def tag(name: str) -> str:
    """The name of a scalar in TensorBoard, which groups by what stands before the first slash."""
    return f"{_GROUPS[name]}/{name}" if name in _GROUPS else name


class TensorBoard:
    """An event for each scalar that is known, and the settings for the tab HPARAMS.

    Viewers call a run by the path of its events. So they are in the run directory itself, or where
    an earlier version began them.
    """

    def __init__(self, directory: Path, settings: Mapping[str, Any], since: int = 0):
        earlier = directory / run_directory.TENSORBOARD
        self._directory = earlier if earlier.is_dir() else directory
        self._settings, self._since = settings, since
        self._events: SummaryWriter | None = None

    def log(self, scalars: Scalars, step: int) -> None:
        """Adds events."""
        if self._events is None:
            self._events = self._begun()
        for name, value in scalars.items():
            if value is not None:
                self._events.add_scalar(tag(name), value, step)

    def _begun(self) -> SummaryWriter:
        # Imported at the first event: the device already works on the next chunk then, while
        # nothing at all would go on during an import at the top.
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams

        # Viewers forget what an earlier file has of later steps: that was lost.
        purge = self._since + 1 if self._since else None
        events = SummaryWriter(str(self._directory), purge_step=purge)
        if self._settings:
            # `add_hparams` would make a run of its own, beside this one.
            for part in hparams(_flat(self._settings), dict.fromkeys(map(tag, _JUDGED))):
                events.file_writer.add_summary(part)
        return events

    def flush(self) -> None:
        """Writes those that wait."""
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Writes those that wait; there are no more."""
        if self._events is not None:
            self._events.close()


class EpisodeTable:
    """Every single episode of a run, a line each.

    It is written anew when a run goes on: what is known of the episodes before is in its history.
    """

    def __init__(self, path: Path, before: Episodes | None = None):
        self._lines = path.open("w", encoding="utf-8")
        self._lines.write("env_steps,env,return,length\n")
        if before is not None:
            self.append(before)

    def append(self, episodes: Episodes) -> None:
        """Adds those that have ended."""
        columns = episodes.env_steps, episodes.env, episodes.returns, episodes.lengths
        rows = zip(*(column.tolist() for column in columns), strict=True)
        self._lines.writelines(f"{at},{env},{_shortest(x)},{n}\n" for at, env, x, n in rows)
        self._lines.flush()

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()


def _shortest(value: float) -> str:
    """The shortest text that means a return, which most environments sum up in float32."""
    single = np.float32(value)
    return str(single) if single == value else repr(value)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by path, as values that TensorBoard can show."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            number = isinstance(value, float) and math.isfinite(value)
            plain = number or isinstance(value, (bool, int, str))
            found[prefix + name] = value if plain else json.dumps(value, default=str)
    return found


class Log:
    """Writes scalars by name to metrics.jsonl, as TensorBoard events, and to further sinks.

    Episodes go to a table, one by one.
    """

    def __init__(
        self,
        directory: Path,
        more: Sequence[Sink] = (),
        since: int = 0,
        size: int = 0,
        before: Episodes | None = None,
        settings: Mapping[str, Any] | None = None,
    ):
        """Opens them all.

        Args:
          directory: of the run.
          more: sinks.
          since: environment steps after which a run goes on.
          size: bytes of metrics.jsonl up to there.
          before: the episodes up to there.
          settings: of the run, as plain data.
        """
        self._lines = JsonLines(directory / run_directory.METRICS, size)
        self._events = TensorBoard(directory, settings or {}, since)
        self._table = EpisodeTable(directory / run_directory.EPISODES, before)
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

    def add_episodes(self, episodes: Episodes) -> None:
        """Appends what has ended to the table."""
        self._table.append(episodes)

    def close(self) -> None:
        """Closes all."""
        with ExitStack() as stack:
            stack.callback(self._table.close)
            for sink in self._sinks:
                stack.callback(sink.close)
