"""A unit from where it was stopped to its end: what workers do, wherever they are."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from selftuning.configs import files
from selftuning.configs.errors import ConfigError
from selftuning.studies import plan, programs, user_modules
from selftuning.studies.plan import Unit
from selftuning.studies.programs import Program
from selftuning.studies.searches import search_programs
from selftuning.training import checkpoints, provenance

if TYPE_CHECKING:
    from selftuning.studies.launchers.jobs import Job

_SECONDS_BETWEEN_CHECKPOINTS = 20.0
_MOST_PROGRAMS = 8  # that a worker keeps for the next unit of the same shape

Tell = Callable[[float], object]  # the part of a unit that is done


class Result(NamedTuple):
    """What a unit measured.

    Attributes:
      values: by name [P, R]; see `measures.measured`.
      about: seconds of running (less those whose results were lost) and of compiling, what it ran
        on, versions of libraries, digests of the user's modules.
    """

    values: dict[str, np.ndarray]
    about: dict[str, Any]


class Calibration(NamedTuple):
    """How long a unit takes: to compile, from one point to the next, and all in all."""

    compile_seconds: float
    point_seconds: float
    points: int

    @property
    def seconds(self) -> float:
        """Of a whole unit, compiled already."""
        return self.point_seconds * self.points


class _Kept(NamedTuple):
    program: Program
    compile_seconds: float


_programs: OrderedDict[str, _Kept] = OrderedDict()


def run(unit: Unit, checkpoint: Path | None, tell: Tell) -> Result:
    """Runs a unit to its end.

    Args:
      unit: to run.
      checkpoint: file to go on from, if it is there, and to write from time to time where its
        directory exists; None for none.
      tell: told how far the unit is where it begins, when it is compiled, and after each point.
    """
    tell(0.0)
    program, compile_seconds = _program(unit)
    if program.shapes is None or checkpoint is None or not checkpoint.parent.is_dir():
        checkpoint = None
    begun = saved = time.perf_counter()
    first, state, values, before = _restored(unit, program, checkpoint) or (0, None, {}, 0.0)
    state = program.begin(unit.runs) if state is None else state
    tell(first / program.points)
    for point in range(first, program.points):
        state, measured = program.advance(state, point)
        if not values:
            values = {n: np.full((program.points, len(x)), np.nan) for n, x in measured.items()}
        for name, x in measured.items():
            values[name][point] = x
        tell((point + 1) / program.points)
        due = time.perf_counter() - saved > _SECONDS_BETWEEN_CHECKPOINTS
        if checkpoint and due and checkpoint.parent.is_dir():  # a study may have been removed
            content = {"state": state, "values": values, "unit": _digest(unit)}
            content["seconds"] = np.array(before + time.perf_counter() - begun)
            checkpoints.save(checkpoint, content, point + 1)
            saved = time.perf_counter()
        _show(program, unit, checkpoint)
    about = {
        "code": provenance.code_version(),
        "seconds": before + time.perf_counter() - begun,
        "compile_seconds": compile_seconds,
        "begun_at_point": first,
        "device": jax.devices()[0].device_kind,
        "machine": machine(),
        "versions": provenance.versions(),
        "modules": user_modules.digests(user_modules.used_by(files.plain(unit.settings))),
    }
    runs = len(unit.runs)
    return Result({name: x[:, :runs] for name, x in values.items()}, about)


def _show(program: Program, unit: Unit, checkpoint: Path | None) -> None:
    """Writes what else there is to see of a unit into the directory of its study."""
    if program.show is not None and checkpoint is not None and checkpoint.parent.is_dir():
        folder = checkpoint.parent.parent / unit.kind
        program.show(folder / f"{unit.name}.journal", unit.runs)


def calibrate(unit: Unit) -> Calibration:
    """Compiles the program of a unit and runs it for a moment, for nothing but its speed."""
    program, compile_seconds = _program(unit)
    state = program.begin(unit.runs)
    seconds = 0.0
    for point in range(min(2, program.points)):
        begun = time.perf_counter()
        state, _ = program.advance(state, point)
        seconds = time.perf_counter() - begun
    return Calibration(compile_seconds, seconds, program.points)


def run_job(job: Job, tell: Tell) -> Result:
    """`run`, as launchers call it."""
    return run(job.unit, job.checkpoint, tell)


def calibrate_job(job: Job, _tell: Tell) -> Calibration:
    """`calibrate`, as launchers call it."""
    return calibrate(job.unit)


def _program(unit: Unit) -> _Kept:
    """The program of a unit, which may be there from another one."""
    key = json.dumps(plan.identity(replace(unit, name="", runs=())), sort_keys=True)
    if key not in _programs:
        begun = time.perf_counter()
        while len(_programs) >= _MOST_PROGRAMS:
            _programs.popitem(last=False)[1].program.close()
        _programs[key] = _Kept(make(unit), time.perf_counter() - begun)
    _programs.move_to_end(key)
    return _programs[key]


def make(unit: Unit) -> Program:
    """Builds and compiles the program of a unit.

    Raises:
      ConfigError: if the environment cannot be made, or what it needs is not installed.
    """
    if unit.kind == "runs":
        return programs.runs_in_graph(unit) if unit.in_graph else programs.run_on_host(unit)
    if unit.kind == "pb2":
        return _pb2(unit)
    if unit.kind != "optuna":
        return search_programs.make(unit)
    try:
        from selftuning.studies.searches import optuna_search
    except ImportError as error:
        raise ConfigError(
            f"optuna: the package is not installed; pip install optuna ({error})"
        ) from error
    return optuna_search.make(unit)


def _pb2(unit: Unit) -> Program:
    try:
        from selftuning.studies.searches import bandit_search
    except ImportError as error:
        raise ConfigError(
            f"pb2: a package is not installed; pip install 'selftuning[pb2]' ({error})"
        ) from error
    return bandit_search.make(unit)


def _restored(
    unit: Unit, program: Program, checkpoint: Path | None
) -> tuple[int, Any, dict[str, np.ndarray], float] | None:
    """(points done, state, values, seconds) of a unit that was stopped; None if all is lost."""
    if checkpoint is None or not checkpoint.exists():
        return None
    assert program.shapes is not None
    assert program.columns is not None
    shape = (program.points, unit.size)
    values = {name: jax.ShapeDtypeStruct(shape, np.float64) for name in program.columns}
    seconds = jax.ShapeDtypeStruct((), np.float64)
    template = {"values": values, "unit": _digest(unit), "seconds": seconds}
    try:
        content, done = checkpoints.load(
            checkpoint, lambda points: template | {"state": program.shapes(points)}
        )
    except ConfigError as error:
        print(f"{unit.name} begins anew: {error}", file=sys.stderr)
        return None
    if not np.array_equal(content["unit"], _digest(unit)):
        why = f"{checkpoint} is of another study, or of another version"
        print(f"{unit.name} begins anew: {why}", file=sys.stderr)
        return None
    in_order = {name: content["values"][name] for name in program.columns}
    return done, content["state"], in_order, float(content["seconds"])


def _digest(unit: Unit) -> np.ndarray:
    """Of all that the results of a unit depend on, uint8 [32]."""
    depends = [plan.identity(unit), _versions(unit), provenance.code_version()]
    text = json.dumps(depends, sort_keys=True)
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)


def _versions(unit: Unit) -> dict[str, str]:
    """Of the libraries that the results of a unit depend on, by name."""
    needed = {"optuna": ("optuna",), "pb2": ("ray", "scikit-learn")}.get(unit.kind, ())
    return files.versions() | {name: version(name) for name in needed}


def machine() -> str:
    """This machine in words: processor, number of cores, system."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass  # only Linux tells, and not on every processor
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )
