"""Standard streams that hold out: work goes on where nobody reads what it prints.

A run of a week must not end because `| head` has seen enough, a disk with the log is full, or a
terminal knows no letter but ASCII's.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_NARROWEST = 40  # columns; tables of one column have no end


@contextmanager
def lasting() -> Iterator[None]:
    """Makes the streams of this process last, and its columns enough."""
    _open_closed()
    if shutil.get_terminal_size().columns < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)
    elif os.environ.get("COLUMNS") == "0":  # which some take for none, and others for none known
        del os.environ["COLUMNS"]
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Lasting(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Opens streams that are closed, or the next files to be opened would get their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))


class _Lasting:
    """A stream of text that forgets what it cannot write, and says so once."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As `write` of a file, but for errors."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """As `flush` of a file, but for errors."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # what is still buffered goes there, too
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError):
            print(f"warning: output is lost from here on: {error.strerror}", file=sys.stderr)
