"""Methods whose runs are those of another one, which are made and shown once.

`outer` is such a method where its values are among the starts of the runs that do not tune.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import NamedTuple

from selftuning.configs import files, studies
from selftuning.configs.studies import Start, StudySettings


class Same(NamedTuple):
    """What a method is a part of, or all of.

    Attributes:
      method: the other one.
      starts: of it, by their numbers.
      all_of_it: whether these are all.
    """

    method: str
    starts: list[int]
    all_of_it: bool


def same_runs(study: StudySettings) -> dict[str, Same]:
    """Methods whose runs are among those of another one, by name."""
    runs = {
        name: _values(study, name)
        for name, method in study.methods.items()
        if method.kind == "runs"
    }
    kinds = {name: _without_starts(study, name) for name in runs}
    result: dict[str, Same] = {}
    # The larger ones first, and of equal ones the first, so that what is kept is kept itself.
    for name in sorted(runs, key=lambda one: -len(runs[one])):
        for other in runs:
            if other == name or other in result or kinds[other] != kinds[name]:
                continue
            at = {start: number for number, start in enumerate(runs[other])}
            kept = len(at) > len(runs[name]) or [*runs].index(other) < [*runs].index(name)
            if kept and all(start in at for start in runs[name]):
                found = [at[start] for start in runs[name]]
                result[name] = Same(other, found, len(found) == len(at))
                break
    return result


def _values(study: StudySettings, name: str) -> list[tuple[float, ...]]:
    """The hyperparameters that the runs of a method begin with, start after start."""
    used = studies.run_settings(study, name).in_use

    def of(start: Start) -> tuple[float, ...]:
        return tuple(float(start.get(key, spec.start)) for key, spec in used.items())

    return [of(start) for start in studies.starts(study, name)]


def _without_starts(study: StudySettings, name: str) -> str:
    """All else of its settings."""
    settings = studies.run_settings(study, name)
    specs = {key: replace(spec, start=spec.low) for key, spec in settings.hyperparameters.items()}
    return json.dumps(files.plain(replace(settings, hyperparameters=specs)), sort_keys=True)
