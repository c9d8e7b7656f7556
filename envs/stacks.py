"""Where a process hangs: it writes its stack when it is asked to, whatever it does just then."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from selftuning.configs import modules

_SIGNAL = getattr(signal, "SIGUSR1", None)  # not there on Windows
_SECONDS = 2.0  # that an answer may take


def write_when_asked(to: Connection) -> None:
    """Makes this process write its stack to a pipe when the other end asks for it."""
    if _SIGNAL is not None:
        # In C, so that it works where Python itself does not come back from a library.
        faulthandler.register(_SIGNAL, file=to.fileno(), all_threads=False)


def asked(process: SpawnProcess, pipe: Connection) -> tuple[str, str]:
    """The stack of a process as text, and the innermost place in it of a user's code.

    Both are empty where it does not answer. The process must be ended after it.
    """
    if _SIGNAL is None or process.pid is None:
        return "", ""
    with contextlib.suppress(OSError):
        os.kill(process.pid, _SIGNAL)
    text = ""
    while pipe.poll(_SECONDS if not text else 0.1):
        part = os.read(pipe.fileno(), 2**16)
        if not part:
            break
        text += part.decode(errors="replace")
    # Innermost first, in the order that tracebacks do not have.
    place = modules.last_in("\n".join(reversed(text.splitlines())))
    return text, modules.written(place)
