"""What is told of a fault: a line for the user, and a file with the traceback."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax

from selftuning.configs import modules
from selftuning.configs.errors import ConfigError, FailedEnvironmentError
from selftuning.training import run_directory

# It prints all frames of JAX before the error is raised.
logging.getLogger("jax._src.callback").setLevel(logging.CRITICAL)

Result = TypeVar("Result")


def report_fault(directory: Path | None, error: Exception) -> str:
    """Adds an error to the file of a run directory, if there is one.

    Returns:
      The error in one line.
    """
    if directory is not None:
        details = getattr(error, "details", "") or modules.trace(error)
        when = time.strftime("%Y-%m-%d %H:%M:%S %z")
        with (directory / run_directory.ERRORS).open(
            "a", encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"{when}\n{error}\n\n{details}\n")
    return str(error)


def report_first_fault(out: Path | None, error: Exception) -> None:
    """Keeps the traceback of an error that comes before a run has written anything.

    Args:
      out: run directory that was asked for; None for none.
      error: that ends the run.
    """
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        report_fault(out, error)


def in_callback(error: jax.errors.JaxRuntimeError, step: int) -> FailedEnvironmentError | None:
    """What has failed in Python code that a compiled program calls; None if it is something else.

    Args:
      error: of JAX, which holds the traceback as text.
      step: of all environments together, after which it happened.
    """
    text = str(error)
    if "callback" not in text.partition("\n")[0]:
        return None
    said, place = text.strip().splitlines()[-1], modules.written(modules.last_in(text))
    return FailedEnvironmentError(
        f"inside jit, after step {step:,} of all environments: {said} {place}", text
    )


def warn(text: str) -> None:
    """Says on standard error what went wrong and does no harm."""
    print(f"warning: {text}", file=sys.stderr)


def tried(
    function: Callable[[], Result], what: str, directory: Path | None = None
) -> Result | None:
    """The result of a function; None, and a warning, where an environment fails in it.

    Args:
      function: without which nothing is lost that was learned.
      what: it is for, in words.
      directory: of the run, for the traceback.
    """
    try:
        return function()
    except (ConfigError, FailedEnvironmentError) as error:
        warn(f"no {what}: {report_fault(directory, error)}")
        return None
