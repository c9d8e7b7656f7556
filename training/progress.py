"""What a run shows while it goes on: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

LINES = 10  # of the plain log of a run
_SECONDS_BETWEEN_LINES = 30.0  # at most, so that a slow run is seen to live


class Snapshot(NamedTuple):
    """Where a run is.

    Attributes:
      env_steps: environment steps so far.
      seconds: since training began, compilation left out.
      steps_per_second: of the last chunk.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
        self._last = 0.0
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def update(self, snapshot: Snapshot) -> None:
        """Prints where the run is, if a line is due."""
        done = snapshot.env_steps / self._total
        silent = snapshot.seconds - self._last
        if done * LINES < self._next and silent < _SECONDS_BETWEEN_LINES:
            return
        self._last, self._next = snapshot.seconds, int(done * LINES) + 1
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
