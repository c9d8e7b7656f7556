"""A study by method: the arrays that statistics and pictures are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from selftuning.configs import studies
from selftuning.configs.studies import StudySettings
from selftuning.studies.same_runs import Same, same_runs
from selftuning.studies.study_files import Measured
from selftuning.studies.table import START, varied
from selftuning.training.metrics import last_tenth

_CURVE = 100  # points of a curve at most; more are averaged

# By which runs are judged: their returns, or, if in some run no episode has ended, their rewards.
RETURN, REWARD = "return", "reward"
ENV = "env"  # in a start: on which environment, of contestants on several
_BEST, BEST_START = "best of ", ", best start"  # in name and label of a start that was chosen


Stratum = dict[str, Any]  # values by name of a start, and under `ENV` an environment


class Contestant(NamedTuple):
    """A method that has run from S starts, N_s runs of each.

    A search has one start that names nothing.

    Attributes:
      name: key of `StudySettings.methods`.
      label: in words.
      kind: of the method.
      tuned: hyperparameters that it moves.
      starts: values of the hyperparameters that starts differ in [S].
      seeds: of the runs, [N_s] for each start.
      steps: environment steps at each point [P].
      curves: score since the last point, [N_s, P] for each start.
      paths: hyperparameters after each point, by name, [N_s, P] for each start.
      greedy: mean return of the greedy policy at the end, NaN if unknown, [N_s] for each start.
      solved_at: environment steps, NaN if it never was, [N_s] for each start.
      diverged: whether parameters became NaN or infinite, [N_s] for each start.
      ends: scores in the last tenth where curves do not say them, [N_s] for each start.
    """

    name: str
    label: str
    kind: str
    tuned: tuple[str, ...]
    starts: list[Stratum]
    seeds: list[np.ndarray]
    steps: np.ndarray
    curves: list[np.ndarray]
    paths: dict[str, list[np.ndarray]]
    greedy: list[np.ndarray]
    solved_at: list[np.ndarray]
    diverged: list[np.ndarray]
    ends: list[np.ndarray] | None = None

    @property
    def last(self) -> list[np.ndarray]:
        """Score of each run in its last tenth, [N_s] for each start."""
        if self.ends is not None:
            return self.ends
        return [last_tenth(curve).mean(1) for curve in self.curves]

    @property
    def whole(self) -> list[np.ndarray]:
        """Score of each run over all of its environment steps, [N_s] for each start."""
        return [curve.mean(1) for curve in self.curves]

    @property
    def searched(self) -> bool:
        """Whether it is a search, which has no starts of its own."""
        return self.kind != "runs"

    @property
    def tunes(self) -> bool:
        """Whether its runs tune themselves."""
        return bool(self.tuned) and not self.searched

    @property
    def fixed(self) -> bool:
        """Whether its hyperparameters stay what they were at the start."""
        return not self.tuned and not self.searched

    @property
    def chosen(self) -> bool:
        """Whether it is the best start of another contestant."""
        return self.name.startswith(_BEST)

    @property
    def runs(self) -> int:
        """Runs, or searches."""
        return sum(len(curve) for curve in self.curves)


def measure_of(table: pl.DataFrame) -> str:
    """By what the runs of a study are judged, `RETURN` or `REWARD`.

    Runs that died say nothing of it, unless all did: they may have had no time to end an episode.
    """
    of_run = table.group_by("method", "run").agg(
        ended=pl.col("episodes").sum() > 0, lives=pl.col("finite").all()
    )
    judges = of_run.filter("lives") if of_run["lives"].any() else of_run
    return RETURN if judges["ended"].all() else REWARD


def contestants(measured: Measured) -> list[Contestant]:
    """All methods of a study of which something has run, in its order.

    A method whose runs are some of those of another one has these. One whose runs are all of those
    of another is not there a second time.
    """
    settings, measure = measured.settings, measure_of(measured.table)
    lowest = lowest_of(measured.table, measure)
    have_run = {
        name: _contestant(settings, name, rows, measure, lowest)
        for name in settings.methods
        if (rows := measured.table.filter(pl.col("method") == name)).height
    }
    for name, same in same_runs(settings).items():
        if name not in have_run and same.method in have_run and not same.all_of_it:
            label = settings.methods[name].label
            if found := _same(have_run[same.method], name, label, settings, same):
                have_run[name] = found
    return [have_run[name] for name in settings.methods if name in have_run]


class Lowest(NamedTuple):
    """What runs have from the point on at which they died: the least that any run has shown.

    Attributes:
      score: of all points of all runs.
      greedy: mean return of a greedy policy.
    """

    score: float
    greedy: float


def lowest_of(table: pl.DataFrame, measure: str) -> Lowest:
    """The lowest scores of a study; 0 where none is known of any run."""

    def least(*columns: str) -> float:
        known = [table[column].cast(pl.Float64).fill_null(np.nan).to_numpy() for column in columns]
        values = np.concatenate(known)
        return float(np.min(values, where=np.isfinite(values), initial=np.inf))

    score, greedy = least(measure), least("greedy", RETURN)
    return Lowest(*(x if math.isfinite(x) else 0.0 for x in (score, greedy)))


def picked(one: Contestant, which: Sequence[int], name: str, label: str) -> Contestant:
    """Some of the starts of a contestant, as one of its own."""

    def some(values: list) -> list:
        return [values[number] for number in which]

    return one._replace(
        name=name,
        label=label,
        starts=some(one.starts),
        seeds=some(one.seeds),
        curves=some(one.curves),
        paths={key: some(runs) for key, runs in one.paths.items()},
        greedy=some(one.greedy),
        solved_at=some(one.solved_at),
        diverged=some(one.diverged),
        ends=None if one.ends is None else some(one.ends),
    )


def best_fixed_start(one: Contestant) -> Contestant | None:
    """The start of an untuned method that ends best, as a contestant of its own.

    It is chosen by the very runs that it is shown with, which is in its favour. None if there is
    but one start.
    """
    if len(one.starts) < 2:
        return None
    best = int(np.argmax([score.mean() for score in one.last]))
    label = f"{one.label}{BEST_START} ({in_words(one.starts[best])})"
    return picked(one, [best], f"{_BEST}{one.name}", label)


def by_seed(one: Contestant, scores: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Seeds [N] of which there is a run from every start, and what these have [S, N, ...].

    These are all seeds, unless the study has not finished.

    Args:
      one: the contestant.
      scores: something of its runs, [N_s, ...] for each start.
    """
    shared = reduce(np.intersect1d, one.seeds)
    pairs = zip(scores, one.seeds, strict=True)
    return shared, np.stack([values[np.isin(seeds, shared)] for values, seeds in pairs])


