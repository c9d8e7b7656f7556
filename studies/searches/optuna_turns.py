"""What becomes of trials side by side at the end of an interval; none of it on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from selftuning.studies.searches import optuna_trials
from selftuning.studies.searches.optuna_trials import (
    COMPLETE,
    PRUNED,
    RUNNING,
    Rules,
    Space,
    Trials,
)
from selftuning.studies.searches.values import mean


class Course(NamedTuple):
    """What all searches have in common.

    Attributes:
      space: what is searched.
      rules: how Optuna is used.
      life: intervals of a trial that is not pruned.
      intervals: in which trials are made; then the best one has to go on.
    """

    space: Space
    rules: Rules
    life: int
    intervals: int


class Progress(NamedTuple):
    """How far R searches are, all in NumPy.

    Attributes:
      trials: all that there were.
      number: of the trial that is running, or was the last one, int32 [R].
      age: intervals that it has been through, int32 [R].
      total: sum of what its score is the mean of, in the interval that is running [R].
      weight: the number of its terms [R].
      best: the trial that goes on, or would do so now, int32 [R]; -1 for none yet.
      alone: whether it is going on, bool [R].
    """

    trials: Trials
    number: np.ndarray
    age: np.ndarray
    total: np.ndarray
    weight: np.ndarray
    best: np.ndarray
    alone: np.ndarray


class Turn(NamedTuple):
    """What becomes of the trials that run, each bool [R].

    Attributes:
      kept: it is the best one now.
      resumed: the best one goes on in its place.
      begun: another trial begins in its place.
    """

    kept: np.ndarray
    resumed: np.ndarray
    begun: np.ndarray


def nothing(searches: int, course: Course) -> Progress:
    """Before the first trials."""
    numbers, zeros = np.zeros(searches, np.int32), np.zeros(searches)
    # Were all of them pruned at the first look, there would be a trial an interval.
    trials = optuna_trials.empty(searches, course.intervals, len(course.space), course.life)
    return Progress(trials, numbers, numbers, zeros, zeros, numbers - 1, np.zeros(searches, bool))


def first(seeds: Sequence[int] | np.ndarray, course: Course) -> Progress:
    """The first trial of each search."""
    progress = nothing(len(seeds), course)
    for search in range(len(seeds)):
        _begin(progress, search, course, seeds)
    return progress


def turn(
    progress: Progress, done: int, course: Course, seeds: Sequence[int] | np.ndarray
) -> tuple[Progress, Turn]:
    """The end of an interval.

    Args:
      progress: with all that happened in it.
      done: intervals that are over, this one included.
      course: of the searches.
      seeds: of the searches [R].
    """
    trials = Trials(*(x.copy() for x in progress.trials))
    searches = np.arange(len(progress.number))
    old = progress.number
    before = trials.scores[searches, old, np.maximum(progress.age - 1, 0)]
    before = np.where(progress.age > 0, before, np.nan)
    known = progress.weight > 0
    score = np.where(known, mean(progress.total, progress.weight), before)

    run = np.flatnonzero(~progress.alone)
    trials.scores[run, old[run], progress.age[run]] = score[run]
    age = np.where(progress.alone, progress.age, progress.age + 1).astype(np.int32)
    whole = ~progress.alone & (age == course.life)
    pruned = ~progress.alone & ~whole
    for search in np.flatnonzero(pruned).tolist():
        one = trials.of(search), int(old[search])
        pruned[search] = optuna_trials.prunes(*one, course.space, course.rules)
    trials.state[whole, old[whole]] = COMPLETE
    trials.state[pruned, old[pruned]] = PRUNED

    best_score = trials.scores[searches, np.maximum(progress.best, 0), -1]
    better = (score > best_score) | (np.isnan(best_score) & ~np.isnan(score))
    kept = whole & (better | (progress.best < 0))
    room = course.intervals - done >= course.life
    begun, resumed = (whole | pruned) & room, (whole | pruned) & (not room)
    progress = Progress(
        trials,
        np.where(begun, old + 1, old).astype(np.int32),
        np.where(begun, 0, age).astype(np.int32),
        np.zeros(len(searches)),
        np.zeros(len(searches)),
        np.where(kept, old, progress.best).astype(np.int32),
        progress.alone | resumed,
    )
    for search in np.flatnonzero(begun).tolist():
        _begin(progress, search, course, seeds)
    return progress, Turn(kept, resumed, begun)


def positions(progress: Progress) -> np.ndarray:
    """Of the hyperparameters of the trials that run [R, D]."""
    return progress.trials.positions[np.arange(len(progress.number)), progress.number]


def _begin(
    progress: Progress, search: int, course: Course, seeds: Sequence[int] | np.ndarray
) -> None:
    """Writes the trial that begins now."""
    number, trials = int(progress.number[search]), progress.trials
    trials.positions[search, number] = optuna_trials.suggest(
        trials.of(search), number, course.space, course.rules, int(seeds[search])
    )
    trials.state[search, number] = RUNNING
