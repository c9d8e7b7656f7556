"""A study of several environments: each by itself, and all of them by normalised scores.

A score is normalised by two anchors of its environment: (score - low) / (high - low). An outcome
says what they are, since no aggregate over tasks means anything without that. Strata are
environment x start.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl

from selftuning.configs import studies
from selftuning.studies import plan
from selftuning.studies.contestants import BEST_START, ENV, Contestant
from selftuning.studies.study_files import Measured

GIVEN = "as the study says"
UNTRAINED = "an untrained agent"
WORST, BEST = "the worst run of all", "the best run of all"


class Anchors(NamedTuple):
    """The scores on one environment that count as 0 and as 1.

    Attributes:
      low: score that is 0.
      low_is: what it is, in words.
      high: score that is 1.
      high_is: what it is, in words.
    """

    low: float
    low_is: str
    high: float
    high_is: str

    def normalised(self, scores: np.ndarray) -> np.ndarray:
        """Scores of any shape in these units."""
        return (scores - self.low) / (self.high - self.low)


def alone(measured: Measured, name: str) -> Measured | None:
    """What a study measured on one environment; None if nothing of it has run.

    Args:
      measured: of all environments.
      name: of one, as the study has it.
    """
    known = measured.known.on(name)
    rows = measured.table.filter(pl.col(ENV) == known.env)
    if not rows.height:
        return None
    settings = studies.on(measured.settings, name)
    if name in measured.settings.anchors:
        settings = replace(settings, target=measured.settings.anchors[name][1])
    return measured._replace(
        settings=settings,
        table=rows,
        about={unit: x for unit, x in measured.about.items() if plan.is_on(unit, known.env)},
        missing=[unit for unit in measured.missing if plan.is_on(unit, known.env)],
        known=known,
    )


def anchors(
    given: tuple[float, float] | None,
    untrained: float | None,
    target: tuple[float, str],
    scores: np.ndarray,
) -> Anchors:
    """The anchors of one environment: the first of these pairs whose lower one is below the other.

    Args:
      given: by the study.
      untrained: score of an agent before it has learned, None if unknown.
      target: the score that is good enough, and what it is in words.
      scores: of all runs at their end.
    """
    if given is not None:
        return Anchors(given[0], GIVEN, given[1], GIVEN)
    worst, best = float(scores.min()), float(scores.max())
    lows = [(worst, WORST)] if untrained is None else [(untrained, UNTRAINED), (worst, WORST)]
    for low, high in itertools.product(lows, [target, (best, BEST)]):
        if low[0] < high[0]:
            return Anchors(*low, *high)
    return Anchors(worst, WORST, worst + 1, "1 more, as all runs score alike")


def together(tasks: Mapping[str, tuple[list[Contestant], Anchors]]) -> list[Contestant]:
    """Contestants over all tasks, in normalised scores.

    Those that have run on some tasks only are left out while others have run on all.

    Args:
      tasks: contestants and anchors of each environment, by its id.
    """
    parts: dict[str, dict[str, Contestant]] = {}
    for env, (each, _) in tasks.items():
        for one in each:
            parts.setdefault(one.name, {})[env] = one
    most = max(map(len, parts.values()))
    scales = {env: scale for env, (_, scale) in tasks.items()}
    return [_over_tasks(on, scales) for on in parts.values() if len(on) == most]


def _over_tasks(parts: Mapping[str, Contestant], scales: Mapping[str, Anchors]) -> Contestant:
    """One contestant on several environments, whose steps are per cent of a run."""
    each = list(parts.items())
    first = each[0][1]
    curves = [scales[env].normalised(curve) for env, one in each for curve in one.curves]
    points = min(len(one.steps) for _, one in each)
    label = first.label
    if first.chosen:
        label = f"{label.partition(BEST_START)[0]}{BEST_START} of each environment"
    return Contestant(
        name=first.name,
        label=label,
        kind=first.kind,
        tuned=tuple(dict.fromkeys(name for _, one in each for name in one.tuned)),
        starts=[{ENV: env, **start} for env, one in each for start in one.starts],
        seeds=[x for _, one in each for x in one.seeds],
        steps=100 * np.arange(1, points + 1) / points,
        curves=[_evened(curve, points) for curve in curves],
        paths={},
        greedy=[scales[env].normalised(x) for env, one in each for x in one.greedy],
        solved_at=[100 * x / one.steps[-1] for _, one in each for x in one.solved_at],
        diverged=[x for _, one in each for x in one.diverged],
        ends=[scales[env].normalised(x) for env, one in each for x in one.last],
    )


def _evened(curves: np.ndarray, points: int) -> np.ndarray:
    """Curves [N, P] as means over so many equal parts of the run; their mean stays what it was."""
    count = curves.shape[1]
    sums = np.concatenate([np.zeros((len(curves), 1)), curves.cumsum(1)], 1) / count
    at = np.linspace(0, 1, points + 1)
    known = np.linspace(0, 1, count + 1)
    return points * np.diff([np.interp(at, known, row) for row in sums], axis=1)
