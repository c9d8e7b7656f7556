"""What a study shows while it runs: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from selftuning.training.progress import Due, duration

_SECONDS_BETWEEN_LINES = 60.0  # where there is no terminal
_NOTHING = 0.1  # of the estimated time to compile: a worker that takes less had the program


@dataclass
class _Running:
    """A unit that has told of itself.

    Attributes:
      begun: when it first did, which is before it compiles.
      first: the part that was done, and when, as soon as it was compiled; None until then.
      latest: the same, now.
    """

    begun: float
    first: tuple[float, float] | None = None
    latest: tuple[float, float] | None = None


class StudyProgress:
    """How far a study is, over all of its units.

    Args:
      console: to show it on.
      work: of each unit that is to run, in estimated seconds, in the order in which they begin.
      runs: of each unit.
      workers: units that run at a time.
      compiling: estimated seconds for which a unit compiles, on a worker that has not done so.
      programs: of units by name, each of which some worker has compiled; None where each unit is
        compiled by itself.
    """

    def __init__(
        self,
        console: Console,
        work: Mapping[str, float],
        runs: Mapping[str, int],
        workers: int,
        compiling: float = 0.0,
        programs: Mapping[str, str] | None = None,
    ):
        self._console, self._work, self._runs, self._workers = console, work, runs, workers
        self._estimated, self._programs = compiling, programs
        self._parts = dict.fromkeys(work, 0.0)
        self._running: dict[str, _Running] = {}
        self._created = time.monotonic()
        self._due = Due(_SECONDS_BETWEEN_LINES, first=1)
        self._bar = Progress(
            BarColumn(bar_width=None),
            TextColumn("{task.fields[text]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, text="starting")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def tell(self, unit: str, part: float) -> None:
        """A unit is so far: at first where it begins, and again when it is compiled."""
        now = time.monotonic()
        known = self._running.get(unit)
        one = self._running[unit] = known or _Running(now)
        if known or part:
            one.first, one.latest = one.first or (part, now), (part, now)
        self._parts[unit] = part
        left = duration(self.left(now))
        text = f"{self._runs_done()} of {sum(self._runs.values())} runs, {left} left"
        share = self.share
        self._bar.update(self._task, completed=share, text=text)
        if self._console.is_terminal or share >= 1 or not part:
            return
        if self._due(share, now - self._created):
            self._console.print(f"{share:4.0%}  {text}", highlight=False, soft_wrap=True)

    @property
    def share(self) -> float:
        """Of the estimated work, how much is done."""
        done = sum(self._work[name] * part for name, part in self._parts.items())
        return done / sum(self._work.values())

    def _runs_done(self) -> int:
        return sum(self._runs[name] for name, part in self._parts.items() if part >= 1)

    def left(self, now: float) -> float:
        """Seconds for all that is left, as workers will take it up one unit after the other.

        A unit compiles for as long as others have, if its worker has not had its program yet, and
        then takes its estimated seconds times what they have turned out to be.
        """
        factor = self._factor()
        compiling = self._compiling()
        free = [0.0] * self._workers
        waiting, had = [], dict.fromkeys((self._programs or {}).values(), 1)
        for name, work in self._work.items():
            rest, one = factor * work * (1 - self._parts[name]), self._running.get(name)
            lacks = self._workers  # those that have not had its program
            if self._programs:
                lacks -= had[self._programs[name]]
                had[self._programs[name]] += lacks > 0
            compiles = compiling if lacks > 0 else 0.0
            if one is None:
                waiting.append(compiles + rest)
            elif self._parts[name] < 1:
                before = 0.0 if one.first else max(compiles - (now - one.begun), 0.0)
                heapq.heapreplace(free, free[0] + before + rest)
        for seconds in waiting:
            heapq.heapreplace(free, free[0] + seconds)
        return max(free)

    def _factor(self) -> float:
        """Seconds that an estimated second takes: what was seen, or else 1."""
        seen = estimated = 0.0
        for name, one in self._running.items():
            if one.first and one.latest:
                seen += one.latest[1] - one.first[1]
                estimated += (one.latest[0] - one.first[0]) * self._work[name]
        return seen / estimated if seen and estimated else 1.0

    def _compiling(self) -> float:
        """Seconds for which a unit compiles, if it does: a mean of the estimate and those seen."""
        seen = [one.first[1] - one.begun for one in self._running.values() if one.first]
        found = [seconds for seconds in seen if seconds > _NOTHING * self._estimated]
        return (sum(found) + self._estimated) / (len(found) + 1)
