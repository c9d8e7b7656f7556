"""Outcomes of studies whose scores are known, made in no time: what verdicts are tested with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
import polars as pl

from selftuning.configs import studies
from selftuning.studies import known
from selftuning.studies.outcome import Outcome, outcome_of
from selftuning.studies.study_files import Measured
from tests import synthetic_study
from tests.small_studies import small

TARGET = 475.0  # CartPole's threshold
FIRST = 20.0  # score at the first point, everywhere


def outcome(scores: Mapping[str, np.ndarray], first: float = FIRST) -> Outcome:
    """A study of CartPole in which runs ended with these scores.

    Args:
      scores: by method, from S starts of gamma with N seeds each [S, N]; "outer" has one start.
      first: score at the first point.
    """
    starts = max(len(x) for x in scores.values())
    base = _base(tuple(scores), starts)
    everybody = [
        one._replace(
            seeds=[np.arange(x.shape[1])] * len(x),
            steps=np.array([1, 2]),
            curves=[np.stack([np.full(len(runs), first), runs], 1) for runs in x],
        )
        for one in base.contestants
        if not one.chosen and (x := np.asarray(scores[one.name], float)) is not None
    ]
    return base._replace(contestants=everybody)


@cache
def _base(methods: tuple[str, ...], starts: int) -> Outcome:
    gammas = tuple(0.5 + 0.4 * np.arange(starts) / max(starts, 1))
    grid = {"gamma": gammas} if starts > 1 else {"gamma": (0.7,)}
    return synthetic_study.study(methods=",".join(methods), starts=grid, seeds=2, points=2)


POINTS = 20
ABOUT = {
    "study": "0" * 64,
    "seconds": 2.0,
    "compile_seconds": 1.0,
    "begun_at_point": 0,
    "device": "cpu",
    "machine": "a machine",
    "versions": {"jax": "1"},
}


def measured(scores, *arguments, reward=False, missing=(), **ends):
    """A study in which every run of a method has the same score all along.

    Args:
      scores: method -> start -> run of that start -> score.
      arguments: of the study.
      reward: whether no episode has ended.
      missing: units.
      ends: method -> start -> gamma at the end.
    """
    settings = small("--methods", ",".join([*scores, "-outer"]), *arguments).settings
    rows = []
    for name, by_start in scores.items():
        starts = studies.starts(settings, name)
        run = 0
        for number, (start, runs) in enumerate(zip(starts, by_start, strict=True)):
            gamma = start.get("gamma", 0.99)
            for seed, score in enumerate(runs):
                for point in range(POINTS):
                    share = (point + 1) / POINTS
                    end = ends[name][number] if name in ends else gamma
                    rows.append(
                        {
                            "method": name,
                            "run": run,
                            "seed": seed,
                            "start_gamma": None if settings.methods[name].kind != "runs" else gamma,
                            "point": point,
                            "env_steps": 100 * (point + 1),
                            "return": None if reward else float(score),
                            "episodes": 0 if reward else 3,
                            "reward": float(score),
                            "solved_at": 500 if score >= 475 and point >= 4 else None,
                            "greedy": float(score) if point == POINTS - 1 else None,
                            "finite": not math.isnan(score),
                            "gamma": gamma + share * (end - gamma),
                            "lambda": 0.95,
                            "entropy": 0.01,
                            "critic": 0.5,
                        }
                    )
                run += 1
    origin = {"command": "python run.py study", "begun": "now", "code": "1"}
    table = pl.DataFrame(rows, infer_schema_length=None)
    about = {"none-0": ABOUT}
    return Measured(settings, origin, table, about, list(missing), known.asked(settings))


def study(*args, **kwargs):
    return outcome_of(measured(*args, **kwargs))


GOOD = [[495, 500, 490], [500, 498, 499]]
BAD = [[100, 120, 110], [499, 500, 498]]


OUTER = [[500, 499, 500, 498, 500]]
BAD5 = [[100, 120, 110, 90, 80], [499, 500, 498, 500, 500]]
GOOD5 = [[495, 500, 490, 492, 498], [500, 498, 499, 500, 500]]
HARMED5 = [[490, 495, 491, 492, 498], [430, 420, 440, 425, 435]]
