"""The directory of a study: what was asked for, the results of units, and what becomes of them.

    study.yaml         settings, complete; `run.py study --config` runs them again
    origin.json        the command that made the directory, and the version of this code
    units/NAME.parquet rows of a finished unit; how it ran is in the metadata of the file
    checkpoints/       units that are running
    errors/NAME.txt    how a unit failed
    results.parquet    all rows
    summary.json, report.html

Whatever is written is moved into place when it is complete. A lock keeps a second process out.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from filelock import FileLock, Timeout

from selftuning.configs import files, studies, study_checks
from selftuning.configs.errors import ConfigError
from selftuning.configs.studies import StudySettings
from selftuning.studies import plan, table
from selftuning.studies.execute import Result
from selftuning.studies.plan import Unit
from selftuning.training import run_directory

ORIGIN = "origin.json"
RESULTS = "results.parquet"
SUMMARY = run_directory.SUMMARY
REPORT = "report.html"
_UNITS = "units"
_CHECKPOINTS = "checkpoints"
_ERRORS = "errors"
_LOCK = ".lock"
# What is there of a study that was stopped before its settings were written, the last of them.
_BEGINNING = (ORIGIN, "origin.part.json", "study.part.yaml", _LOCK)
_ABOUT = "about"  # key of the metadata of a unit's file


class Measured(NamedTuple):
    """What is there of a study.

    Attributes:
      settings: of the study.
      origin: see `StudyDirectory.origin`.
      table: rows of the units that have run (`studies.table`).
      about: how these ran, by name of the unit; see `execute.Result`.
      missing: names of the units that have not run.
    """

    settings: StudySettings
    origin: dict[str, Any]
    table: pl.DataFrame
    about: dict[str, dict[str, Any]]
    missing: list[str]


def is_study(directory: Path) -> bool:
    """Whether a study was begun in a directory."""
    return (directory / studies.NAME).is_file()


def check(out: Path | None) -> None:
    """Tells early whether a study can go into a directory: a new or empty one, or a study's.

    Raises:
      ConfigError: if it cannot.
    """
    if out is None or not is_study(out):
        run_directory.check(out, _BEGINNING)


def settings_in(directory: Path) -> StudySettings:
    """The settings of a study that was begun.

    Raises:
      ConfigError: if there is none, or they are damaged or no longer allowed.
    """
    if not is_study(directory):
        raise ConfigError(f"{directory} is not the directory of a study: no {studies.NAME} in it")
    settings = studies.layered([files.read(directory / studies.NAME)])
    study_checks.check(settings)
    return settings


def agreed(settings: StudySettings, out: Path | None, asked: bool) -> StudySettings:
    """The settings that hold: those of a study that was begun in `out`, if there is one.

    Args:
      settings: what was asked for.
      out: directory.
      asked: whether anything was. If not, those of the directory hold.

    Raises:
      ConfigError: if the directory cannot be used, or holds a study with other settings.
    """
    check(out)
    if out is None or not is_study(out):
        return settings
    there = settings_in(out)
    for name, old, new in studies.differences(there, settings) if asked else ():
        raise ConfigError(
            f"out: {out} holds a study with {name} {old}, not {new}; name a new directory"
        )
    return there


def create(settings: StudySettings, out: Path | None, origin: dict[str, Any]) -> Path:
    """Makes the directory of a study, or finds the one that was begun.

    Raises:
      ConfigError: if the directory cannot be used.
    """
    if out is None or not is_study(out):
        out = run_directory.create_named(out, "study", _BEGINNING)
        write_text(out / ORIGIN, json.dumps(origin, indent=2) + "\n")
        write_text(out / studies.NAME, files.dump(settings))
    for name in (_UNITS, _CHECKPOINTS):
        (out / name).mkdir(exist_ok=True)
    return out


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keeps other processes out of a directory; the lock ends with the process that has it.

    Raises:
      ConfigError: if another process is in it.
    """
    lock = FileLock(directory / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        message = f"out: {directory} is in use: another process runs this study"
        raise ConfigError(message) from error
    try:
        yield
    finally:
        lock.release()


def checkpoint(directory: Path, unit: Unit) -> Path:
    """Where a unit that is running keeps its state."""
    return directory / _CHECKPOINTS / f"{unit.name}.safetensors"


def finished(directory: Path, unit: Unit) -> bool:
    """Whether a unit has run."""
    return _unit(directory, unit).is_file()


def write_unit(directory: Path, settings: StudySettings, unit: Unit, result: Result) -> None:
    """Adds the result of a unit, which then needs its checkpoint no more."""
    rows = table.of_unit(settings, unit, result)
    metadata = {_ABOUT: json.dumps({"unit": unit.name, **result.about})}
    replace(_unit(directory, unit), lambda to: rows.write_parquet(to, metadata=metadata))
    checkpoint(directory, unit).unlink(missing_ok=True)


def error_file(directory: Path, unit: str) -> Path:
    """Where the traceback of a unit that failed is."""
    return directory / _ERRORS / f"{unit}.txt"


def write_error(directory: Path, unit: str, traceback: str) -> None:
    """Keeps the traceback of a unit that failed."""
    path = error_file(directory, unit)
    path.parent.mkdir(exist_ok=True)
    write_text(path, traceback)


def tidy(directory: Path) -> None:
    """Removes what a study that has run needs no more."""
    for name in (_CHECKPOINTS, _ERRORS):
        shutil.rmtree(directory / name, ignore_errors=True)


def read(directory: Path, units: list[Unit] | None = None) -> Measured:
    """All that is there of a study.

    Args:
      directory: of the study.
      units: of its settings, if they are known already.

    Raises:
      ConfigError: if there is no study, none of its units has run, or something is damaged.
    """
    settings = settings_in(directory)
    units = plan.units_of(settings) if units is None else units
    there = [unit for unit in units if finished(directory, unit)]
    if not there:
        raise ConfigError(f"{directory} has no results yet")
    parts, about = [], {}
    for unit in there:
        path = _unit(directory, unit)
        try:
            parts.append(pl.read_parquet(path))
            about[unit.name] = json.loads(pl.read_parquet_metadata(path)[_ABOUT])
        except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error
    try:
        origin = json.loads((directory / ORIGIN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {directory / ORIGIN}: {error}") from error
    missing = [unit.name for unit in units if unit.name not in about]
    return Measured(settings, origin, table.joined(parts, settings.methods), about, missing)


def versions(measured: Measured) -> dict[str, str]:
    """Of the libraries that the study ran with, by name; all of them where there are several."""
    found: dict[str, set[str]] = {}
    for about in measured.about.values():
        for name, number in about["versions"].items():
            found.setdefault(name, set()).add(number)
    return {name: ", ".join(sorted(numbers)) for name, numbers in found.items()}


def write_results(directory: Path, measured: Measured) -> None:
    """Writes results.parquet anew."""
    replace(directory / RESULTS, measured.table.write_parquet)


def replace(path: Path, write_to: Callable[[Path], object]) -> None:
    """Writes a file beside the path, and moves it there when it is complete."""
    beside = path.with_name(f"{path.stem}.part{path.suffix}")
    write_to(beside)
    os.replace(beside, path)


def write_text(path: Path, text: str) -> None:
    """Writes a text file, or leaves the old one."""
    replace(path, lambda to: to.write_text(text, encoding="utf-8"))


def _unit(directory: Path, unit: Unit) -> Path:
    return directory / _UNITS / f"{unit.name}.parquet"
