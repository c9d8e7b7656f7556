"""The loop over the chunks of a run, whatever it is that runs."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple, TypeVar

State = TypeVar("State")

_FEWEST_CHUNKS = 40  # of a run, each of which is a line in the log
_LARGEST_CHUNK = 2**20  # environment steps, so that the metrics of one stay small in memory
_SECONDS_BETWEEN_CHECKPOINTS = 60.0


class Plan(NamedTuple):
    """A run in equal chunks, so that only one is compiled."""

    cycles: int  # of one chunk
    chunks: int


def plan(steps: int, steps_per_cycle: int) -> Plan:
    """Divides at least `steps` environment steps into equal chunks of whole cycles.

    There are 40 to 80 chunks (more where they would be large, fewer where there are fewer
    cycles); of these the number that goes beyond `steps` the least.
    """
    cycles = math.ceil(steps / steps_per_cycle)
    fewest = max(_FEWEST_CHUNKS, math.ceil(cycles * steps_per_cycle / _LARGEST_CHUNK))
    plans = (_of_size(cycles, math.ceil(cycles / n)) for n in range(fewest, 2 * fewest + 1))
    return min(plans, key=lambda p: (p.cycles * p.chunks, p.chunks))


def _of_size(cycles: int, size: int) -> Plan:
    return Plan(size, math.ceil(cycles / size))


class Ended(NamedTuple):
    """How a loop ended.

    Attributes:
      state: after the last chunk that ran.
      chunks: that ran.
      seconds: that they took.
    """

    state: Any
    chunks: int
    seconds: float


def run_chunks(
    advance: Callable[[State], tuple[State, Any]],
    state: State,
    chunks: int,
    take: Callable[[Any], bool],
    *,
    in_background: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    save: Callable[[State, int], None] | None = None,
    watch: Callable[[State, int], None] | None = None,
) -> Ended:
    """Runs chunks until they are done, somebody says stop, or a chunk's taker has seen enough.

    Args:
      advance: state -> (state, metrics of a chunk).
      state: before the first chunk.
      chunks: at most.
      take: is given the metrics of every chunk in order; True ends the run.
      in_background: whether `advance` returns before its work is done. The metrics of a chunk are
        then taken while the next one is being computed.
      stopped: asked before each chunk.
      save: (state, chunks that ran), called about once a minute.
      watch: (state, chunks that ran), called after each chunk, before its metrics are taken.
    """
    begun = saved = time.perf_counter()
    waiting, done, enough = deque[Any](), 0, False
    while done < chunks and not enough and not stopped():
        state, metrics = advance(state)
        done += 1
        waiting.append(metrics)
        if watch is not None:
            watch(state, done)
        while len(waiting) > in_background:
            enough = take(waiting.popleft()) or enough
        if save is not None and time.perf_counter() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
            save(state, done)
            saved = time.perf_counter()
    for metrics in waiting:
        take(metrics)
    return Ended(state, done, time.perf_counter() - begun)


@contextmanager
def stop_signal(say: Callable[[str], object]) -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C into an answer to a question; the second interrupts as usual.

    Outside of the main thread, where Python gives no signals, nothing is turned.

    Args:
      say: shows a line to the user.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    stopped = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt
        stopped = True
        say("stopping after this chunk; Ctrl-C again ends at once")

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: stopped
    finally:
        signal.signal(signal.SIGINT, previous)
