"""Where results of benchmarks are kept, and with what they were made."""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from selftuning.configs.errors import ConfigError
from selftuning.training import host_devices, json_files, provenance

# Of the checkout; an installed package has none and takes the working directory.
_ROOT = provenance.ROOT if (provenance.ROOT / "run.py").is_file() else Path()
RESULTS = _ROOT / "benchmarks" / "results"
DOCS = _ROOT / "docs"

_VERSIONS_OF = ("jax", "dm-haiku", "optax", "gymnasium", "numpy", "rejax", "stable-baselines3")
_BEGUN = time.perf_counter()


def machine() -> dict[str, Any]:
    """Processor, devices and versions, as plain data."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": host_devices.cores(),
        "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
        "python": platform.python_version(),
        **{name: found for name in _VERSIONS_OF if (found := _version(name))},
    }


def write(name: str, result: dict[str, Any], indent: int | None = 1) -> None:
    """Writes benchmarks/results/NAME.json, with the machine and the minutes since the start."""
    minutes = round((time.perf_counter() - _BEGUN) / 60, 1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    json_files.write(path, result | {"minutes": minutes, "machine": machine()}, indent=indent)
    print(f"wrote {path}")


def positive(text: str) -> int:
    """A flag's value as a whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; it must be at least 1")
    return int(text)


def directory(text: str) -> Path:
    """A directory that is there, or can be, for argparse."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file; it must be a directory")
    return path


def run(main: Callable[[], None]) -> None:
    """Runs a command; what it does not allow is said in a line, and ends it with code 2."""
    try:
        main()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def with_table(text: str, name: str, table: str) -> str:
    """The text of a page with a table between `<!-- name -->` and `<!-- end -->`.

    Raises:
      ValueError: if there is no such place, or more than one.
    """
    place = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    text, places = place.subn(lambda found: f"{found[1]}\n{table}\n{found[2]}", text)
    if places != 1:
        raise ValueError(f"the page has {places} places for a table <!-- {name} -->")
    return text


def markdown(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def keep(file: Path, result: dict[str, Any]) -> None:
    """Writes the result of a run into a file of its own, whole or not at all, and prints it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    json_files.write(file, result, indent=None)
    print(json_files.text(result, indent=None), end="", flush=True)


def with_recorded(
    name: str, found: Iterable[dict[str, Any]], same: Sequence[str]
) -> list[dict[str, Any]]:
    """The runs of benchmarks/results/NAME.json with those that were found.

    Args:
      name: of the file, which may not be there yet.
      found: runs; one that is recorded too takes the place of it.
      same: what two runs share if they are one and the same.
    """
    path = RESULTS / f"{name}.json"
    recorded = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    runs = {tuple(run.get(key) for key in same): run for run in (*recorded, *found)}
    return list(runs.values())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
