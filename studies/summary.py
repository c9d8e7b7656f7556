"""What was found in a study: the content of summary.json."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from selftuning.agents import scales
from selftuning.configs import extensions, files, studies
from selftuning.configs.studies import StudySettings
from selftuning.studies import gains, statistics, study_files, verdicts
from selftuning.studies.answers import answer, environments, notes, question
from selftuning.studies.contestants import ENV, Contestant, picked
from selftuning.studies.intervals import better, interval, last, mean
from selftuning.studies.outcome import Outcome
from selftuning.studies.single_runs import apart
from selftuning.studies.statistics import Aggregate, Scores

CONVERGED = 0.25  # of the spread of the starts that is left at the end


def summarise(outcome: Outcome) -> dict[str, Any]:
    """The content of summary.json."""
    measured = outcome.measured
    settings = measured.settings
    return _found(outcome) | {
        "origin": measured.origin,
        "machines": sorted({about["machine"] for about in measured.about.values()}),
        "devices": sorted({about["device"] for about in measured.about.values()}),
        "versions": study_files.versions(measured),
        "seconds": sum(about["seconds"] for about in measured.about.values()),
        "settings": files.for_json(files.plain(settings)),
    }


def _found(outcome: Outcome) -> dict[str, Any]:
    """What a study says of its contestants; on several environments also what each says."""
    measured = outcome.measured
    settings = measured.settings
    found = verdicts.of_study(outcome)
    alone: dict[str, Any] = {
        "question": question(outcome),
        "answer": answer(outcome, found),
        "verdicts": [plain(one) for one in found.each],
        "margin": found.margin.value,
        "notes": notes(outcome, found),
        "env": ", ".join(environments(outcome)),
        "measure": outcome.score,
        "target": outcome.target,
        "target_is": outcome.target_is,
        "complete": not measured.missing,
        "methods": {one.name: describe(one, outcome.target) for one in outcome.contestants},
        "better": better(outcome.contestants),
        "gains": gains.of_study(outcome),
        "apart": [run._asdict() for run in apart(outcome)],
        "convergence": [
            _convergence(settings, one, name) for one in outcome.contestants for name in one.paths
        ],
    }
    if outcome.tasks:
        scales = {env: scale._asdict() for env, scale in outcome.anchors.items()}
        alone |= {"anchors": scales}
        alone |= {"tasks": {env: _found(task) for env, task in outcome.tasks.items()}}
    return alone


def plain(one: verdicts.Verdict) -> dict[str, Any]:
    """A verdict as data."""
    compared = one.compared
    return {
        "question": compared.question,
        "method": compared.one,
        "instead": compared.other,
        "starts": compared.starts,
        "standing": one.standing,
        "scores": [one.value, one.instead],
        "difference": one.gain._asdict() | {"level": one.level},
        "better": compared.chance and compared.chance._asdict(),
        "seeds": len(compared.ones),
    }


def describe(one: Contestant, target: float) -> dict[str, Any]:
    """One contestant in numbers; see `statistics` for what the aggregates are."""
    aggregates = {**statistics.AGGREGATES, "optimality_gap": statistics.optimality_gap(target)}
    ranks = [float(scores.mean()) for scores in one.last]
    solved = np.concatenate(one.solved_at)
    count = int((~np.isnan(solved)).sum())
    median = float(np.median(np.where(np.isnan(solved), np.inf, solved)))
    several = ENV in one.starts[0]  # environments, whose steps have no median together
    return {
        "label": one.label,
        "kind": one.kind,
        "runs": one.runs,
        "starts": len(one.starts),
        "env_steps": int(one.steps[-1]),
        "last_tenth": _aggregated(one, one.last, aggregates),
        "whole_run": _aggregated(one, one.whole, aggregates),
        "greedy": _known_mean(one, one.greedy),
        "solved": count,
        "solved_at": median if math.isfinite(median) and not several else None,
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
        "last_tenth": last(picked(one, [number], one.name, one.label))._asdict(),
        "iqm": interval(scores, statistics.interquartile_mean)._asdict(),
        "runs": [float(x) for x in one.last[number]],
    }


def _aggregated(
    one: Contestant, scores: Scores, aggregates: Mapping[str, Aggregate]
) -> dict[str, Any]:
    others = {name: interval(scores, aggregate) for name, aggregate in aggregates.items()}
    return {name: x._asdict() for name, x in (others | {"mean": mean(one, scores)}).items()}


def _known_mean(one: Contestant, scores: Scores) -> dict[str, Any] | None:
    if any(np.isnan(runs).any() for runs in scores):
        return None
    return mean(one, scores)._asdict()
