"""report.html while a study runs: what has been found so far, on a page that looks again by itself.

It is drawn from the units that have ended, in the process that waits for the others. That takes a
few seconds, so it is done now and then, and no more than a twentieth of the time goes into it.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

from selftuning.configs.errors import ConfigError, one_line
from selftuning.studies import plan, study_files, summary, unit_files
from selftuning.studies.outcome import Outcome, outcome_of
from selftuning.studies.report import page
from selftuning.studies.report.parts import Progress, Running

_FIRST = 10.0  # seconds of a study without a page
_BETWEEN = 15.0  # seconds from one page to the next, at least
_SHARE = 0.05  # of the time, which drawing takes at most


class Live:
    """Keeps the page of a study that runs.

    Whatever goes wrong with a page ends the pages, and not the study.

    Args:
      directory: of the study.
      console: to say what went wrong with the page.
      first: seconds before the first page.
      between: seconds from one page to the next, at least.
    """

    def __init__(
        self,
        directory: Path,
        console: Console,
        *,
        first: float = _FIRST,
        between: float = _BETWEEN,
    ):
        self._directory, self._console, self._between = directory, console, between
        begun = study_files.begun(directory)
        self._settings = begun.settings
        self._units = plan.units_of(begun.settings, begun.known)
        done = (unit_files.is_there(directory, unit) for unit in self._units)
        names = [unit.name for unit in self._units]
        self._parts = dict(zip(names, map(float, done), strict=True))
        self._due = time.monotonic() + first
        self._pages = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Without its end, the page would go on to wait for more."""
        ended = any(part >= 1 for part in self._parts.values())
        if self._pages and (kind is not None or not ended):  # or else a report comes next
            self._draw(None)

    def tell(self, unit: str, part: float) -> None:
        """A unit is so far; the results of one that has ended are in the directory."""
        self._parts[unit] = part
        if (begun := time.monotonic()) < self._due:
            return
        self._draw(self._progress())
        took = time.monotonic() - begun
        self._due = begun + took + max(self._between, took * (1 / _SHARE - 1))

    def _draw(self, progress: Progress | None) -> None:
        path = self._directory / study_files.REPORT
        try:
            with study_files.unimported(self._directory):
                if (outcome := self._outcome()) is None:
                    page.write_first(path, self._settings, progress)
                else:
                    page.write(path, outcome, summary.summarise(outcome), progress)
            self._pages += 1
        except Exception as error:
            said = f"the page of the study is not drawn before its end: {one_line(error)}"
            self._console.print(said, highlight=False, markup=False, soft_wrap=True)
            self._due = float("inf")

    def _outcome(self) -> Outcome | None:
        """What has been found so far; None if no unit has ended."""
        try:
            return outcome_of(study_files.read(self._directory))
        except ConfigError:
            return None

    def _progress(self) -> Progress:
        methods: dict[str, list[tuple[int, float]]] = {}
        for unit in self._units:
            label = self._settings.methods[unit.method].label
            methods.setdefault(label, []).append((len(unit.runs), self._parts[unit.name]))
        running = [
            Running(
                label,
                sum(runs for runs, part in units if part >= 1),
                sum(runs for runs, _ in units),
                sum(runs * part for runs, part in units) / sum(runs for runs, _ in units),
            )
            for label, units in methods.items()
        ]
        return Progress(running, time.time(), self._between)
