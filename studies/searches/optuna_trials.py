"""What Optuna is asked and told: which trials run, and what becomes of them.

Values are sampled by the tree-structured Parzen estimator (Bergstra et al. 2011) where they are on
the scale of their range (`studies.searches.ranges.position`). Trials are pruned by the median rule:
one whose best score so far is below the median of what others had at that moment ends. Successive
halving would need more trials than there are here: it promotes one of four.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Course(NamedTuple):
    """What all searches have in common.

    Attributes:
      space: least and largest position of each hyperparameter, in the order of their names.
      life: intervals of a trial that is not pruned.
      intervals: in which trials are made; then the best one has to go on.
      random: trials that are drawn at random first, and whole ones before any is pruned.
      warmup: intervals of a trial before it may be pruned.
    """

    space: Mapping[str, tuple[float, float]]
    life: int
    intervals: int
    random: int
    warmup: int


def course_of(
    space: Mapping[str, tuple[float, float]], members: int, life: int, intervals: int
) -> Course:
    """Half of the trials that there would be without pruning are random, at least 2.

    None is pruned in the first third of its life, so that slow learners have a chance.
    """
    return Course(space, life, intervals, max(2, members // 2), life // 3)


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


_ON = (False, False, False)  # what a Turn has of a trial that goes on
DIED = -math.inf  # the score of a trial whose parameters, or whose returns, are no numbers any more


class Search:
    """One search, which makes one trial after the other.

    Attributes:
      study: Optuna's, of all trials.
      trial: the one that runs, or was the last one.
      best: number of the trial that goes on, or would do so now; -1 for none yet.
      alone: whether it is going on.
    """

    def __init__(self, course: Course, seed: int) -> None:
        self.best, self.alone = -1, False
        self._course, self._seed = course, seed
        self._done, self._age, self._score, self._best_score = 0, 0, math.nan, -math.inf
        pruner = optuna.pruners.MedianPruner(course.random, course.warmup)
        self.study = optuna.create_study(direction="maximize", pruner=pruner)
        self._ask(0)

    def turn(self, score: float) -> tuple[bool, bool, bool]:
        """The end of an interval, and what a `Turn` says of it.

        Args:
          score: in it; NaN if no episode has ended, which leaves the trial the score that it had,
            and `DIED` if the trial did, which makes room for another one.
        """
        self._done += 1
        if self.alone:
            return _ON
        trial, course = self.trial, self._course
        self._score = score = self._score if math.isnan(score) else score
        known = math.isfinite(score)
        if known:
            trial.report(score, self._age)
        self._age += 1
        died, whole = score == DIED, self._age == course.life
        if not whole and not died and not trial.should_prune():
            return _ON
        kept = whole and not died and (self.best < 0 or score > self._best_score)
        if kept:
            self.best, self._best_score = trial.number, score if known else DIED
        if whole and known:
            self.study.tell(trial, score)
        else:  # nothing can be learned from a trial of which nothing is known
            self.study.tell(trial, state=TrialState.PRUNED if known else TrialState.FAIL)
        if course.intervals - self._done < course.life:
            self.alone = True
            return kept, True, False
        self._ask(trial.number + 1)
        return kept, False, True

    def _ask(self, number: int) -> None:
        """Begins a trial, for which a sampler of a seed of its own chooses."""
        (seed,) = np.random.SeedSequence([self._seed, number]).generate_state(1).tolist()
        random = self._course.random
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=random)
        space = {name: FloatDistribution(*ends) for name, ends in self._course.space.items()}
        self.trial = self.study.ask(space)
        self._age, self._score = 0, math.nan


class Searches:
    """R searches in lock-step, which are where the scores that they were told have led them.

    Scores and seeds are all there is to them: told the same scores, they make the same trials. A
    checkpoint therefore keeps those alone, and searches that begin anew listen to them again.
    """

    def __init__(self, course: Course) -> None:
        self._course = course
        self._seeds, self._told = np.zeros(0, int), np.zeros((0, 0))
        self.each: list[Search] = []

    def turn(self, seeds: Sequence[int] | np.ndarray, scores: np.ndarray) -> Turn:
        """Brings the searches to the end of an interval.

        Args:
          seeds: of the searches [R].
          scores: in all intervals that are over, the last one included [R, N]; NaN where no
            episode has ended, `DIED` where the trial did.

        Returns:
          What becomes of the trials that ran in the last interval [R].
        """
        known = self._told.shape[1]
        if not (
            np.array_equal(seeds, self._seeds)
            and np.array_equal(scores[:, :known], self._told, equal_nan=True)
        ):
            known, self._seeds = 0, np.array(seeds)
            self.each = [Search(self._course, int(seed)) for seed in seeds]
        self._told = scores.copy()
        turns = [_ON] * len(self.each)
        for column in scores.T[known:].tolist():
            turns = [one.turn(score) for one, score in zip(self.each, column, strict=True)]
        return Turn(*np.array(turns, bool).T)

    @property
    def numbers(self) -> np.ndarray:
        """Of the trials that run, int32 [R]."""
        return np.array([one.trial.number for one in self.each], np.int32)

    @property
    def positions(self) -> np.ndarray:
        """Of the hyperparameters of the trials that run [R, D]."""
        return np.array(
            [[one.trial.params[name] for name in self._course.space] for one in self.each]
        )

    @property
    def wait(self) -> np.ndarray:
        """Whether the best trial of a search waits while another one runs, bool [R]."""
        return np.array([one.best >= 0 and not one.alone for one in self.each])
