"""What a launcher is given to do, and what it tells of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from selftuning.configs.errors import ConfigError, FailedEnvironmentError, one_line
from selftuning.studies.plan import Unit


class Told(NamedTuple):
    """A unit is on its way: the part of it that is done."""

    unit: str
    part: float


class Done(NamedTuple):
    """A call of a function has returned."""

    unit: str
    result: Any


class Failed(NamedTuple):
    """A call of a function has raised an exception.

    Attributes:
      unit: of the job.
      error: in one line.
      traceback: as Python prints it.
    """

    unit: str
    error: str
    traceback: str


def failed(unit: str, error: BaseException) -> Failed:
    """The event of an exception."""
    told = isinstance(error, ConfigError | FailedEnvironmentError)  # which say all there is to say
    line = one_line(error if told else f"{type(error).__name__}: {error}")
    return Failed(unit, line, "".join(traceback.format_exception(error)))


Event = Told | Done | Failed


class Job(NamedTuple):
    """A call to make.

    Attributes:
      unit: it is about.
      checkpoint: of the unit, on machines that have its directory; None for none.
    """

    unit: Unit
    checkpoint: Path | None = None


# (job, function told the part that is done) -> result; importable from a module.
Work = Callable[[Job, Callable[[float], object]], Any]


class Launcher(NamedTuple):
    """Where units run.

    Attributes:
      workers: calls at a time.
      run: (function, jobs) -> events, until every job is done or has failed.
    """

    workers: int
    run: Callable[[Work, Sequence[Job]], Iterator[Event]]


class WorkersLostError(RuntimeError):
    """Workers have died, and nobody runs what they ran."""
