"""What ends a run from outside: Ctrl-C, and the signals that schedulers send."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# SLURM and Kubernetes send SIGTERM before they kill, a terminal that is closed SIGHUP.
_ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stopped:
    """Whether somebody has asked for the end; called, it says so.

    Attributes:
      by: the signal that did; None before.
    """

    def __init__(self) -> None:
        self.by: signal.Signals | None = None

    def __call__(self) -> bool:
        """Whether one has come."""
        return self.by is not None


def exit_code(by: signal.Signals | None) -> int:
    """That of a run which a signal ended, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (by or signal.SIGINT)


@contextmanager
def stop_signal(say: Callable[[str], object]) -> Iterator[Stopped]:
    """Turns the first of these signals into an answer to a question; the second interrupts.

    Outside of the main thread, where Python gives no signals, nothing is turned; nor is SIGHUP
    where the process was started to ignore it, as `nohup` does.

    Args:
      say: shows a line to the user.
    """
    stopped = Stopped()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        if stopped.by is not None:
            raise KeyboardInterrupt
        stopped.by = signal.Signals(number)
        say("stopping after this chunk; Ctrl-C again ends at once")

    kept = signal.SIG_IGN, "SIGHUP"
    turned = [one for one in _ENDING if (signal.getsignal(one), one.name) != kept]
    previous = {one: signal.signal(one, stop) for one in turned}
    try:
        yield stopped
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Ctrl-C ends the process, without a last word to anybody, even in the middle of XLA.

    Python hears of a signal between two of its own steps, and compiling may be a single one that
    takes minutes. What may be lost then must not be worth keeping: a command line that compiles.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, said = os.pipe()
    os.set_blocking(said, False)
    previous = signal.set_wakeup_fd(said, warn_on_full_buffer=False)

    def wait() -> None:
        while number := os.read(heard, 1):  # nothing when the other end is closed
            if number[0] == signal.SIGINT:
                os.write(2, b"\x1b[?25h\ninterrupted\n" if os.isatty(2) else b"interrupted\n")
                os._exit(exit_code(signal.SIGINT))
        os.close(heard)

    threading.Thread(target=wait, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        os.close(said)
