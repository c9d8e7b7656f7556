"""Run directories: where they go, and that they never overwrite anything."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from selftuning.configs import files
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from selftuning.training import locks

DEFAULT_PARENT = Path("runs")
SUMMARY = "summary.json"
METRICS = "metrics.jsonl"
EPISODES = "episodes.csv"
TENSORBOARD = "tensorboard"  # where versions up to 0.2 wrote events
PLOTS = "plots"
ERRORS = "error.txt"
VIDEOS = "videos"
PART = ".part"  # of a file that was being written


def holds_run(out: Path | None) -> bool:
    """Whether a directory has a run in it, as its settings say."""
    return out is not None and (out / files.NAME).is_file()


def check(out: Path | None, beginning: Sequence[str] = ()) -> None:
    """Tells early, without touching anything, whether `create` can succeed.

    Args:
      out: the directory.
      beginning: names of files that may be there already.

    Raises:
      ConfigError: if `out` is a file or a directory with something in it, or if its parent
        (of `None`: the working directory) cannot be written.
    """
    path = DEFAULT_PARENT / "new" if out is None else out
    try:
        if path.exists() and not path.is_dir():
            raise ConfigError(f"out: {path} exists and is no directory")
        if path.is_dir() and any(
            entry.name not in (*beginning, locks.NAME, ERRORS) and entry.suffix != PART
            for entry in path.iterdir()
        ):
            if (path / METRICS).exists():
                raise ConfigError(
                    f"out: {path} has a run without its {files.NAME}; bring that back, or name a "
                    "new directory"
                )
            raise ConfigError(f"out: {path} exists and is not empty; name a new directory")
        existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    except OSError as error:
        raise ConfigError(f"out: cannot write {path}: {error.strerror}") from error
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"out: cannot write {path}: {existing} is not a writable directory")


def create(out: Path | None, settings: RunSettings) -> Path:
    """Makes the run directory and returns it; `None` makes runs/ENV-META-seedSEED-N.

    Raises:
      ConfigError: as `check`, which it repeats.
    """
    env = settings.env.replace("/", "-").replace(":", "-")
    return create_named(out, f"{env}-{settings.tuning.method}-seed{settings.seed}")


def create_named(out: Path | None, stem: str, beginning: Sequence[str] = ()) -> Path:
    """Makes a directory for results and returns it; `None` makes runs/STEM-N.

    Raises:
      ConfigError: as `check`, which it repeats.
    """
    check(out, beginning)
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            return out
        return _numbered(DEFAULT_PARENT, stem)
    except OSError as error:
        raise ConfigError(f"out: cannot write {error.filename}: {error.strerror}") from error


@contextmanager
def replacing(path: Path, suffix: str = PART) -> Iterator[Path]:
    """Yields where a file is to be written; it takes its place when it is complete.

    A reader sees the old file or the new one, never half. What is left of one that was not
    completed is no obstacle to `check`.

    Args:
      path: of the file.
      suffix: of it until then, for writers that look at it.
    """
    temporary = path.with_suffix(suffix)
    yield temporary
    os.replace(temporary, path)


def write_whole(path: Path, content: str) -> None:
    """Writes a file of text, as `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def next_free(directory: Path, stem: str, suffix: str) -> Path:
    """The first of STEM-1.SUFFIX, STEM-2.SUFFIX, ... that does not exist."""
    candidates = (directory / f"{stem}-{n}{suffix}" for n in itertools.count(1))
    return next(path for path in candidates if not path.exists())


def _numbered(parent: Path, stem: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    while True:  # another run may take the number between the look and the mkdir
        path = next_free(parent, stem, "")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
