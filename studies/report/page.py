"""report.html: the question, the answer, pictures and tables of a study in one file.

The file needs neither a network nor other files: Plotly, style and script are in it, and its policy
forbids it to load anything. Without JavaScript it has all but the charts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from selftuning.configs import files
from selftuning.envs import registry
from selftuning.studies import study_files
from selftuning.studies.report import figures, origin, paths, starts, style, tables
from selftuning.studies.report.parts import Section, data_script, section_html
from selftuning.studies.summary import Study

_MOST_LETTERS = 32  # of a verdict, with which an answer may begin


def write(path: Path, study: Study, summary: Mapping[str, Any]) -> None:
    """Writes the report of a study, anew if it is there.

    Args:
      path: of the file.
      study: what was measured.
      summary: of it, the content of summary.json.

    Raises:
      OSError: if the report cannot be written.
    """
    text = page(study, summary)
    study_files.replace(path, lambda to: to.write_text(text, encoding="utf-8"))


def page(study: Study, summary: Mapping[str, Any]) -> str:
    """The report as HTML; see `write`."""
    looks = style.of_contestants(study.contestants)
    sections = sections_of(study, summary, looks)
    everything = [*looks.values(), *paths.looks_of_starts(study).values()]
    return Template(_asset("html")).substitute(
        title=escape(f"{summary['env']}: a study of agents that tune themselves"),
        env=escape(summary["env"]),
        begun=escape(summary["origin"]["begun"][:10]),
        question=escape(summary["question"]),
        answer="\n".join(f"<p>{_answer(sentence)}</p>" for sentence in summary["answer"]),
        notes=_notes(summary["notes"]),
        contents="".join(
            f'<li><a href="#{escape(section.name)}">{escape(section.title)}</a></li>'
            for section in sections
        ),
        sections="\n".join(section_html(section) for section in sections),
        style=_asset("css"),
        dark=data_script(style.dark_colours(everything), "dark"),
        plotly=get_plotlyjs(),
        script=_asset("js"),
    )


def sections_of(
    study: Study, summary: Mapping[str, Any], looks: Mapping[str, style.Look]
) -> list[Section]:
    """The parts of the page, in order."""
    methods, score = summary["methods"], study.score
    matrix = tables.better_html(methods, summary["better"])
    solvable = registry.reward_threshold(study.measured.settings.run.env) is not None
    curves, profiles = (make(study, looks) for make in (figures.learning_curves, figures.profiles))
    return [
        Section("curves", "Learning curves", pictures=[curves]),
        paths.section(study, summary["convergence"]),
        starts.section(study, methods, looks),
        Section("profiles", "Performance profiles", pictures=[profiles]),
        Section(
            "better",
            "Which run ends better",
            [
                f"The probability that a run of the row ends with a higher {score} than one of the "
                "column, from the same start where both have several; ties count half. Beyond 0.5 "
                "the row is better, and surely so if its 95% interval excludes 0.5."
                if matrix
                else "Single runs say nothing of this: it takes two seeds at least."
            ],
            after=matrix,
        ),
        Section(
            "numbers",
            "All contestants in numbers",
            [
                f"Numbers are of the {score}, in the last tenth of a run where nothing else is "
                "said, with 95% intervals. Columns are explained under “How this was made”; "
                "where the page is narrow, the table moves sideways."
            ],
            after=tables.contestants_html(methods, score, solvable),
        ),
        origin.section(study, summary, files.dump(study.measured.settings)),
    ]


def _asset(kind: str) -> str:
    return (resources.files("selftuning.studies.report") / f"page.{kind}").read_text(
        encoding="utf-8"
    )


def _answer(sentence: str) -> str:
    """A sentence whose verdict is strong, if it begins with one."""
    verdict, colon, rest = sentence.partition(": ")
    if not colon or len(verdict) > _MOST_LETTERS:
        return escape(sentence)
    return f'<strong class="verdict">{escape(verdict)}</strong>: {escape(rest)}'


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    entries = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        '<aside class="notes" aria-labelledby="notes-title">'
        f'<h2 id="notes-title">Before believing it</h2><ul>{entries}</ul></aside>'
    )
