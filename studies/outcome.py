"""What a study comes to: its contestants, and by what they are judged."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from selftuning.configs import studies
from selftuning.studies import tasks
from selftuning.studies.contestants import (
    RETURN,
    Contestant,
    best_fixed_start,
    contestants,
    measure_of,
)
from selftuning.studies.study_files import Measured
from selftuning.studies.tasks import Anchors

NORMALISED = "normalised score"


class Outcome(NamedTuple):
    """A study by contestants, and what they are judged by.

    Attributes:
      measured: all of it.
      measure: by what runs are judged, "return" or "reward" (of a step), or on several
        environments `NORMALISED`.
      target: the score that is good enough.
      target_is: what it is, in words.
      contestants: methods, and the best start of untuned ones after its method.
      tasks: of several environments the outcome on each, by its id.
      anchors: what is 0 and what is 1 on each.
    """

    measured: Measured
    measure: str
    target: float
    target_is: str
    contestants: list[Contestant]
    tasks: Mapping[str, Outcome] = MappingProxyType({})
    anchors: Mapping[str, Anchors] = MappingProxyType({})

    @property
    def score(self) -> str:
        """The measure in words."""
        return self.measure if self.measure in (RETURN, NORMALISED) else "reward a step"

    def named(self, name: str) -> Contestant | None:
        """A contestant by name, if it is there."""
        return next((one for one in self.contestants if one.name == name), None)


def outcome_of(measured: Measured) -> Outcome:
    """The outcome of a study, as far as it has run."""
    if not measured.settings.tasks:
        return _on_one(measured)
    found: dict[str, Outcome] = {}
    scales: dict[str, Anchors] = {}
    for name in studies.environments(measured.settings):
        if (there := tasks.alone(measured, name)) is not None:
            env, one = there.known.env, _on_one(there)
            found[env] = one
            scales[env] = tasks.anchors(
                measured.settings.anchors.get(name),
                there.known.untrained.get(one.measure),
                (one.target, one.target_is),
                np.concatenate([x for each in one.contestants for x in each.last]),
            )
    both = {env: (found[env].contestants, scales[env]) for env in found}
    return Outcome(
        measured, NORMALISED, 1.0, "the upper anchor", tasks.together(both), found, scales
    )


def _on_one(measured: Measured) -> Outcome:
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
        target, target_is = best_run, tasks.BEST
    return Outcome(measured, measure, float(target), target_is, everybody)
