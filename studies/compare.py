"""`run.py study compare ONE TWO`: the same study of two versions of the code, method by method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from selftuning.configs import files, studies
from selftuning.configs.errors import ConfigError
from selftuning.configs.studies import StudySettings
from selftuning.configs.study_methods import StudyMethod
from selftuning.studies import answers, intervals, study_files, study_report, summary, verdicts
from selftuning.studies.outcome import Outcome, outcome_of
from selftuning.studies.study_files import Measured
from selftuning.studies.verdicts import Comparison, Verdict
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
    question = f"Do the agents of B ({two}) end differently from those of A ({one})?"
    found = {
        **summary.summarise(outcome),
        **_judged(outcome, both, question),
        "notes": [*_differences(both), *answers.notes(outcome)],
    }
    for env, task in outcome.tasks.items():
        found["tasks"][env] |= _judged(task, both, question)
    directory = run_directory.create_named(out, "compare")
    study_report.write(directory, outcome, found)
    study_report.print_summary(console, directory, outcome, found)
    return directory


def _judged(outcome: Outcome, both: list[Measured], question: str) -> dict[str, Any]:
    """What summary.json says of B beside A, over all environments or on one of them."""
    margin = verdicts.margin_of(outcome).value
    judged = verdicts.judged(pairs(outcome, both), margin)
    return {
        "question": question,
        "answer": answer(outcome, judged, margin),
        "verdicts": [summary.plain(one) for one in judged],
    }


def beside(both: list[Measured]) -> Measured:
    """Two studies as one, whose methods are those of the first and of the second.

    Raises:
      ConfigError: if their environments differ, or they share no method.
    """
    one, two = (measured.settings for measured in both)
    if both[0].known.env != both[1].known.env:
        raise ConfigError(f"compare: env {one.run.env} and {two.run.env} are not the same")
    have_run = [set(measured.table["method"].unique()) for measured in both]
    shared = [name for name in one.methods if all(name in names for names in have_run)]
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


def pairs(outcome: Outcome, both: list[Measured]) -> list[Comparison]:
    """Each method of B against itself in A, by its label in the study."""
    found = []
    for name, method in both[0].settings.methods.items():
        a, b = (outcome.named(_named(name, letter)) for letter in _LETTERS)
        if a is not None and b is not None:
            compared = verdicts.side_by_side(method.label, b, a)
            found += [compared] if compared else []
    return found


def answer(outcome: Outcome, judged: Sequence[Verdict], margin: float) -> list[str]:
    """Which methods end differently, by how much, and how that was judged."""
    words = {"better": "better in B", "worse": "worse in B"}
    apart = [one for one in judged if one.standing in words]
    many = f"{len(apart)} of {len(judged)} methods end{'s' if len(apart) == 1 else ''} differently"
    verdict = many if apart else "Nothing shown"
    ends = "".join(
        f"\n{one.compared.question}: {answers.numbers(one)}, "
        f"{words.get(one.standing, one.standing)}."
        for one in judged
    )
    units = {one.compared.paired for one in judged if one.gain.low is not None}
    paired = "seed by seed" if units == {True} else "between the means of other seeds"
    tested = sum(one.gain.low is not None for one in judged)
    holm = f", widened by Holm's method for {tested} comparisons" * (tested > 1)
    how = f"Differences are taken {paired}, with 95% intervals{holm}. " * bool(units)
    return [
        f"Do they end differently? {verdict}: mean {outcome.score} in the last tenth of B, of A, "
        f"and B less A.{ends}",
        f"{how}A difference is shown if its interval is without 0 and the probability's without "
        f"0.5. “Level” needs all of the interval within {intervals.number(margin)}.",
        "Speed is not compared: the studies did not run side by side. run.py bench measures it.",
    ]


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
        f"{name} is {versions[0][name]} in A and {versions[1][name]} in B."
        for name in versions[0]
        if versions[0][name] != versions[1].get(name, versions[0][name])
    ]


def _machines(measured: Measured) -> str:
    return ", ".join(sorted({about["machine"] for about in measured.about.values()}))
