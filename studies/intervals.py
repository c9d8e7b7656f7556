"""How contestants end and how they compare, each number with its 95% interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from selftuning.studies import digits, means, statistics, superiority
from selftuning.studies.contestants import ENV, Contestant, by_seed, picked
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


def mean(one: Contestant, scores: Scores) -> Interval:
    """The mean over starts of the mean over seeds; its interval is one over seeds.

    Args:
      one: the contestant.
      scores: of its runs, [N_s] for each start.
    """
    seeds, values = by_seed(one, scores)
    value = float(statistics.mean(*scores))
    if len(seeds) < 2 or len(seeds) < max(map(len, scores)):  # the study has not finished
        return Interval(value, None, None)
    low, high = means.over_seeds(values.mean(0)).interval()
    return Interval(value, float(low), float(high))


def mean_curve(
    one: Contestant, curves: Scores
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The same at each point of curves, [N_s, P] for each start: value and ends [P]."""
    seeds, values = by_seed(one, curves)
    value = np.mean([curve.mean(0) for curve in curves], 0)
    if len(seeds) < 2 or len(seeds) < max(map(len, curves)):
        return value, None, None
    return value, *means.over_seeds(values.mean(0).T).interval()


def probability(one: Contestant, other: Contestant) -> Interval | None:
    """P(a run of one ends better than a run of the other), start by start where both have them.

    On several environments it is the mean over these. None where their starts are not the same.
    """
    if ENV in one.starts[0]:
        return _over_tasks(one, other)
    scores, others = one.last, other.last
    if len(scores) == 1 < len(others):
        turned = probability(other, one)
        return None if turned is None else _opposite(turned)
    if len(others) > 1 and one.starts != other.starts:
        return None
    if min(len(runs) for runs in [*scores, *others]) < 2:
        return None
    found = superiority.probability_of_improvement(scores, others)
    return Interval(*(float(x) for x in found))


def _over_tasks(one: Contestant, other: Contestant) -> Interval | None:
    """The mean of probabilities on each environment, of which runs are independent."""

    def on(x: Contestant, env: str) -> Contestant:
        which = [number for number, start in enumerate(x.starts) if start[ENV] == env]
        few = picked(x, which, x.name, x.label)
        rest = [{name: y for name, y in start.items() if name != ENV} for start in few.starts]
        return few._replace(starts=rest)

    envs = list(dict.fromkeys(start[ENV] for start in one.starts))
    if not set(envs) <= {start[ENV] for start in other.starts}:
        return None
    each = [probability(on(one, env), on(other, env)) for env in envs]
    known = [(x.value, x.low, x.high) for x in each if x and x.low is not None]
    if len(known) < len(each):
        return None
    found = superiority.mean_of_independent(*np.array(known, float).T)
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


def last(one: Contestant) -> Interval:
    """The mean of the scores in the last tenth."""
    return mean(one, one.last)


def _opposite(found: Interval) -> Interval:
    low, high = (None if x is None else 1 - x for x in (found.high, found.low))
    return Interval(1 - found.value, low, high)