def in_words(start: Mapping[str, Any]) -> str:
    """A start as text."""
    return ", ".join(x if name == ENV else f"{name} {x:g}" for name, x in start.items())


def curve_of(one: Contestant) -> tuple[np.ndarray, list[np.ndarray]]:
    """Steps and curves with at most 100 points, of which each is the mean of what is left out."""
    groups = _groups(one)
    curves = [np.stack([x[:, group].mean(1) for group in groups], 1) for x in one.curves]
    return one.steps[[group[-1] for group in groups]], curves


def thinned(one: Contestant, paths: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Steps and values [N_s, P] with at most 100 points, the last ones of each group."""
    ends = [group[-1] for group in _groups(one)]
    return one.steps[ends], [values[:, ends] for values in paths]


def _groups(one: Contestant) -> list[np.ndarray]:
    return np.array_split(np.arange(len(one.steps)), min(len(one.steps), _CURVE))


def _contestant(
    settings: StudySettings, name: str, rows: pl.DataFrame, measure: str, lowest: Lowest
) -> Contestant:
    run = studies.run_settings(settings, name)
    method = settings.methods[name]
    keys = [START + key for key in varied(settings)] if method.kind == "runs" else []
    keys = [key for key in keys if rows[key].null_count() == 0]
    groups = rows.partition_by(keys, maintain_order=True) if keys else [rows]
    tuning = run.tuning.method != "none" or method.kind != "runs"
    tuned = tuple(key for key, spec in run.in_use.items() if spec.tuned and tuning)
    return Contestant(
        name=name,
        label=method.label,
        kind=method.kind,
        tuned=tuned,
        starts=[{key.removeprefix(START): group[key][0] for key in keys} for group in groups],
        steps=rows.filter(pl.col("run") == rows["run"][0])["env_steps"].to_numpy(),
        seeds=[_by_run(group, "seed")[:, 0].astype(int) for group in groups],
        curves=[_scores(group, measure, lowest.score) for group in groups],
        paths={key: [_by_run(group, key) for group in groups] for key in tuned},
        greedy=[
            np.where(_dead(group)[:, -1], lowest.greedy, _by_run(group, "greedy")[:, -1])
            for group in groups
        ],
        solved_at=[_by_run(group, "solved_at")[:, -1] for group in groups],
        diverged=[_dead(group)[:, -1] for group in groups],
    )


def _same(
    one: Contestant, name: str, label: str, settings: StudySettings, same: Same
) -> Contestant | None:
    """The starts of a contestant that are another method; None if they have not run."""
    every = studies.starts(settings, one.name)
    asked = [every[number].items() for number in same.starts]
    which = [n for start in asked for n, has in enumerate(one.starts) if start <= has.items()]
    return picked(one, which, name, label) if len(which) == len(asked) else None


def _dead(rows: pl.DataFrame) -> np.ndarray:
    """Whether parameters are not finite after each point, bool [N, P]."""
    return _by_run(rows, "finite") == 0


def _scores(rows: pl.DataFrame, measure: str, lowest: float) -> np.ndarray:
    """The score of runs since the last point [N, P]; the lowest from where they died.

    So has a point at which episodes ended with a return that is no number. One at which none ended
    has the score of the point before.
    """
    scores = _by_run(rows, measure)
    bad = _dead(rows) | (np.isnan(scores) & ((_by_run(rows, "episodes") > 0) | (measure == REWARD)))
    filled = _filled(np.where(bad, lowest, scores))
    return np.where(np.isnan(filled), lowest, filled)


def _by_run(rows: pl.DataFrame, column: str) -> np.ndarray:
    """A column as [N, P] float64, NaN for null."""
    values = rows[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return values.reshape(rows["run"].n_unique(), -1)


def _filled(curves: np.ndarray) -> np.ndarray:
    """Curves [N, P] in which a point without episodes has the value before it.

    Before the first episode has ended it has that of the first: nothing is known there, and a zero
    would be a claim.
    """
    known = ~np.isnan(curves)
    latest = np.maximum.accumulate(np.where(known, np.arange(curves.shape[1]), -1), axis=1)
    index = np.where(latest < 0, known.argmax(1)[:, None], latest)
    return np.take_along_axis(curves, index, 1)
