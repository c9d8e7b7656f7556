"""report.html: the question, the answer, pictures and tables of a study in one file.

The file needs neither a network nor other files: Plotly, style and script are in it, and its policy
forbids it to load anything. Without JavaScript it has all but the charts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from selftuning.configs import studies
from selftuning.configs.studies import StudySettings
from selftuning.studies import study_files
from selftuning.studies.outcome import Outcome
from selftuning.studies.report import (
    again,
    differences,
    figures,
    legible,
    origin,
    paths,
    runs,
    starts,
    style,
    tables,
    tasks,
)
from selftuning.studies.report.parts import Progress, Section


def write(
    path: Path, outcome: Outcome, summary: Mapping[str, Any], progress: Progress | None = None
) -> None:
    """Writes the report of a study, anew if it is there.

    Args:
      path: of the file.
      outcome: what was measured.
      summary: of it, the content of summary.json.
      progress: of a study that runs.

    Raises:
      OSError: if the report cannot be written.
    """
    study_files.write_text(path, page(outcome, summary, progress))


def write_first(path: Path, settings: StudySettings, progress: Progress | None) -> None:
    """The same before anything has ended.

    Args:
      path: of the file.
      settings: of the study.
      progress: of it; None if it has stopped.

    Raises:
      OSError: if the report cannot be written.
    """
    envs = ", ".join(studies.environments(settings))
    state = "is running" if progress else "has stopped"
    text = _rendered(
        env=envs,
        begun="",
        question=f"A study on {envs} {state}. Nothing has ended yet",
        answer=[],
        notes=[],
        sections=[],
        dark=style.DARK,
        live=progress,
    )
    study_files.write_text(path, text)


def page(outcome: Outcome, summary: Mapping[str, Any], progress: Progress | None = None) -> str:
    """The report as HTML; see `write`."""
    each = [outcome, *outcome.tasks.values()]
    everybody = {one.name: one for study in each for one in study.contestants}
    looks = style.of_contestants(everybody.values())
    starts_of = [paths.looks_of_starts(study) for study in outcome.tasks.values() or [outcome]]
    everything = [*looks.values(), *(look for found in starts_of for look in found.values())]
    return _rendered(
        env=summary["env"],
        begun=summary["origin"]["begun"][:10],
        question=summary["question"],
        answer=[_answer(sentence) for sentence in summary["answer"]],
        notes=summary["notes"],
        sections=sections_of(outcome, summary, looks),
        dark=style.dark_colours(everything),
        live=progress,
    )


def _rendered(**content: Any) -> str:
    """The template with its content; what is our own, or Plotly's, goes in as it is."""
    return (
        _environment()
        .get_template("page.html")
        .render(
            style=Markup(_asset("css")),
            plotly=Markup(get_plotlyjs()),
            script=Markup(_asset("js")),
            **content,
        )
    )


@cache
def _environment() -> jinja2.Environment:
    """Templates that escape all text, and data in which no text can end a script."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("selftuning.studies.report"),
        autoescape=True,
        finalize=legible.shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    found.filters["plain"] = style.data_of
    found.filters["code"] = legible.code
    found.filters["download"] = again.download
    found.globals["symbols"] = style.SYMBOLS
    return found


def sections_of(
    outcome: Outcome, summary: Mapping[str, Any], looks: Mapping[str, style.Look]
) -> list[Section]:
    """The parts of the page, in order."""

    def parts(one: Outcome, found: Mapping[str, Any]) -> list[Section]:
        return _results(one, found, looks)

    several = bool(outcome.tasks)
    results = tasks.sections(outcome, summary, parts) if several else parts(outcome, summary)
    return [*results, origin.section(outcome, summary)]


def _results(
    outcome: Outcome, summary: Mapping[str, Any], looks: Mapping[str, style.Look]
) -> list[Section]:
    """What was found, on one environment or over several."""
    methods, score = summary["methods"], outcome.score
    matrix = tables.of_better(methods, summary["better"])
    alone = not outcome.tasks
    solvable = alone and outcome.measured.known.reward_threshold is not None
    curves, profiles = (
        make(outcome, looks) for make in (figures.learning_curves, figures.profiles)
    )
    return [
        Section("curves", "Learning curves", pictures=[curves]),
        *([paths.section(outcome, summary["convergence"])] if alone else []),
        *([starts.section(outcome, methods, looks)] if alone else []),
        *([runs.section(outcome, looks)] if alone else []),
        Section("profiles", "Performance profiles", pictures=[profiles]),
        Section(
            "better",
            "Which run ends better",
            [
                "Each cell is the probability that a run of the row ends with a higher "
                f"{score} than a run of the column. Runs from the same start are compared where "
                "both have several; ties count half. Above 0.5 the row is better. If the "
                "95% interval includes 0.5, no difference is shown. Of many cells some exclude it "
                "by chance: the answer above is corrected for that, this table is not."
                if matrix
                else "This needs at least two seeds."
            ],
            table=matrix,
        ),
        *differences.section(methods, summary["gains"], score),
        Section(
            "numbers",
            "All contestants in numbers",
            [
                f"Numbers are of the {score} in the last tenth of a run unless the column says "
                "otherwise, with 95% intervals. “How this was made” explains the columns. Click a "
                "column to sort by it, the best first. Columns with "
                "nothing to tell are left out. On a narrow screen, scroll the table sideways."
            ],
            table=tables.of_contestants(methods, score, solvable),
        ),
    ]


def _asset(kind: str) -> str:
    return (resources.files("selftuning.studies.report") / f"page.{kind}").read_text(
        encoding="utf-8"
    )


def _answer(sentence: str) -> tuple[str, str, list[str]]:
    """A question with its verdict, if the sentence begins with one, what comes after, and lines."""
    sentence, *lines = sentence.split("\n")
    verdict, colon, rest = sentence.partition(": ")
    return (verdict, rest, lines) if colon and "? " in verdict else ("", sentence, lines)
