"""A study of Two Colors, read anew: `python -m selftuning.benchmarks.two_colors DIR`.

Reads the settings and the results of a study that `run.py study` left in DIR. Writes
DIR/two-colors/: summary.json, in which published numbers stand beside ours, and the pictures
reward.png, swap.png and totals.png. Prints a table and the answers in sentences.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from selftuning.benchmarks import tables
from selftuning.benchmarks.record import RESULTS
from selftuning.benchmarks.two_colors import markdown, pictures, rows, summary
from selftuning.configs.errors import ConfigError
from selftuning.studies import study_files
from selftuning.training import json_files

FOLDER = "two-colors"  # in the directory of a study
DPI = 150


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads a study and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m selftuning.benchmarks.two_colors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="directory of the study")
    parser.add_argument("--keep", metavar="NAME", help="of a table in docs/, made anew from it")
    asked = parser.parse_args(arguments)
    try:
        numbers = read(asked.directory, Console())
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if asked.keep:
        json_files.write(RESULTS / f"{asked.keep}.json", markdown.kept(numbers), indent=1)
        tables.write_pages()
    return 0


def read(directory: Path, console: Console) -> dict[str, Any]:
    """Writes DIR/two-colors/, anew if it is there, prints what was found, and returns its numbers.

    Raises:
      ConfigError: if this is no study of Two Colors, nothing of it has run, or it is damaged.
    """
    study = rows.study_of(study_files.read(directory))
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    for name, figure in pictures.draw(study).items():
        if figure is None:  # nothing to see, and maybe a picture of when there was
            (folder / name).unlink(missing_ok=True)
        else:
            study_files.replace(folder / name, partial(figure.savefig, dpi=DPI))
    numbers = summary.summarise(study)
    json_files.write(folder / study_files.SUMMARY, numbers)
    console.print(summary.table(study), highlight=False)
    for line in [*summary.lines(study), f"pictures and numbers: {folder}"]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return numbers


if __name__ == "__main__":
    sys.exit(main())
