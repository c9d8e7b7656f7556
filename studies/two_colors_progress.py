"""What a study shows while it runs: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

LINES = 10  # of each method, where there is no terminal
_SECONDS_BETWEEN_LINES = 60.0  # at most, so that a slow study is seen to live


class StudyProgress:
    """How far a study is, in environment steps of all runs of all methods.

    Args:
      console: to show it on.
      work: environment steps of all runs of each method that is to run, by name.
    """

    def __init__(self, console: Console, work: Mapping[str, int]):
        self._console, self._work = console, work
        self._before = 0  # steps of the methods that are done
        self._name = ""
        self._begun = self._last = time.monotonic()
        self._next = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[text]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=sum(work.values()), text="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin(self, name: str) -> None:
        """A method begins, and compiles first."""
        self._name, self._next = name, 1
        self._show(0.0, "compiling", force=True)

    def tell(self, done: int, total: int) -> None:
        """Environment steps of each run of the method: done, and all."""
        part = done / total
        self._show(part, f"{done:,} of {total:,} steps, {self._left(part)} left")

    def end(self, line: str) -> None:
        """The method is done; prints its line."""
        self._before += self._work[self._name]
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _show(self, part: float, text: str, force: bool = False) -> None:
        done = self._before + part * self._work[self._name]
        self._bar.update(self._task, description=self._name, completed=done, text=text)
        now = time.monotonic()
        due = part * LINES >= self._next or now - self._last >= _SECONDS_BETWEEN_LINES
        if self._console.is_terminal or not (due or force) or part >= 1:
            return
        self._last, self._next = now, int(part * LINES) + 1
        line = f"{self._name:<12}  {text}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _left(self, part: float) -> str:
        """Time for all that is left, at the speed so far, compiling included."""
        done = self._before + part * self._work[self._name]
        rest = sum(self._work.values()) - done
        return duration((time.monotonic() - self._begun) * rest / done)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
