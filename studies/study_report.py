"""What a study leaves and says: results.parquet, summary.json, report.html and a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selftuning.studies import intervals, study_files
from selftuning.studies.outcome import BASELINE, Outcome
from selftuning.studies.report import page
from selftuning.training import json_files, report
from selftuning.training.progress import in_paragraph

_COLUMNS = (
    "Means of the {score} over starts and seeds: in the last tenth of each run with a 95% "
    "interval, over the whole run, and from the worst start in the last tenth."
)


def write(directory: Path, outcome: Outcome, found: Mapping[str, Any]) -> None:
    """Writes all files of a study that are made from its units, anew if they are there.

    Args:
      directory: of the study.
      outcome: what was measured.
      found: content of summary.json.
    """
    study_files.write_results(directory, outcome.measured)
    json_files.write(directory / study_files.SUMMARY, found)
    page.write(directory / study_files.REPORT, outcome, dict(found))


def print_summary(
    console: Console, directory: Path, outcome: Outcome, found: Mapping[str, Any]
) -> None:
    """Prints table, answer, notes and where the report is."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", overflow="fold")
    baseline = BASELINE if outcome.named(BASELINE) else None
    # In two lines, which leaves room for labels on a terminal of 80 columns.
    columns = ["runs", f"{outcome.score}\n[95%]", "whole\nrun", "worst\nstart", "solved"]
    columns += [f"P(>\n{BASELINE})"] if baseline else []
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, one in found["methods"].items():
        chance = found["better"][name].get(baseline)
        cells: list[Text | str] = [
            Text(one["label"]),  # in which brackets are no markup
            str(one["runs"]),
            intervals.said(intervals.Interval(**one["last_tenth"]["mean"])),
            intervals.alone(one["whole_run"]["mean"]),
            intervals.alone(one["worst_start"]["last_tenth"]),
            f"{one['solved']} of {one['runs']}",
        ]
        if baseline:
            cells.append(intervals.alone(chance))
        table.add_row(*cells)
    console.print(table, highlight=False)
    console.print(_COLUMNS.format(score=outcome.score), style="dim", highlight=False, markup=False)
    alone = [f"{env}: {one['answer'][0]}" for env, one in found.get("tasks", {}).items()]
    for line in [*found["answer"], *alone, *found["notes"]]:
        said = in_paragraph(line, console.width)
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    rows = [("study directory", str(directory)), ("report", str(directory / study_files.REPORT))]
    report.print_rows(console, rows)
