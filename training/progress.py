"""What a run shows while it goes on: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

LINES = 10  # of a plain log
_SECONDS_BETWEEN_LINES = 30.0


class Snapshot(NamedTuple):
    """Where a run is.

    Attributes:
      env_steps: environment steps so far.
      seconds: since training began, compilation left out.
      steps_per_second: over the last five chunks.
      mean_return: of the last 100 episodes; None before the first has ended.
      reward_per_step: mean of the last chunk, shown until then.
      hyperparameters: values now by name; a list where there is one a head.
      tuned: names of those that are tuned.
    """

    env_steps: int
    seconds: float
    steps_per_second: float
    mean_return: float | None
    reward_per_step: float
    hyperparameters: Mapping[str, float | list[float]]
    tuned: tuple[str, ...] = ()


def describe(snapshot: Snapshot) -> str:
    """A snapshot without its step count, on one line; of tuned hyperparameters, if any is."""
    names = snapshot.tuned or snapshot.hyperparameters
    values = "  ".join(f"{name} {_range(snapshot.hyperparameters[name])}" for name in names)
    if snapshot.mean_return is None:
        success = f"reward {snapshot.reward_per_step:.4g} a step"
    else:
        success = f"return {snapshot.mean_return:.1f}"
    return f"{_thousands(snapshot.steps_per_second)} steps/s  {success}  {values}"


class Due:
    """Whether a plain log is to have another line: each tenth of the work, and after long silence.

    Args:
      seconds: of silence at most, so that slow work is seen to live.
      first: tenth of the work at which the first line is due.
    """

    def __init__(self, seconds: float, first: int = 0):
        self._seconds, self._next, self._last = seconds, first, 0.0

    def __call__(self, done: float, now: float) -> bool:
        """Asked with the part of the work that is done and the seconds since it began."""
        due = done * LINES >= self._next or now - self._last >= self._seconds
        if due:
            self._next, self._last = int(done * LINES) + 1, now
        return due


class LiveProgress:
    """A progress bar with a line of numbers under it, for terminals."""

    def __init__(self, console: Console, total: int):
        steps = TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps")
        self._progress = Progress(
            BarColumn(bar_width=None), steps, TimeRemainingColumn(), TextColumn("left")
        )
        self._task = self._progress.add_task("", total=total)
        self._text = Text("compiling")
        group = Group(self._progress, self._text)
        self._live = Live(group, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def update(self, snapshot: Snapshot) -> None:
        """Shows where the run is."""
        self._progress.update(self._task, completed=snapshot.env_steps)
        self._text.plain = describe(snapshot)


class PlainProgress:
    """A line every tenth of the run, or every half minute, for files and pipes."""

    def __init__(self, console: Console, total: int):
        self._console = console
        self._total = total
        self._due = Due(_SECONDS_BETWEEN_LINES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, snapshot: Snapshot) -> None:
        """Prints where the run is, if a line is due."""
        done = snapshot.env_steps / self._total
        if not self._due(done, snapshot.seconds):
            return
        left = snapshot.seconds * (1 - done) / done
        steps = f"{snapshot.env_steps:>11,} steps {done:4.0%}"
        line = f"{steps}  {describe(snapshot)}  {left:.0f} s left"
        self._console.print(line, highlight=False, soft_wrap=True)


def make_progress(console: Console, total: int) -> LiveProgress | PlainProgress:
    """The progress display that fits the console, for a run of `total` environment steps."""
    live = console.is_terminal or console.is_jupyter
    return (LiveProgress if live else PlainProgress)(console, total)


def _range(value: float | list[float]) -> str:
    """A value, or the lowest and the highest of a list: a line has no room for more."""
    if not isinstance(value, list):
        return f"{value:.4g}"
    return f"{min(value):.4g}..{max(value):.4g}"


def _thousands(number: float) -> str:
    return f"{number / 1000:.0f}k" if number >= 10_000 else f"{number:.0f}"
