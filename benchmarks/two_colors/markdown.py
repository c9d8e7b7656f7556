"""A Two Colors study as a table of docs/, made from what is kept of it (`benchmarks.tables`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from selftuning.benchmarks import record

_HEAD = (
    "",
    "reward a step",
    "to the best fixed weight",
    "last tenth",
    "dead at the end",
    "of the ceiling",
    "steps to recover",
    "total, millions (sd)",
    "published total at 10M (sd)",
)


def kept(summary: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a study's summary.json: all but what is of one machine alone.

    That is its name, and where the study was written.
    """
    command = re.sub(r" --out[ =]\S+", "", summary["command"])
    methods = {
        method: {key: value for key, value in about.items() if key != "machines"}
        for method, about in summary["methods"].items()
    }
    return summary | {"command": command, "methods": methods}


def table(summary: dict[str, Any]) -> str:
    """The rows of a study in Markdown, fixed ones first, beside the published numbers."""
    rows = summary["rows"].items()
    fixed = [row for row in rows if row[1]["hyperparameter"]["fixed_at"] is not None]
    ordered = [*fixed, *(row for row in rows if row not in fixed)]
    lines = [[*_line(name, row, summary)] for name, row in ordered]
    said = [column for column in range(len(_HEAD)) if any(line[column] for line in lines)]
    head, *lines = ([line[column] for column in said] for line in (_HEAD, *lines))
    return record.markdown(head, lines)


def _line(name: str, row: dict[str, Any], summary: dict[str, Any]) -> Iterator[str]:
    ratio, recovery, dead = row["ratio_to_baseline"], row["recovery"], row.get("dead")
    runs = len(row["reward_per_step"])
    yield row["label"]
    yield _interval(row["mean"], 3)
    yield _interval(ratio, 2) if ratio else "1" if name == summary["baseline"] else ""
    yield f"{row['last_tenth']['value']:.3f}"
    yield "" if dead is None else f"{dead} of {runs}"
    yield f"{row['share_of_ceiling']:.0%}"
    yield "" if recovery is None else f"{recovery['steps']['value'] / 1e3:.0f}k"
    yield _total(
        row["mean_total_reward"] / 1e6, row["sd"] and row["sd"] * row["env_steps"] / 1e6, 3
    )
    yield _published(row, summary)


def _published(row: dict[str, Any], summary: dict[str, Any]) -> str:
    """Theirs is the best of their fixed weights, so it stands beside the best of ours."""
    theirs = summary["published"]["rows"].get(row["method"])
    is_other = row["hyperparameter"]["fixed_at"] is not None and (
        row is not summary["rows"].get(summary["baseline"])
    )
    return "" if theirs is None or is_other else _total(theirs["mean"], theirs["sd"], 2)


def _interval(found: dict[str, float], digits: int) -> str:
    low, high = found["low"], found["high"]
    return f"{found['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _total(mean: float, sd: float | None, digits: int) -> str:
    return f"{mean:.{digits}f}" + ("" if sd is None else f" ({sd:.{digits}f})")
