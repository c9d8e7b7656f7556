"""What was found in a study: the content of summary.json."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from selftuning.agents import scales
from selftuning.configs import extensions, files, studies
from selftuning.configs.studies import StudySettings
from selftuning.envs import registry
from selftuning.studies import statistics, study_files
from selftuning.studies.answers import answer, notes, question
from selftuning.studies.contestants import (
    RETURN,
    Contestant,
    best_fixed_start,
    contestants,
    measure_of,
)
from selftuning.studies.intervals import better, interval
from selftuning.studies.statistics import Scores
from selftuning.studies.study_files import Measured

CONVERGED = 0.25  # of the spread of the starts that is left at the end
_RUNS_OF_CURVES = {RETURN: "return", "reward": "reward a step"}


class Study(NamedTuple):
    """A study with what was found in it.

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
        return _RUNS_OF_CURVES[self.measure]

    def named(self, name: str) -> Contestant | None:
        """A contestant by name, if it is there."""
        return next((one for one in self.contestants if one.name == name), None)


def study_of(measured: Measured) -> Study:
    """A study, as far as it has run."""
    measure = measure_of(measured.table)
    methods = contestants(measured)
    everybody = []
    for one in methods:
        best = best_fixed_start(one) if one.kind == "runs" and not one.tuned else None
        everybody += [one, best] if best else [one]
    settings = measured.settings
    threshold = registry.reward_threshold(settings.run.env) if measure == RETURN else None
    if settings.target is not None:
        target, target_is = settings.target, "as the study says"
    elif threshold is not None:
        target, target_is = threshold, "the environment's own threshold"
    else:
        best_run = max(float(runs.max()) for one in methods for runs in one.last)
        target, target_is = best_run, "the best run of all"
    return Study(measured, measure, float(target), target_is, everybody)


def summarise(study: Study) -> dict[str, Any]:
    """The content of summary.json."""
    measured = study.measured
    settings = measured.settings
    return {
        "question": question(study),
        "answer": answer(study),
        "notes": notes(study),
        "env": settings.run.env,
        "measure": study.score,
        "target": study.target,
        "target_is": study.target_is,
        "complete": not measured.missing,
        "methods": {one.name: describe(one, study.target) for one in study.contestants},
        "better": better(study.contestants),
        "convergence": [
            _convergence(settings, one, name) for one in study.contestants for name in one.tuned
        ],
        "origin": measured.origin,
        "machines": sorted({about["machine"] for about in measured.about.values()}),
        "devices": sorted({about["device"] for about in measured.about.values()}),
        "versions": study_files.versions(measured),
        "seconds": sum(about["seconds"] for about in measured.about.values()),
        "settings": files.for_json(files.plain(settings)),
    }


def describe(one: Contestant, target: float) -> dict[str, Any]:
    """One contestant in numbers; see `statistics` for what the aggregates are."""
    aggregates = {**statistics.AGGREGATES, "optimality_gap": statistics.optimality_gap(target)}
    ranks = [float(scores.mean()) for scores in one.last]
    solved = np.concatenate(one.solved_at)
    count = int((~np.isnan(solved)).sum())
    median = float(np.median(np.where(np.isnan(solved), np.inf, solved)))
    return {
        "label": one.label,
        "kind": one.kind,
        "runs": one.runs,
        "starts": len(one.starts),
        "env_steps": int(one.steps[-1]),
        "last_tenth": {k: interval(one.last, f)._asdict() for k, f in aggregates.items()},
        "whole_run": {k: interval(one.whole, f)._asdict() for k, f in aggregates.items()},
        "greedy": _known_interval(one.greedy),
        "solved": count,
        "solved_at": median if math.isfinite(median) else None,
        "worst_start": _start(one, int(np.argmin(ranks))),
        "best_start": _start(one, int(np.argmax(ranks))),
        "by_start": [_start(one, number) for number in range(len(one.starts))],
        "diverged": int(np.concatenate(one.diverged).sum()),
    }


def _convergence(settings: StudySettings, one: Contestant, name: str) -> dict[str, Any]:
    """Where a tuned hyperparameter went from its starts, and whether to the same place.

    Spreads are between starts, largest less smallest mean, on the scale on which tuning moves
    (log-odds, logarithms, or what an extension says).
    """
    ends = [_mean_of_known(runs[:, -1]) for runs in one.paths[name]]
    known = [end for end in ends if math.isfinite(end)]
    begins = [start.get(name, math.nan) for start in one.starts]
    differ = len(set(begins)) > 1
    modules = studies.run_settings(settings, one.name).extensions
    definition = extensions.definitions(modules)[name]
    raw: Callable[..., Any] = scales.bijector(definition).inverse
    result: dict[str, Any] = {
        "method": one.name,
        "hyperparameter": name,
        "starts": None if math.isnan(begins[0]) else [min(begins), max(begins)],
        "ends": [min(known), max(known)] if known else None,
        "spread_left": None,
        "converged": None,
    }
    if differ:
        before, after = (float(np.ptp(np.asarray(raw(np.array(x))))) for x in (begins, ends))
        left = after / before
        if math.isfinite(left):
            result |= {"spread_left": left, "converged": left < CONVERGED}
    return result


def _mean_of_known(values: np.ndarray) -> float:
    """NaN if none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _start(one: Contestant, number: int) -> dict[str, Any]:
    scores = [one.last[number]]
    return {
        "start": one.starts[number],
        "last_tenth": interval(scores, statistics.mean)._asdict(),
        "iqm": interval(scores, statistics.interquartile_mean)._asdict(),
        "runs": [float(x) for x in one.last[number]],
    }


def _known_interval(scores: Scores) -> dict[str, Any] | None:
    if any(np.isnan(runs).any() for runs in scores):
        return None
    return interval(scores, statistics.interquartile_mean)._asdict()
