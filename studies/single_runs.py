"""Single runs, and those of them that end far from the other seeds of their start."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from selftuning.studies.contestants import Contestant
from selftuning.studies.outcome import Outcome

DEVIATIONS = 3.0  # robust standard deviations of its start, by which such a run is off
PART = 0.1  # of the range of all scores of the study, likewise


class Apart(NamedTuple):
    """A run that ends far from the others of its start.

    Attributes:
      method: name of the contestant.
      start: its place among those of the contestant.
      seed: of the run.
      score: of it, in the last tenth.
      mean: over all seeds of the start.
      median: likewise.
    """

    method: str
    start: int
    seed: int
    score: float
    mean: float
    median: float


def apart(outcome: Outcome) -> list[Apart]:
    """The runs of a study that end far from the median of their start.

    They are further from it than three robust standard deviations (1.48 times the median distance)
    of that start, and than a tenth of the range of all scores of the study. So a start whose seeds
    are all over the place has none, and neither has one in which nothing differs much. A mean and
    its interval hide such runs, an interquartile mean leaves them out.
    """
    methods = [one for one in outcome.contestants if not one.chosen]
    scores = np.concatenate([runs for one in methods for runs in one.last])
    least = PART * float(np.ptp(scores))
    return [found for one in methods for found in _of_one(one, least)]


def _of_one(one: Contestant, least: float) -> list[Apart]:
    found = []
    for place, (runs, seeds) in enumerate(zip(one.last, one.seeds, strict=True)):
        median = float(np.median(runs))
        deviation = float(stats.median_abs_deviation(runs, scale="normal"))
        off = np.abs(runs - median) > max(DEVIATIONS * deviation, least)
        found += [
            Apart(one.name, place, int(seed), float(score), float(runs.mean()), median)
            for seed, score in zip(seeds[off], runs[off], strict=True)
        ]
    return found
