"""Writes the results of the benchmarks into the tables of docs/: `python -m benchmarks.tables`.

A table stands between `<!-- NAME -->` and `<!-- end -->`; NAME says which result it shows.
Numbers in docs/ are typed by nobody, and a test compares the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS

PAGES = ("benchmarks.md", "meta-gradients.md", "tuning.md")
DOCS = Path(__file__).parent.parent / "docs"
_TABLE = re.compile(r"(<!-- ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _spread(triple: list[float], unit: float = 1.0, suffix: str = "") -> str:
    middle, low, high = (x / unit for x in triple)
    return f"{middle:.0f}{suffix} [{low:.0f}, {high:.0f}]"


def _learning(result: dict[str, Any]) -> str:
    seeds = result["seeds"]
    head = (
        "`--meta`",
        "solved within 250k",
        "solved at, median",
        "slowest",
        "greedy mean of 475 at, median",
        "last tenth of 500k steps above 450",
        "worst last tenth",
    )
    rows = (
        (
            method,
            f"{row['solved_within_250k']} of {seeds}",
            _spread(row["solved_at"], 1e3, "k"),
            f"{row['solved_at_slowest'] / 1e3:.0f}k",
            _spread(row["greedy_at"], 1e3, "k"),
            f"{row['last_tenth_above_450']} of {seeds}",
            f"{row['last_tenth_worst']:.0f}",
        )
        for method, row in result["rows"].items()
    )
    return _markdown(head, rows)


def _starts(result: dict[str, Any]) -> str:
    head = ("", "last tenth", "its worst start", "whole run", "its worst start", "its best start")
    rows = (
        (
            name,
            _spread(row["last_tenth"]),
            f"{min(row['last_tenth_by_start']):.0f}",
            _spread(row["whole_run"]),
            f"{min(row['whole_run_by_start']):.0f}",
            f"{max(row['whole_run_by_start']):.0f}",
        )
        if name in ("none", "mg", "bmg")
        else (name, _spread(row["last_tenth"]), "", _spread(row["whole_run"]), "", "")
        for name, row in result["rows"].items()
    )
    return _markdown(head, rows)


def _speed(result: dict[str, Any]) -> str:
    rows = (
        (
            name,
            f"{row['steps_per_second'] / 1e3:.0f}k",
            f"{row['of_plain']:.2f}",
            f"{row['compile_seconds']:.1f}",
        )
        for name, row in result["rows"].items()
    )
    return _markdown(("", "steps/s, median", "of `none`, median ratio", "compile, s"), rows)


def _host(result: dict[str, Any]) -> str:
    rows = (
        (
            backend,
            ", ".join(f"{x / 1e3:.0f}k" for x in row["solved_at"]),
            ", ".join(f"{x:.0f}" for x in row["last_tenth"]),
            f"{row['steps_per_second'] / 1e3:.1f}k",
        )
        for backend, row in result["rows"].items()
    )
    return _markdown(("`--backend`", "solved at, each seed", "last tenth", "steps/s"), rows)


def _signals(result: dict[str, Any]) -> str:
    head = ("", "gamma", "lambda", "entropy", "critic", "gamma raised", "gamma, largest / median")
    rows = (
        (
            name,
            *(
                f"{row[h]['signal_to_noise']:+.2f}"
                for h in ("gamma", "lambda", "entropy", "critic")
            ),
            f"{100 * row['gamma']['raises']:.0f}%",
            f"{row['gamma']['largest_over_median']:.0f}",
        )
        for name, row in result["signals"].items()
    )
    return _markdown(head, rows)


def _drift(result: dict[str, Any]) -> str:
    head = ("matching", "gamma", "lambda", "entropy", "critic")
    rows = ((name, *(f"{row[h]:.3g}" for h in head[1:])) for name, row in result["drift"].items())
    return _markdown(head, rows)


def _online_learners(result: dict[str, Any]) -> str:
    parts = ("vector", "tensors", "scan")
    rows = (
        (name, f"{row['vector']['milliseconds']:.2f}", *(f"{row[p]['of_adam']:.2f}" for p in parts))
        for name, row in result["rows"].items()
    )
    head = ("", "one vector, ms a step", "of Adam's", "20 tensors, of Adam's", "scan, of Adam's")
    return _markdown(head, rows)


def _numbers(result: dict[str, Any]) -> str:
    rows = ((name, *map(_number, row)) for name, row in result["rows"].items())
    return _markdown(("", *result["head"]), rows)


def _number(cell: float | list[float] | None) -> str:
    if isinstance(cell, list):
        return "; ".join(map(_number, cell))
    if cell is None:
        return ""
    return f"{cell:.1e}" if 0 < abs(cell) < 1e-2 else f"{cell:.2g}"


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "learning": ("cartpole-learning", _learning),
    "starts": ("cartpole-starts", _starts),
    "starts-trial": ("cartpole-starts-trial", _starts),
    "speed": ("cartpole-speed", _speed),
    "host": ("cartpole-host", _host),
    "signals": ("signals", _signals),
    "drift": ("signals", _drift),
    "convex-quadratic": ("convex-quadratic", _numbers),
    "convex-pseudo-huber": ("convex-pseudo-huber", _numbers),
    "convex-worst-case": ("convex-worst-case", _numbers),
    "convex-sensitivity": ("convex-sensitivity", _numbers),
    "convex-meta-rates": ("convex-meta-rates", _numbers),
    "convex-forms": ("convex-forms", _numbers),
    "online-learners": ("online_learners", _online_learners),
}


def render(text: str) -> str:
    """The text of a page with its tables made from the results."""

    def table(match: re.Match[str]) -> str:
        result, format_table = TABLES[match[2]]
        content = json.loads((RESULTS / f"{result}.json").read_text(encoding="utf-8"))
        return match[1] + "\n" + format_table(content) + "\n" + match[3]

    return _TABLE.sub(table, text)


def main() -> None:
    """Rewrites the tables of all pages."""
    for page in PAGES:
        path = DOCS / page
        path.write_text(render(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
