"""A directory is for one process at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from selftuning.configs.errors import ConfigError

NAME = ".lock"  # of the file, which stays: to remove it would take it from who waits for it


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keeps other processes out of a directory; the lock ends with the process that has it.

    Where the file system has no locks, it is said, and the directory is used without one.

    Raises:
      ConfigError: if another process is in it, it is none, or nothing can be written there.
    """
    if not directory.is_dir():  # which the lock would make
        raise ConfigError(f"out: {directory} is no directory")
    lock = FileLock(directory / NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(f"out: {directory} is in use: another process writes there") from error
    except PermissionError as error:
        raise ConfigError(f"out: cannot write {directory}: {error.strerror}") from error
    except (OSError, NotImplementedError) as error:
        print(f"{directory} has no lock: {error}", file=sys.stderr)
    try:
        yield
    finally:
        lock.release()
