"""Differences of interquartile means, by a paired bootstrap over seeds.

Runs of two contestants from the same seed begin with the same networks and the same environments,
so what is lucky for one may be lucky for both. Seeds are therefore drawn anew for both together,
and for all starts (and environments) at once: a resample has whole seeds, as a study with other
seeds would have them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from selftuning.studies import statistics
from selftuning.studies.contestants import Contestant, by_seed
from selftuning.studies.intervals import Interval
from selftuning.studies.outcome import Outcome


def against(outcome: Outcome) -> list[Contestant]:
    """Whom contestants are compared with: runs that do not tune, and those at the outer values."""
    both = [outcome.baseline, outcome.outer]
    return [one for number, one in enumerate(both) if one is not None and one not in both[:number]]


def of_study(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Differences in the last tenth, by names of contestant and of whom it is compared with."""
    return {
        one.name: {
            other.name: found._asdict()
            for other in against(outcome)
            if other is not one and (found := gain(one, other)) is not None
        }
        for one in outcome.contestants
    }


def gain(
    one: Contestant, other: Contestant, resamples: int = statistics.RESAMPLES // 2
) -> Interval | None:
    """How much higher the interquartile mean of one contestant is, over the seeds that both have.

    The interval has no ends where there is but one such seed. None where there is none.
    """
    (mine, ones), (theirs, others) = (by_seed(x, x.last) for x in (one, other))
    shared = np.intersect1d(mine, theirs)
    if not shared.size:
        return None
    ones, others = ones[:, np.isin(mine, shared)], others[:, np.isin(theirs, shared)]

    def difference(seeds: np.ndarray, axis: int = -1) -> np.ndarray:
        assert axis == -1
        return _iqm(ones[:, seeds]) - _iqm(others[:, seeds])

    every = np.arange(len(shared))
    value = float(difference(every))
    if len(shared) < 2:
        return Interval(value, None, None)
    ends = stats.bootstrap(
        (every,),
        difference,
        axis=-1,
        n_resamples=resamples,
        batch=1000,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(value, float(ends.low), float(ends.high))


def _iqm(scores: np.ndarray) -> np.ndarray:
    """Of scores [S, ..., N] over starts and seeds [...]."""
    return statistics.interquartile_mean(*scores)
