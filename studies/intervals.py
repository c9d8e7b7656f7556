"""How contestants end and how they compare, each number with its 95% interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from selftuning.studies import digits, statistics
from selftuning.studies.contestants import Contestant
from selftuning.studies.statistics import Aggregate, Scores


class Interval(NamedTuple):
    """A number with its 95% interval; its ends are None where single runs tell of none."""

    value: float
    low: float | None
    high: float | None


def interval(scores: Scores, aggregate: Aggregate) -> Interval:
    """An aggregate of scores with its interval, or without one where single runs tell of none."""
    if min(len(runs) for runs in scores) < 2:
        return Interval(float(aggregate(*scores)), None, None)
    found = statistics.estimate(scores, aggregate)
    return Interval(*(float(x) for x in found))


def gain(one: Contestant, other: Contestant) -> Interval:
    """How much higher the interquartile mean of one contestant is, in the last tenth."""
    count = len(one.last)

    def difference(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        iqm = statistics.interquartile_mean
        return iqm(*samples[:count], axis=axis) - iqm(*samples[count:], axis=axis)

    return interval([*one.last, *other.last], difference)


def probability(one: Contestant, other: Contestant) -> Interval | None:
    """P(a run of one ends better than a run of the other), start by start where both have them.

    None where their starts are not the same.
    """
    scores, others = one.last, other.last
    if len(scores) == 1 < len(others):
        turned = probability(other, one)
        return None if turned is None else _opposite(turned)
    if len(others) > 1 and one.starts != other.starts:
        return None
    if min(len(runs) for runs in [*scores, *others]) < 2:
        return None
    found = statistics.probability_of_improvement(scores, others, statistics.RESAMPLES // 5)
    return Interval(*(float(x) for x in found))


def better(everybody: Sequence[Contestant]) -> dict[str, dict[str, Any]]:
    """P(a run of the first ends better than one of the second), by both names."""
    result: dict[str, dict[str, Any]] = {one.name: {} for one in everybody}
    for number, one in enumerate(everybody):
        for other in everybody[:number]:
            found = probability(one, other)
            if found is not None:
                result[one.name][other.name] = found._asdict()
                result[other.name][one.name] = _opposite(found)._asdict()
    return result


def said(found: Interval | Mapping[str, Any] | None) -> str:
    """A number as text with its interval if it has one, also as summary.json has it."""
    if found is None:
        return "-"
    value, low, high = found.values() if isinstance(found, Mapping) else found
    if not math.isfinite(value):
        return "-"
    if low is None or high is None or not math.isfinite(low + high):
        return number(value)
    value, low, high = digits.alike(value, low, high)
    return f"{value} [{low}, {high}]"


def alone(found: Interval | Mapping[str, Any] | None) -> str:
    """The number without its interval, with the digits that it has beside it."""
    return said(found).partition(" ")[0]


def listed(words: Sequence[str]) -> str:
    """Words as an enumeration."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def number(value: float | None) -> str:
    """Three significant digits, without an exponent where there need be none."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def iqm(one: Contestant) -> Interval:
    """Interquartile mean of the scores in the last tenth."""
    return interval(one.last, statistics.interquartile_mean)


def _opposite(found: Interval) -> Interval:
    low, high = (None if x is None else 1 - x for x in (found.high, found.low))
    return Interval(1 - found.value, low, high)
