"""Several environments on one page: normalised scores over all of them, then each by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from selftuning.studies import intervals
from selftuning.studies.contestants import ENV, Contestant, picked
from selftuning.studies.intervals import number
from selftuning.studies.outcome import Outcome
from selftuning.studies.report.parts import Cell, Section, Table

# A part of the page from an outcome and what summary.json says of it.
Parts = Callable[[Outcome, Mapping[str, Any]], list[Section]]


def sections(outcome: Outcome, summary: Mapping[str, Any], parts: Parts) -> list[Section]:
    """All parts of the page but for how the study was made.

    Args:
      outcome: of a study on several environments.
      summary: of it, as in summary.json.
      parts: of the page for one environment; of all of them those that do without starts and paths.
    """
    together = [_beside(outcome), *parts(outcome, summary)]
    for place, (env, task) in enumerate(outcome.tasks.items(), 1):
        found = summary["tasks"][env]
        own = [note for note in found["notes"] if note not in summary["notes"]]
        together.append(Section(f"task-{place}", env, [*found["answer"], *own]))
        for part in parts(task, found):
            title = f"{env}: {part.title[0].lower()}{part.title[1:]}"
            name = f"task-{place}-{part.name}"
            together.append(part._replace(name=name, title=title, inside=True))
    return together


def _beside(outcome: Outcome) -> Section:
    """What is 0 and 1 on each environment, and how contestants end there."""
    text = [
        "Scores of different environments are no common currency, so each is normalised: "
        "(score - low) / (high - low). 0 is the lower anchor and 1 the upper one; both are in the "
        "table. Every line and number of this page that speaks of several environments is in these "
        "units, and depends on the anchors.",
    ]
    tasks, scales = outcome.tasks, outcome.anchors.values()
    steps = [f"{task.measured.settings.run.steps:,}" for task in tasks.values()]
    rows: list[list[Cell | str]] = [
        ["environment steps of a run", *steps],
        ["0 is", *(Cell(number(x.low), None, f"({x.low_is})") for x in scales)],
        ["1 is", *(Cell(number(x.high), None, f"({x.high_is})") for x in scales)],
    ]
    rows += [[one.label, *(_end(one, env) for env in tasks)] for one in outcome.contestants]
    caption = "Anchors of environments, and the mean normalised score in the last tenth there"
    return Section("tasks", "Environments", text, table=Table(caption, ["", *tasks], rows))


def _end(one: Contestant, env: str) -> Cell:
    there = [number for number, start in enumerate(one.starts) if start[ENV] == env]
    found = intervals.last(picked(one, there, one.name, one.label))
    value, _, ends = intervals.said(found).partition(" ")
    return Cell(value, None, ends)
