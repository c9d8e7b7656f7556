"""What a study comes to: its contestants, and by what they are judged."""

from __future__ import annotations

from typing import NamedTuple

from selftuning.studies.contestants import (
    RETURN,
    Contestant,
    best_fixed_start,
    contestants,
    measure_of,
)
from selftuning.studies.study_files import Measured


class Outcome(NamedTuple):
    """A study by contestants, and what they are judged by.

    Attributes:
      measured: all of it.
      measure: by what runs are judged, "return" or "reward" (of a step).
      target: the score that is good enough.
      target_is: what it is, in words.
      contestants: methods, and the best start of untuned ones after its method.
    """

    measured: Measured
    measure: str
    target: float
    target_is: str
    contestants: list[Contestant]

    @property
    def score(self) -> str:
        """The measure in words."""
        return "return" if self.measure == RETURN else "reward a step"

    def named(self, name: str) -> Contestant | None:
        """A contestant by name, if it is there."""
        return next((one for one in self.contestants if one.name == name), None)


def outcome_of(measured: Measured) -> Outcome:
    """The outcome of a study, as far as it has run."""
    measure = measure_of(measured.table)
    methods = contestants(measured)
    everybody = []
    for one in methods:
        best = best_fixed_start(one) if one.fixed else None
        everybody += [one, best] if best else [one]
    settings = measured.settings
    threshold = measured.known.reward_threshold if measure == RETURN else None
    if settings.target is not None:
        target, target_is = settings.target, "as the study says"
    elif threshold is not None:
        target, target_is = threshold, "the environment's own threshold"
    else:
        best_run = max(float(runs.max()) for one in methods for runs in one.last)
        target, target_is = best_run, "the best run of all"
    return Outcome(measured, measure, float(target), target_is, everybody)
