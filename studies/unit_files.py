"""Results of units: a file each, which says of what unit of what study it is, and notices damage.

    units/NAME.safetensors   what was measured; its header says how it ran, with a digest of all
    units/NAME.parquet       the same of versions before 0.3 (`studies.old_units`), without digests
    units/NAME.damaged       was one of these, and is none that can be believed

A result stands for a part of `study.yaml`. So it carries the digest of that, and its own name and
runs: put in the place of another, or beside other settings, it is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from selftuning.configs import files
from selftuning.configs.errors import ConfigError
from selftuning.studies import old_units, table
from selftuning.studies.execute import Result
from selftuning.studies.old_units import Old
from selftuning.studies.plan import Unit
from selftuning.training import checkpoints, output
from selftuning.training.checkpoints import Checkpoint

FOLDER = "units"
_COLUMNS = 512  # of a table, more than any has
_HEADER = 2**20  # bytes, more than any header has
_MOST = 2.0**53  # whole numbers that a float64 holds
_ABOUT = (("seconds", (int, float)), ("machine", str), ("device", str), ("versions", dict))


def path_of(directory: Path, unit: Unit) -> Path:
    """Where the result of a unit is, in the directory of its study."""
    return directory / FOLDER / f"{unit.name}.safetensors"


def is_there(directory: Path, unit: Unit) -> bool:
    """Whether there is a result of a unit, believable or not."""
    return path_of(directory, unit).exists() or _old_path(directory, unit).exists()


def write(directory: Path, unit: Unit, study: str, result: Result) -> None:
    """Keeps the result of a unit.

    Args:
      directory: of the study.
      unit: that has run.
      study: digest of its settings.
      result: of the unit.

    Raises:
      LostOutputError: if the folder has been removed.
      OSError: if it cannot be written.
    """
    output.check(directory / FOLDER)  # or it would be made anew, without those that were in it
    about = {**result.about, **_identity(unit, study), "columns": list(result.values)}
    points = len(next(iter(result.values.values())))
    checkpoints.save(path_of(directory, unit), dict(result.values), points, about)


class Found(NamedTuple):
    """What a directory has of the units of a study.

    Attributes:
      results: of those that have run, by name.
      damaged: what is wrong with those that cannot be believed, by name.
    """

    results: dict[str, Result]
    damaged: dict[str, ConfigError]


def read(directory: Path, units: Sequence[Unit], study: str) -> Found:
    """Reads what is there of units, and believes nothing that is not theirs.

    Args:
      directory: of the study.
      units: of its settings.
      study: digest of these.
    """
    found = Found({}, {})
    old = [unit for unit in units if not path_of(directory, unit).exists()]
    before = old_units.read({unit.name: _old_path(directory, unit) for unit in old})
    for unit in units:
        try:
            if (path := path_of(directory, unit)).exists():
                result = _read(path, unit, study)
            elif unit.name in before:
                path = _old_path(directory, unit)
                result = _of_old(path, before[unit.name], unit)
            else:
                continue
            _check(path, unit, result)
            found.results[unit.name] = result
        except ConfigError as error:
            found.damaged[unit.name] = error
    return found


def set_aside(directory: Path, unit: Unit) -> None:
    """Takes away a result that cannot be believed, so that the unit can run again; it is kept."""
    for path in (path_of(directory, unit), _old_path(directory, unit)):
        if path.exists():
            os.replace(path, path.with_suffix(".damaged"))


def sealed(result: Result) -> bool:
    """Whether a result carries digests; those of old versions do not."""
    return "study" in result.about


def _old_path(directory: Path, unit: Unit) -> Path:
    return directory / FOLDER / f"{unit.name}.parquet"


def _identity(unit: Unit, study: str) -> dict[str, Any]:
    """Of which unit, of which study a result is."""
    return {"unit": unit.name, "study": study, "runs": [files.plain(run) for run in unit.runs]}


def _read(path: Path, unit: Unit, study: str) -> Result:
    most = 8 * _COLUMNS * unit.points * unit.size + _HEADER
    if path.stat().st_size > most:
        raise ConfigError(f"{path} has {path.stat().st_size} bytes, which no result of it has")
    try:
        file = checkpoints.read(path)
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("checkpoint: ")) from error
    for name, right in _identity(unit, study).items():
        if (there := file.about.get(name)) != right:
            is_of = f"unit {there}" if name == "unit" else "other settings"
            raise ConfigError(f"{path} is not the result of {unit.name}: it is of {is_of}")
    return Result(_in_order(file), dict(file.about))


def _in_order(file: Checkpoint) -> dict[str, np.ndarray]:
    columns = file.about.get("columns")
    if not isinstance(columns, list) or sorted(map(str, columns)) != sorted(file.arrays):
        raise ConfigError(f"{file.path} is no result of a unit: its columns are not said")
    return {name: file.arrays[name] for name in columns}


def _of_old(path: Path, old: Old | ConfigError, unit: Unit) -> Result:
    """The result in a file without digests, as far as it says of which unit it is."""
    if isinstance(old, ConfigError):
        raise old
    runs, columns = len(unit.runs), old.columns
    labels = {"run": [run.index for run in unit.runs], "seed": [run.seed for run in unit.runs]}
    right = old.about.get("unit") == unit.name and columns["method"].tolist() == [unit.method]
    for name, of_runs in labels.items():
        column = columns.get(name, np.zeros(0))
        whole = len(column) > 0 and len(column) % runs == 0
        right &= whole and bool((column.reshape(runs, -1) == np.array(of_runs)[:, None]).all())
    if not right:
        raise ConfigError(f"{path} is not the result of {unit.name}: it is of other runs")
    values = {
        name: column.reshape(runs, -1).T
        for name, column in columns.items()
        if not table.is_label(name)
    }
    return Result(values, {k: x for k, x in old.about.items() if k != "study"})


def _check(path: Path, unit: Unit, result: Result) -> None:
    """That a result is what its unit may measure, for files may be anybody's."""
    values = result.values
    tunes = unit.kind != "runs" or unit.settings.tuning.method != "none"
    tuned = [name for name, spec in unit.settings.in_use.items() if spec.tuned and tunes]
    for name in (*table.MEASURED, *tuned):
        if name not in values:
            raise ConfigError(f"{path} is no result of {unit.name}: it has no {name}")
    points = len(values[table.MEASURED[0]])
    for name, value in values.items():
        if table.is_label(name):
            raise ConfigError(f"{path} is no result of {unit.name}: {name} is no measurement")
        right = value.dtype == np.float64 and value.shape == (points, len(unit.runs))
        if not right or not 0 < points <= unit.points:
            said = f"{name} is {value.dtype}{list(value.shape)}"
            raise ConfigError(f"{path} is no result of {unit.name}: {said}")
    for name in table.WHOLE:
        known = values[name][~np.isnan(values[name])] if name == "solved_at" else values[name]
        if not np.all((known >= 0) & (known < _MOST)):  # false of what is no number
            raise ConfigError(f"{path} is no result of {unit.name}: {name} has impossible numbers")
    if not _is_about(result.about):
        raise ConfigError(f"{path} does not say how {unit.name} ran")


def _is_about(about: Mapping[str, Any]) -> bool:
    right = all(isinstance(about.get(name), kind) for name, kind in _ABOUT)
    named = [about[name] for name in ("versions", "modules") if name in about]
    return right and all(
        isinstance(part, dict) and all(isinstance(x, str) for x in part.values()) for part in named
    )
