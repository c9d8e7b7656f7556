"""What a study runs: its settings as units, each of them runs of one static shape.

A unit is the smallest thing that is started, lost and made again. How a study is cut into units is
a matter of its settings alone: rounding depends on how many runs are side by side, and results
must depend neither on the number of cores nor on what was stopped when. Runs of a unit have the
same start, so that they do not depend on which other starts there are either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from urllib.parse import quote

from selftuning.configs import files, studies
from selftuning.configs.errors import not_allowed
from selftuning.configs.searches import SearchSettings
from selftuning.configs.settings import RunSettings
from selftuning.configs.studies import Start, StudySettings
from selftuning.configs.study_methods import Kind
from selftuning.studies import vmapped
from selftuning.studies.known import Known, asked
from selftuning.studies.same_runs import same_runs
from selftuning.studies.searches import search_plan


@dataclass(frozen=True)
class Run:
    """One row of a study: a run, or a search.

    Attributes:
      index: among the rows of its method.
      seed: of everything random in it.
      start: values by name that differ from those of the settings; {} for a search.
    """

    index: int
    seed: int
    start: Start


@dataclass(frozen=True)
class Points:
    """Where a run is measured: after each of `count` equal parts of `cycles` cycles."""

    cycles: int
    count: int


@dataclass(frozen=True)
class Unit:
    """Runs side by side in one program.

    Attributes:
      name: of the unit, and of its files; the environment is in it where there are several.
      method: key of `StudySettings.methods`.
      kind: of the method.
      settings: of every run but for seed and start, which are in `runs`.
      search: of a method that searches.
      members: the starts of its members [P]; () where they are random.
      runs: which, at most `size`.
      size: runs that the program has room for.
      in_graph: whether the environment is stepped inside jit.
      points: at which runs are measured, at most.
      evaluations: of the greedy policy in a run.
    """

    name: str
    method: str
    kind: Kind
    settings: RunSettings
    search: SearchSettings
    members: tuple[Start, ...]
    runs: tuple[Run, ...]
    size: int
    in_graph: bool
    points: int
    evaluations: int

    @property
    def program(self) -> str:
        """Units of a study that have it in common run the same compiled program."""
        return f"{self.method} x {self.size} on {self.settings.env}"


def units_of(study: StudySettings, known: Known | None = None) -> list[Unit]:
    """All units of a study, task by task and method by method.

    A method whose runs are those of another one has none.

    Args:
      study: its settings.
      known: of its environments; they are asked if that is None.

    Raises:
      ConfigError: if the environment is not known, a method cannot be run on it, or a search has
        too few steps.
    """
    known = asked(study) if known is None else known
    several = bool(study.tasks)
    units: list[Unit] = []
    for task in studies.on_each(study):
        there = known.on(task.run.env)
        task = replace(task, run=replace(task.run, env=there.env))
        again = same_runs(task)
        for name in (name for name in study.methods if name not in again):
            begun = sum(len(unit.runs) for unit in units if unit.method == name)
            prefix = f"{name}.{_in_names(there.env)}" if several else name
            units += _of_method(task, name, there, prefix, begun)
    return units


def is_on(unit: str, env: str) -> bool:
    """Whether a unit of a study of several environments, by its name, is on one of them."""
    return unit.partition(".")[2].rpartition("-")[0] == _in_names(env)


def _in_names(env: str) -> str:
    """An environment as a part of names of files; no two have the same."""
    return quote(env, safe="")


def rows_of(study: StudySettings, name: str, begun: int = 0) -> list[Run]:
    """The rows of a method on one task: start after start, all seeds of each.

    Args:
      study: of one environment.
      name: of the method.
      begun: rows that the method has on other tasks.
    """
    seeds = range(study.run.seed, study.run.seed + study.seeds)
    pairs = [(start, seed) for start in studies.starts(study, name) for seed in seeds]
    return [Run(index, seed, start) for index, (start, seed) in enumerate(pairs, begun)]


def _of_method(
    study: StudySettings, name: str, known: Known, prefix: str, begun: int
) -> list[Unit]:
    settings, kind = studies.run_settings(study, name), study.methods[name].kind
    in_graph = known.in_graph[name]
    if kind != "runs" and not in_graph:
        raise not_allowed(
            "methods",
            name,
            f"methods without a search for {settings.env}, which is not stepped in-graph",
        )
    search = studies.search_settings(study, name)
    if kind != "runs":
        search_plan.of_study(kind, settings, search)  # complains of too few steps
    rows = rows_of(study, name, begun)
    # Environments of the host keep their state to themselves, one run a process.
    most = study.block if in_graph else 1
    size, blocks = _cut(rows, len(rows) if study.mixed_blocks else study.seeds, most)
    return [
        Unit(
            f"{prefix}-{number}",
            name,
            kind,
            settings,
            search,
            tuple(studies.member_starts(study, name)),
            block,
            size,
            in_graph,
            study.points,
            study.evaluations,
        )
        for number, block in enumerate(blocks)
    ]


def _cut(rows: Sequence[Run], together: int, most: int) -> tuple[int, list[tuple[Run, ...]]]:
    """Rows in blocks of one size, and that size.

    Args:
      rows: of which so many, one after the other, may stand side by side.
      together: those from one start, or all.
      most: size of a block.
    """
    size = math.ceil(together / math.ceil(together / most))
    groups = (rows[first : first + together] for first in range(0, len(rows), together))
    return size, [
        tuple(group[first : first + size])
        for group in groups
        for first in range(0, len(group), size)
    ]


def points_of(cycles: int, most: int) -> Points:
    """Divides at least so many cycles into equal parts, for at most so many points.

    Of all divisions with about half as many points or more, the one that goes beyond the least.
    """
    most = min(most, cycles)
    parts = (math.ceil(cycles / count) for count in range(math.ceil(most / 2), most + 1))
    divisions = (Points(size, math.ceil(cycles / size)) for size in parts)
    return min(divisions, key=lambda p: (p.cycles * p.count, -p.count))


def evaluated(points: int, evaluations: int) -> list[int]:
    """Points, counted from 0, after which the greedy policy is evaluated; the last is one."""
    evaluations = min(evaluations, points)
    return [round((n + 1) * points / evaluations) - 1 for n in range(evaluations)]


class Size(NamedTuple):
    """How large the part of a study is that a method makes.

    Attributes:
      rows: runs, or searches.
      units: programs to run.
      env_steps: of all of them together.
      bytes: on disk in the end, at most.
    """

    rows: int
    units: int
    env_steps: int
    bytes: int


_COLUMNS = 24  # of the table, about
_NUMBER = 8  # bytes


def sizes(units: Sequence[Unit]) -> Mapping[str, Size]:
    """What each method asks for, before anything runs."""
    result: dict[str, Size] = {}
    for unit in units:
        cycle = unit.settings.steps_per_cycle
        cycles = vmapped.cycles_for(unit.settings)
        if unit.kind == "runs":
            found = points_of(cycles, unit.points)
            points, cycles = found.count, found.count * found.cycles
        else:
            _, stages = search_plan.of_study(unit.kind, unit.settings, unit.search)
            points = len(search_plan.points_of(stages, unit.points))
            cycles = sum(stage.members * stage.cycles for stage in stages)
        rows, old = len(unit.runs), result.get(unit.method, Size(0, 0, 0, 0))
        new = (
            rows,
            1,
            rows * cycles * cycle,
            rows * points * _COLUMNS * _NUMBER,
        )
        result[unit.method] = Size(*(a + b for a, b in zip(old, new, strict=True)))
    return result


def identity(unit: Unit) -> dict[str, Any]:
    """All that the results of a unit depend on, as plain data."""
    return files.plain(unit)
