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
from selftuning.studies.same_runs import same_runs
from selftuning.studies.study_files import Measured
from selftuning.studies.tasks import Anchors

NORMALISED = "normalised score"

BASELINE = "none"  # the method that tuning is compared with


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

    @property
    def tuned(self) -> list[Contestant]:
        """Those whose runs tune themselves."""
        return [one for one in self.contestants if one.tunes]

    @property
    def baseline(self) -> Contestant | None:
        """The runs that do not tune: method "none", or else the first such method."""
        fixed = [one for one in self.contestants if one.fixed and not one.chosen]
        others = [one for one in fixed if not self._at_outer(one.name)]
        return self.named(BASELINE) or next(iter(others), None)

    @property
    def outer(self) -> Contestant | None:
        """The runs at the outer values, which may be all of those of another method."""
        if self.tasks:
            found = {one and one.name for one in (task.outer for task in self.tasks.values())}
            name = found.pop() if len(found) == 1 else None
            return None if name is None else self.named(name)
        settings = self.measured.settings
        names = [name for name in settings.methods if self._at_outer(name)]
        same = same_runs(settings)
        names += [same[name].method for name in names if name in same and same[name].all_of_it]
        return next((one for one in map(self.named, names) if one is not None), None)

    def _at_outer(self, name: str) -> bool:
        return self.measured.settings.methods[name].at_outer

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
        # It may be another method, such as `outer`, which then need not be there twice.
        again = any(_same_runs(best, other) for other in methods) if best else True
        everybody += [one, best] if best and not again else [one]
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


def _same_runs(one: Contestant, other: Contestant) -> bool:
    return one.starts == other.starts and one.curves[0] is other.curves[0]
