"""The loop over the chunks of a run, whatever it is that runs."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

State = TypeVar("State")

_FEWEST_CHUNKS = 40  # of a run, each of which is a line in the log
_LARGEST_CHUNK = 2**20  # environment steps, so that the metrics of one stay small in memory


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
    due: Callable[[], bool] = lambda: False,
    save: Callable[[State, int], None] | None = None,
    watch: Callable[[State, int], bool] | None = None,
    broken: Callable[[], bool] = lambda: False,
    mend: Callable[[State], State] | None = None,
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
      due: asked after each chunk, whether it is time to save.
      save: (state, chunks that ran), when all their metrics have been taken.
      watch: (state, chunks that ran), called after each chunk, before its metrics are taken; True
        if the state is to be saved.
      broken: asked after metrics were taken, whether they say that the state is of no use.
      mend: state of no use -> the one to go on with.
    """
    begun = time.perf_counter()
    waiting, done, enough = deque[Any](), 0, False

    def take_all_but(count: int) -> bool:
        enough = False
        while len(waiting) > count:
            enough = take(waiting.popleft()) or enough
        return enough

    while done < chunks and not enough and not stopped():
        state, metrics = advance(state)
        done += 1
        waiting.append(metrics)
        saving = watch is not None and watch(state, done)
        saving = due() or saving
        enough = take_all_but(0 if saving else int(in_background))
        if saving and save is not None:
            save(state, done)
        if mend is not None and broken():
            enough = take_all_but(0) or enough
            state = mend(state)
    take_all_but(0)
    return Ended(state, done, time.perf_counter() - begun)
