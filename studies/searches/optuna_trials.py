"""What Optuna is asked: values for the next trial, and whether a trial is worth its steps.

Trials are arrays of fixed shapes, from which an Optuna study is made anew for each question, with
a sampler of a seed of its own. An answer depends on nothing else, so that a search can be stopped
and gone on with anywhere.

Values are sampled by the tree-structured Parzen estimator (Bergstra et al. 2011) where they are on
the scale of their range (`studies.searches.ranges.position`). Trials are pruned by the median rule:
one whose best score so far is below the median of what others had at that moment ends. Successive
halving would need more trials than there are here: it promotes one of four.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

Space = Mapping[str, tuple[float, float]]  # least and largest position by name, in sorted order

RUNNING, COMPLETE, PRUNED = 1, 2, 3
_STATES = {RUNNING: TrialState.RUNNING, COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Trials(NamedTuple):
    """The trials of R searches, each of N at most, of D hyperparameters and I intervals.

    Attributes:
      positions: of their hyperparameters, in the order of their names [R, N, D].
      scores: at the end of each interval [R, N, I]; NaN for those to come, and while no episode
        has ended.
      state: `RUNNING`, `COMPLETE` or `PRUNED`; 0 for those to come [R, N].
    """

    positions: np.ndarray
    scores: np.ndarray
    state: np.ndarray

    def of(self, search: int) -> Trials:
        """Those of one search, [N, ...]."""
        return Trials(*(x[search] for x in self))


class Rules(NamedTuple):
    """How Optuna is used.

    Attributes:
      random: trials that are drawn at random first, and whole ones before any is pruned.
      warmup: intervals of a trial before it may be pruned.
    """

    random: int
    warmup: int


def rules_for(trials: int, intervals: int) -> Rules:
    """Half of the trials that there would be without pruning are random, at least 2.

    None is pruned in the first third of its life, so that slow learners have a chance.
    """
    return Rules(max(2, trials // 2), intervals // 3)


def empty(searches: int, trials: int, names: int, intervals: int) -> Trials:
    """No trials yet."""
    return Trials(
        np.zeros((searches, trials, names)),
        np.full((searches, trials, intervals), np.nan),
        np.zeros((searches, trials), np.int32),
    )


def suggest(trials: Trials, number: int, space: Space, rules: Rules, seed: int) -> np.ndarray:
    """Positions of the hyperparameters of the next trial of a search [D].

    Args:
      trials: of the search, [N, ...].
      number: of the trial.
      space: what is searched.
      rules: see there.
      seed: of the search.
    """
    seeded = np.random.SeedSequence([seed, number]).generate_state(1)[0]
    sampler = optuna.samplers.TPESampler(seed=int(seeded), n_startup_trials=rules.random)
    study = _study(trials, space, rules, sampler)
    asked = study.ask(_distributions(space))
    return np.array([asked.params[name] for name in space])


def prunes(trials: Trials, number: int, space: Space, rules: Rules) -> bool:
    """Whether a running trial of a search, by its scores so far, is to be ended."""
    study = _study(trials, space, rules, None)
    return study.pruner.prune(study, _frozen(trials, number, space))


def _study(
    trials: Trials, space: Space, rules: Rules, sampler: optuna.samplers.BaseSampler | None
) -> optuna.Study:
    """A study of all trials that have ended with a score."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=rules.random, n_warmup_steps=rules.warmup)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    ended = np.flatnonzero((trials.state == COMPLETE) | (trials.state == PRUNED))
    known = [n for n in ended if not np.isnan(trials.scores[n]).all()]
    study.add_trials([_frozen(trials, int(n), space) for n in known])
    return study


def _frozen(trials: Trials, number: int, space: Space) -> FrozenTrial:
    """A trial as Optuna keeps it; the value of a whole one is its last score."""
    scores, state = trials.scores[number], trials.state[number]
    known = {step: float(x) for step, x in enumerate(scores) if not np.isnan(x)}
    return optuna.trial.create_trial(
        state=_STATES[int(state)],
        value=float(scores[-1]) if state == COMPLETE else None,
        params=dict(zip(space, trials.positions[number].tolist(), strict=True)),
        distributions=_distributions(space),
        intermediate_values=known,
    )


def _distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    return {
        name: optuna.distributions.FloatDistribution(low, high)
        for name, (low, high) in space.items()
    }
