"""Results as tables of docs/: `python -m selftuning.benchmarks.tables NAME DIR`.

DIR is what `run.py study --preset NAME` wrote. What its table says is kept in
benchmarks/results/NAME.json, and the tables between `<!-- NAME -->` and `<!-- end -->` are made
anew in all pages: those of studies, of numbers that have a head of columns, and of Two Colors
(`benchmarks.two_colors DIR --keep NAME`). Without arguments all of them are made from what is kept;
a test compares them.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selftuning.benchmarks.record import DOCS, RESULTS, markdown
from selftuning.benchmarks.two_colors import markdown as two_colors
from selftuning.studies.study_files import SUMMARY
from selftuning.training import json_files

_TABLE = re.compile(r"(<!-- ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_HEAD = ("", "last tenth", "worst start", "worst run", "whole run", "solved", "at, median")
_KEPT = ("answer", "env", "machines", "devices", "versions", "seconds", "settings")


def kept(summary: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a study's summary.json: its origin, and the numbers of the table."""
    methods = {
        name: {
            "label": method["label"],
            "runs": method["runs"],
            "starts": method["starts"],
            "env_steps": method["env_steps"],
            "last_tenth": method["last_tenth"]["mean"],
            "worst_start": method["worst_start"]["last_tenth"]["value"],
            "worst_run": min(min(start["runs"]) for start in method["by_start"]),
            "whole_run": method["whole_run"]["mean"],
            "solved": method["solved"],
            "solved_at": method["solved_at"],
        }
        for name, method in summary["methods"].items()
    }
    origin = {"command": summary["origin"]["command"], "code": summary["origin"]["code"]}
    return {**origin, **{key: summary[key] for key in _KEPT}, "table": methods}


def table(result: dict[str, Any]) -> str:
    """The methods of a study in Markdown: means with their intervals."""
    return markdown(_HEAD, map(_row, result["table"].values()))


def numbers(result: dict[str, Any]) -> str:
    """Rows of numbers in Markdown, two digits each; several in a cell are set apart by `;`.

    A mean with its interval is a mapping with "value", "low" and "high".
    """
    rows = result["rows"].items()
    return markdown(("", *result["head"]), ((label, *map(_cell, row)) for label, row in rows))


def _cell(value: float | Sequence[float] | dict[str, float]) -> str:
    if isinstance(value, dict):
        return "{value:.2f} [{low:.2f}, {high:.2f}]".format_map(value)
    if isinstance(value, Sequence):
        return "; ".join(map(_cell, value))
    return f"{value:.1e}" if 0 < value < 0.01 else f"{value:.2g}"


def _row(method: dict[str, Any]) -> Iterator[str]:
    solved = method["solved_at"]
    yield method["label"]
    yield _interval(method["last_tenth"])
    yield f"{method['worst_start']:.0f}" if method["starts"] > 1 else ""
    yield f"{method['worst_run']:.0f}"
    yield _interval(method["whole_run"])
    yield f"{method['solved']} of {method['runs']}"
    yield "never" if solved is None else f"{solved / 1e3:.0f}k"


def _interval(found: dict[str, float | None]) -> str:
    value, low, high = (found[key] for key in ("value", "low", "high"))
    return f"{value:.0f}" if low is None else f"{value:.0f} [{low:.0f}, {high:.0f}]"


def render(text: str) -> str:
    """The text of a page whose tables are made from what is kept of studies and of numbers."""

    def rendered(match: re.Match[str]) -> str:
        path = RESULTS / f"{match[2]}.json"
        result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for part, make in (("table", table), ("head", numbers), ("ceiling", two_colors.table)):
            if part in result:
                return f"{match[1]}\n{make(result)}\n{match[3]}"
        return match[0]  # written by what measured it

    return _TABLE.sub(rendered, text)


def write_pages() -> None:
    """Makes the tables of all pages anew from what is kept."""
    for page in sorted(DOCS.glob("*.md")):
        page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")


def main() -> None:
    """Keeps a study, if one is named, and rewrites the tables of all pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", help="of the table")
    parser.add_argument("directory", nargs="?", type=Path, help="of the study")
    arguments = parser.parse_args()
    if arguments.directory:
        summary = json.loads((arguments.directory / SUMMARY).read_text(encoding="utf-8"))
        json_files.write(RESULTS / f"{arguments.name}.json", kept(summary), indent=1)
    write_pages()


if __name__ == "__main__":
    main()
