"""How quick agents are beside each other: contestants take turns, medians and ratios count.

A machine that does other things as well is slow at times. Contestants that follow each other
within seconds are slowed alike, so that ratios within a round say more than rates do.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

Turn = Callable[[], object]  # runs, and returns when everything is done


class Contestant(NamedTuple):
    """What is measured.

    Attributes:
      group: of contestants on one task with one number of environments and one network.
      name: within the group.
      prepare: builds and compiles -> (turn, environment steps of a turn).
      flops: of the networks' matrix products for an environment step, 0 if they are not counted.
    """

    group: str
    name: str
    prepare: Callable[[], tuple[Turn, int]]
    flops: float = 0.0


class Measured(NamedTuple):
    """What a contestant came to.

    Attributes:
      steps_per_second: of each of its turns.
      compile_seconds: of building and compiling.
      of_peak: the part of the speed of matrix products that its networks' make up, of each turn.
      peak: that speed in each round, floating point operations a second.
    """

    steps_per_second: list[float]
    compile_seconds: float
    of_peak: list[float]
    peak: list[float]


def measure(
    contestants: Sequence[Contestant],
    repeats: int,
    peak: Callable[[], float] = lambda: 1.0,
    tell: Callable[[str], object] = lambda text: None,
) -> list[Measured]:
    """Lets all contestants take turns.

    Args:
      contestants: whose order is that of the turns of a round.
      repeats: rounds that count. One before them warms up.
      peak: measures floating point operations a second of matrix products, once a round; may be
        left out where nobody asks for `of_peak`.
      tell: gets a line now and then.

    Returns:
      What each came to, in their order.
    """
    turns, results = [], []
    for number, contestant in enumerate(contestants, 1):
        tell(f"compiling {number} of {len(contestants)}: {contestant.group}, {contestant.name}")
        begun = time.perf_counter()
        turns.append(contestant.prepare())
        results.append(Measured([], time.perf_counter() - begun, [], []))
    for contestant, (turn, _) in zip(contestants, turns, strict=True):
        tell(f"warming up: {contestant.group}, {contestant.name}")
        turn()
    for repeat in range(repeats):
        tell(f"round {repeat + 1} of {repeats}")
        best = peak()
        for contestant, result, (turn, steps) in zip(contestants, results, turns, strict=True):
            begun = time.perf_counter()
            turn()
            rate = steps / (time.perf_counter() - begun)
            result.steps_per_second.append(rate)
            result.of_peak.append(contestant.flops * rate / best)
            result.peak.append(best)
    return results


def ratio(one: Measured, other: Measured) -> float:
    """Median over rounds of how many times as quick one is as the other."""
    pairs = zip(one.steps_per_second, other.steps_per_second, strict=True)
    return statistics.median(a / b for a, b in pairs)


def rate(result: Measured) -> float:
    """Median environment steps a second."""
    return statistics.median(result.steps_per_second)
