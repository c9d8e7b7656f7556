"""What a study shows while it runs: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from selftuning.training.progress import Due

_SECONDS_BETWEEN_LINES = 60.0  # where there is no terminal


class StudyProgress:
    """How far a study is, over all of its units.

    Args:
      console: to show it on.
      work: of each unit that is to run, in estimated seconds.
      runs: of each unit.
      workers: units that run at a time.
    """

    def __init__(
        self, console: Console, work: Mapping[str, float], runs: Mapping[str, int], workers: int
    ):
        self._console, self._work, self._runs, self._workers = console, work, runs, workers
        self._parts = dict.fromkeys(work, 0.0)
        self._begun = self._created = time.monotonic()
        self._at_first: float | None = None  # work done when the first unit told of itself
        self._due = Due(_SECONDS_BETWEEN_LINES, first=1)
        self._bar = Progress(
            BarColumn(bar_width=None),
            TextColumn("{task.fields[text]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=sum(work.values()), text="starting")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def tell(self, unit: str, part: float) -> None:
        """A unit is so far."""
        self._parts[unit] = part
        done = sum(self._work[name] * part for name, part in self._parts.items())
        if self._at_first is None:  # of what a unit had before, nothing is known of its speed
            self._at_first, self._begun = done, time.monotonic()
        text = f"{self._runs_done()} of {sum(self._runs.values())} runs, {self._left(done)} left"
        self._bar.update(self._task, completed=done, text=text)
        share = done / sum(self._work.values())
        if self._console.is_terminal or share >= 1:
            return
        if self._due(share, time.monotonic() - self._created):
            self._console.print(f"{share:4.0%}  {text}", highlight=False, soft_wrap=True)

    def _runs_done(self) -> int:
        return sum(self._runs[name] for name, part in self._parts.items() if part >= 1)

    def _left(self, done: float) -> str:
        """Time for all that is left, at the speed so far, or at the estimated one at first."""
        rest, seconds = sum(self._work.values()) - done, time.monotonic() - self._begun
        gained = done - (self._at_first or 0.0)
        return duration(rest / (gained / seconds if gained > 0 else self._workers))


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
