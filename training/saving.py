"""When a run is saved, and where: in its directory, while it goes on."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from selftuning.configs.settings import CHECKPOINT_EVERY
from selftuning.training import checkpoints, run_directory
from selftuning.training.saved_agent import Content

KEPT = 3  # checkpoints of the last agents
_FIRST = 1.0  # seconds after which something may have been learned


class Saver:
    """Saves a run from time to time, without making it wait for a disk.

    Attributes:
      last: what was saved last; None before.
    """

    def __init__(self, run: Path | None, every: float = CHECKPOINT_EVERY):
        """What it does.

        Args:
          run: directory of the run; None to keep the last state in memory alone.
          every: seconds from one checkpoint to the next. At first less time passes, twice as much
            each time: whoever is killed early has lost as little.
        """
        self.last: Content | None = None
        self._run, self._every = run, every
        self._wait, self._since = min(_FIRST, every), time.perf_counter()
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._writing: list[Future[None]] = []

    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.perf_counter() - self._since >= self._wait

    def save(self, content: Content, best: bool = False, environments: bytes = b"") -> None:
        """Writes a checkpoint in the background, after those before.

        Args:
          content: of it.
          best: whether its agent is the best so far, which is then kept in a file of its own too.
          environments: of the host, in a file beside it.

        Raises:
          OSError: if one that was begun before could not be written.
        """
        self.wait()
        self.last = content
        if self._run is not None:
            self._writing.append(
                self._writer.submit(_write, self._run, content, best, environments)
            )
        self._wait, self._since = min(2 * self._wait, self._every), time.perf_counter()

    def wait(self) -> None:
        """Returns when all that was saved is on the disk.

        Raises:
          OSError: if something could not be written.
        """
        writing, self._writing = self._writing, []
        for one in writing:
            one.result()

    def close(self) -> None:
        """As `wait`; nothing is saved any more."""
        self._writer.shutdown()
        self.wait()


def newest_first(run: Path) -> list[Path]:
    """The checkpoints of the last agents of a run that are there, the last one first."""
    last = checkpoints.path_in(run)
    return [path for path in (last, *_numbered(last)) if path.exists()]


def put_aside_after(run: Path, env_steps: int) -> None:
    """Renames checkpoints of later steps than those from which a run goes on: they are damaged.

    They would pass for the last ones, and what is written from now on for older.
    """
    last = checkpoints.path_in(run)
    for path in _numbered(last):
        if (_steps(path, f"{last.stem}-") or 0) > env_steps:
            os.replace(path, path.with_suffix(".damaged"))


def keep_best(path: Path) -> None:
    """Makes a checkpoint the best one of its directory."""
    _same_file(path, path.with_name(checkpoints.BEST))


def path_of_environments(checkpoint: Path, env_steps: int) -> Path:
    """Where environments of the host are kept, beside a checkpoint."""
    return checkpoint.with_name(f"environments-{env_steps}.pickle")


def _write(run: Path, content: Content, best: bool, environments: bytes) -> None:
    last = checkpoints.path_in(run)
    if environments:
        last.parent.mkdir(parents=True, exist_ok=True)
        path_of_environments(last, content.env_steps).write_bytes(environments)
    numbered = last.with_name(f"{last.stem}-{content.env_steps}{last.suffix}")
    content.write(numbered)
    _same_file(numbered, last)
    if best:
        keep_best(numbered)
    for old in _numbered(last)[KEPT:]:
        old.unlink(missing_ok=True)
        path_of_environments(old, _steps(old, f"{last.stem}-") or 0).unlink(missing_ok=True)


def _numbered(last: Path) -> list[Path]:
    """Checkpoints that have their environment steps in their name, the last one first."""
    stem = f"{last.stem}-"
    found = [p for p in last.parent.glob(f"{stem}*{last.suffix}") if _steps(p, stem) is not None]
    return sorted(found, key=lambda path: -(_steps(path, stem) or 0))


def _steps(path: Path, stem: str) -> int | None:
    number = path.stem.removeprefix(stem)
    return int(number) if number.isdecimal() else None


def _same_file(path: Path, other: Path) -> None:
    """Gives a file one more name, in the place of whatever has had it."""
    with run_directory.replacing(other) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except OSError:  # a file system that has no such thing
            shutil.copyfile(path, temporary)
