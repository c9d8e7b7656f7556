"""The directory of a study: what was asked for, the results of units, and what becomes of them.

    study.yaml         settings, complete; `run.py study --config` runs them again
    origin.json        the command that made the directory, the version of this code, a digest of
                       study.yaml, and what is known of environment and extensions (`known`)
    units/             results of units that have run (`unit_files`)
    checkpoints/       units that are running
    optuna/            trials in Optuna's own storage, which nothing here reads
    errors/NAME.txt    how a unit failed
    results.parquet    all rows
    summary.json, report.html

Whatever is written is moved into place when it is complete. A lock keeps a second process out.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from selftuning.configs import files, studies, study_checks, trust
from selftuning.configs.errors import ConfigError
from selftuning.configs.studies import StudySettings
from selftuning.studies import known, origins, plan, table, unit_files, untrained
from selftuning.studies.execute import Result
from selftuning.studies.known import Known
from selftuning.studies.origins import ORIGIN
from selftuning.studies.plan import Unit
from selftuning.training import locks, run_directory

RESULTS = "results.parquet"
SUMMARY = run_directory.SUMMARY
REPORT = "report.html"
_CHECKPOINTS = "checkpoints"
_ERRORS = "errors"
# What is there of a study that was stopped before its settings were written, the last of them.
_BEGINNING = (ORIGIN, "origin.part", "study.part.yaml", locks.NAME)


class Measured(NamedTuple):
    """What is there of a study.

    Attributes:
      settings: of the study.
      origin: the command that made its directory, when it was begun, and the version of the code.
      table: rows of the units that have run (`studies.table`).
      about: how these ran, by name of the unit; see `execute.Result`.
      missing: names of the units that have not run.
      known: of its environment and its extensions.
    """

    settings: StudySettings
    origin: dict[str, Any]
    table: pl.DataFrame
    about: dict[str, dict[str, Any]]
    missing: list[str]
    known: Known


class Begun(NamedTuple):
    """A study that was begun in a directory.

    Attributes:
      settings: of the study.
      known: of its environment and its extensions.
      digest: of its settings, which results carry.
    """

    settings: StudySettings
    known: Known
    digest: str


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


def begun(directory: Path) -> Begun:
    """The study in a directory; no module that it names is imported.

    Raises:
      ConfigError: if there is none, if it is damaged or no longer allowed, or if it is of a version
        that did not keep what it knew of its modules.
    """
    if not is_study(directory):
        raise ConfigError(f"{directory} is not the directory of a study: no {studies.NAME} in it")
    path = directory / studies.NAME
    data, digest = files.read(path), digest_in(directory)
    origin = origins.read(directory)
    origins.check(directory, origin, digest)
    if origin.known is None:
        if strange := trust.strange(data):
            raise ConfigError(
                f"{path} is of an earlier version and names {' and '.join(strange)}, which is not "
                f"imported to read it; go on with the study once: run.py study --out {directory}"
            )
        settings = _settings(data)
        return Begun(settings, known.asked(settings), digest)
    with known.unimported(origin.known):
        return Begun(_settings(data), origin.known, digest)


@contextmanager
def unimported(*directories: Path) -> Iterator[None]:
    """Inside, what is asked of extensions of studies is answered by what these know of them.

    Raises:
      ConfigError: if one holds no study, or a damaged one.
    """
    with ExitStack() as stack:
        for directory in directories:
            stack.enter_context(known.unimported(begun(directory).known))
        yield


def digest_in(directory: Path) -> str:
    """Of the settings in the directory of a study."""
    return origins.digest((directory / studies.NAME).read_text(encoding="utf-8"))


def agreed(settings: StudySettings, out: Path | None, asked: bool, trusted: bool) -> StudySettings:
    """The settings that hold: those of a study that was begun in `out`, if there is one.

    Args:
      settings: what was asked for.
      out: directory.
      asked: whether anything was. If not, those of the directory hold.
      trusted: whether the modules that these name may be imported without a question.

    Raises:
      ConfigError: if the directory cannot be used, or holds a study with other settings.
    """
    check(out)
    if out is None or not is_study(out):
        return settings
    data = files.read(out / studies.NAME)
    if not asked:
        origins.check(out, origins.read(out), digest_in(out))
        trust.check(data, out / studies.NAME, trusted, trust.FLAG)
        return _settings(data)
    if origins.read(out).known is None:
        trust.check(data, out / studies.NAME, trusted, trust.FLAG)
        there = _settings(data)
    else:
        there = begun(out).settings
    for name, old, new in studies.differences(there, settings):
        raise ConfigError(
            f"out: {out} holds a study with {name} {old}, not {new}; name a new directory"
        )
    return there


def _settings(data: Mapping[str, Any]) -> StudySettings:
    before = {"mixed_blocks": True}  # of directories that do not say: there was no choice
    settings = studies.layered([before | dict(data)])
    study_checks.check(settings)
    return settings


def place(out: Path | None) -> Path:
    """Makes a directory for a study, runs/study-N for None, or finds the one of a study.

    Raises:
      ConfigError: if the directory cannot be used.
    """
    if out is not None and is_study(out):
        return out
    return run_directory.create_named(out, "study", _BEGINNING)


def create(settings: StudySettings, out: Path | None, said: Mapping[str, Any]) -> Path:
    """Begins a study in its directory, unless one was begun there.

    Args:
      settings: of the study.
      out: directory, or None for a new one.
      said: the command that makes it, when it began, and the version of the code.

    Raises:
      ConfigError: if the directory cannot be used.
    """
    out = place(out)
    if not is_study(out):
        text = files.dump(settings)
        origins.write(
            out, said, origins.digest(text), untrained.asked(settings, known.asked(settings))
        )
        write_text(out / studies.NAME, text)
    elif (origin := origins.read(out)).known is None:  # from now on it says what it knows
        origins.write(out, origin.said, digest_in(out), known.asked(settings))
    for name in (unit_files.FOLDER, _CHECKPOINTS):
        (out / name).mkdir(exist_ok=True)
    return out


def checkpoint(directory: Path, unit: Unit) -> Path:
    """Where a unit that is running keeps its state."""
    return directory / _CHECKPOINTS / f"{unit.name}.safetensors"


def write_unit(directory: Path, unit: Unit, result: Result) -> None:
    """Adds the result of a unit, which then needs its checkpoint no more."""
    unit_files.write(directory, unit, digest_in(directory), result)
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


def read(directory: Path) -> Measured:
    """All that is there of a study; nothing is imported for it.

    Raises:
      ConfigError: if there is no study, none of its units has run, or something is damaged.
    """
    settings, knows, digest = begun(directory)
    with known.unimported(knows):
        units = plan.units_of(settings, knows)
        found = unit_files.read(directory, units, digest)
        for error in found.damaged.values():
            raise ConfigError(f"{error}; run.py study --out {directory} runs it again")
        if not found.results:
            raise ConfigError(f"{directory} has no results yet")
        there = [unit for unit in units if unit.name in found.results]
        parts = [table.of_unit(settings, unit, found.results[unit.name]) for unit in there]
    return Measured(
        settings,
        dict(origins.read(directory).said),
        table.joined(parts, settings.methods),
        {name: result.about for name, result in found.results.items()},
        [unit.name for unit in units if unit.name not in found.results],
        knows,
    )


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
    with run_directory.replacing(path, f".part{path.suffix}") as beside:
        write_to(beside)


def write_text(path: Path, text: str) -> None:
    """Writes a text file, or leaves the old one."""
    replace(path, lambda to: to.write_text(text, encoding="utf-8"))
