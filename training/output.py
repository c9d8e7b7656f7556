"""What cannot be written is said in one line: a directory was removed, a disk is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selftuning.configs.errors import LostOutputError


def check(directory: Path) -> None:
    """Raises `LostOutputError` if a directory that was there is there no more."""
    if not directory.is_dir():
        raise LostOutputError(f"{directory} has been removed; what was not written yet is lost")


@contextmanager
def written(directory: Path) -> Iterator[None]:
    """Makes one line of what the operating system says of files in a directory.

    Raises:
      LostOutputError: in place of every OSError.
    """
    try:
        yield
    except OSError as error:
        check(directory)
        where = error.filename or directory
        raise LostOutputError(f"cannot write {where}: {error.strerror or error}") from error
