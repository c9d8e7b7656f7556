"""`run.py study compare ONE TWO`: the same study of two versions of the code, method by method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from selftuning.configs import files, studies
from selftuning.configs.errors import ConfigError
from selftuning.configs.studies import StudySettings
from selftuning.configs.study_methods import StudyMethod
from selftuning.studies import answers, intervals, study_files, study_report, summary
from selftuning.studies.outcome import Outcome, outcome_of
from selftuning.studies.study_files import Measured
from selftuning.training import run_directory

_LETTERS = ("A", "B")


def run(one: Path, two: Path, out: Path | None, console: Console) -> Path:
    """Lays two studies beside each other, writes, prints and returns the directory.

    Nothing that they name is imported.

    Raises:
      ConfigError: if one has no results, they have nothing in common, or the directory for the
        comparison cannot be used.
    """
    with study_files.unimported(one, two):
        return _compared(one, two, out, console)


def _compared(one: Path, two: Path, out: Path | None, console: Console) -> Path:
    both = [study_files.read(directory) for directory in (one, two)]
    outcome = outcome_of(beside(both))
    found = {
        **summary.summarise(outcome),
        "question": f"Do the agents of B ({two}) end differently from those of A ({one})?",
        "answer": answer(outcome, both),
        "notes": [*_differences(both), *answers.notes(outcome)],
    }
    directory = run_directory.create_named(out, "compare")
    study_report.write(directory, outcome, found)
    study_report.print_summary(console, directory, outcome, found)
    return directory


def beside(both: list[Measured]) -> Measured:
    """Two studies as one, whose methods are those of the first and of the second.

    Raises:
      ConfigError: if their environments differ, or they share no method.
    """
    one, two = (measured.settings for measured in both)
    if both[0].known.env != both[1].known.env:
        raise ConfigError(f"compare: env {one.run.env} and {two.run.env} are not the same")
    shared = [name for name in one.methods if name in two.methods]
    if not shared:
        names = " and ".join(", ".join(settings.methods) for settings in (one, two))
        raise ConfigError(f"compare: the studies share no method; theirs are {names}")
    methods: dict[str, StudyMethod] = {}
    tables = []
    about: dict[str, dict[str, Any]] = {}
    for name in shared:
        for letter, measured in zip(_LETTERS, both, strict=True):
            methods[_named(name, letter)] = _method(measured.settings, name, letter)
    for letter, measured in zip(_LETTERS, both, strict=True):
        rows = measured.table.filter(pl.col("method").is_in(shared))
        tables.append(rows.with_columns(pl.format(f"{{}} {letter}", "method").alias("method")))
        about |= {_named(unit, letter): found for unit, found in measured.about.items()}
    return Measured(
        replace(one, methods=methods, seeds=min(one.seeds, two.seeds)),
        {"command": " | ".join(measured.origin["command"] for measured in both)}
        | {"begun": " | ".join(measured.origin["begun"] for measured in both)}
        | {"code": " | ".join(measured.origin["code"] for measured in both)},
        pl.concat(tables, how="diagonal"),
        about,
        [_named(x, y) for y, m in zip(_LETTERS, both, strict=True) for x in m.missing],
        both[0].known,
    )


def _named(name: str, letter: str) -> str:
    return f"{name} {letter}"


def _method(settings: StudySettings, name: str, letter: str) -> StudyMethod:
    """A method that says all of its settings, for the two studies may differ in them."""
    method = settings.methods[name]
    return replace(
        method,
        label=_named(method.label, letter),
        preset=None,
        changes=files.plain(studies.run_settings(settings, name)),
        starts=settings.starts if method.starts is None else method.starts,
    )


def answer(outcome: Outcome, both: list[Measured]) -> list[str]:
    """Two sentences: which methods end differently, and which of the two runs faster."""
    pairs = {
        name: (outcome.named(_named(name, "A")), outcome.named(_named(name, "B")))
        for name in both[0].settings.methods
    }
    ends, differ = [], 0
    for name, (a, b) in pairs.items():
        if a is None or b is None:
            continue
        found = intervals.gain(b, a)
        apart = found.low is not None and found.high is not None and found.low * found.high > 0
        differ += apart
        ends.append(f"{name} {intervals.said(found)}")
    verdict = (
        f"{differ} of {len(ends)} methods end differently" if differ else "No difference shown"
    )
    one, two = (_speed(measured) for measured in both)
    return [
        f"{verdict}: interquartile mean {outcome.score} in the last tenth, B less A: "
        f"{'; '.join(ends)}.",
        f"A made {one:,.0f} environment steps a second of each worker, B {two:,.0f}: B has "
        f"{two / one:.2f} of the speed of A.",
    ]


def _speed(measured: Measured) -> float:
    """Environment steps of all runs to the seconds of all units."""
    steps = measured.table.group_by("method", "run").agg(pl.col("env_steps").max())
    seconds = sum(about["seconds"] for about in measured.about.values())
    return float(steps["env_steps"].sum()) / seconds


def _differences(both: list[Measured]) -> list[str]:
    """In what the two studies differ, but for their results."""
    one, two = both
    said = [
        f"{name} is {old} in A and {new} in B."
        for name, old, new in studies.differences(one.settings, two.settings)
    ]
    facts = {
        "The code": (one.origin["code"], two.origin["code"]),
        "The machine": (_machines(one), _machines(two)),
    }
    said += [f"{name} is {a} in A and {b} in B." for name, (a, b) in facts.items() if a != b]
    versions = [study_files.versions(measured) for measured in both]
    return said + [
        f"{name} is {versions[0][name]} in A and {versions[1].get(name)} in B."
        for name in versions[0]
        if versions[0][name] != versions[1].get(name)
    ]


def _machines(measured: Measured) -> str:
    return ", ".join(sorted({about["machine"] for about in measured.about.values()}))
