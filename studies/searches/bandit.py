"""Population-based bandits (PB2, Parker-Holder et al. 2020): how a population explores.

Members train, are compared and copied as in population-based training. Whoever copied another one
then gets hyperparameters that a Gaussian process, over time, score and hyperparameters of all
members so far, expects to improve the score most (an upper bound of it), in place of random ones.
The process and its choice are Ray Tune's, by the authors of the method. They see positions on the
scale of a range (`studies.searches.ranges.position`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pandas as pd
from ray.tune.schedulers import pb2

_FIXED = ("Trial", "Time", "Reward")  # columns of Ray's table, before those of hyperparameters


class History(NamedTuple):
    """What R searches of P members have shown in I intervals.

    Attributes:
      total: sum of what a score is the mean of, in the interval that is running [R, P].
      weight: the number of its terms [R, P].
      scores: at the end of each interval [R, I, P]; NaN where unknown.
      kept: scores of the agents that members went on with [R, I, P].
      entries: time and score at which Ray has a copy begin with what was chosen for it
        [R, I, P, 2]; NaN where nothing was, as nothing was known of whom it copied.
      positions: of hyperparameters during each interval, and those to come [R, I + 1, P, D].
      seeds: of the searches, int64 [R].
    """

    total: np.ndarray
    weight: np.ndarray
    scores: np.ndarray
    kept: np.ndarray
    entries: np.ndarray
    positions: np.ndarray
    seeds: np.ndarray


def no_history(searches: int, intervals: int, members: int, names: int) -> History:
    """Before the first cycle."""
    nothing = np.zeros((searches, members))
    unknown = np.full((searches, intervals, members), np.nan)
    positions = np.full((searches, intervals + 1, members, names), np.nan)
    entries = np.full((*unknown.shape, 2), np.nan)
    return History(nothing, nothing, unknown, unknown, entries, positions, np.zeros(searches, int))


def ended(history: History, interval: int, source: np.ndarray) -> History:
    """The end of an interval, after which members are what they were copied from.

    Args:
      history: with all of the interval in its sums.
      interval: which, counted from 0.
      source: whom each member was copied from [R, P], itself if it was not.
    """
    before = history.kept[:, interval - 1] if interval else np.full(source.shape, np.nan)
    known = history.weight > 0
    now = np.where(known, history.total / np.maximum(history.weight, 1), before)
    scores, kept, positions = (x.copy() for x in (history.scores, history.kept, history.positions))
    scores[:, interval] = now
    kept[:, interval] = np.take_along_axis(now, source, 1)
    at = positions[:, interval]
    positions[:, interval + 1] = np.take_along_axis(at, source[..., None], 1)
    nothing = np.zeros_like(history.total)
    return history._replace(
        total=nothing, weight=nothing, scores=scores, kept=kept, positions=positions
    )


def explored(history: History, interval: int, source: np.ndarray, ends: np.ndarray) -> History:
    """The same history, in which those that copied go on from positions that the bandit chooses.

    Args:
      history: after `ended`.
      interval: as there.
      source: as there.
      ends: least and largest positions [D, 2].
    """
    positions, entries = history.positions.copy(), history.entries.copy()
    bounds = {f"h{number}": tuple(map(float, pair)) for number, pair in enumerate(ends)}
    for search, seed in enumerate(history.seeds.tolist()):
        table, beside = _table(history, search, interval, [*bounds]), None
        for member in np.flatnonzero(source[search] != np.arange(source.shape[1])).tolist():
            base = int(source[search, member])
            config = dict(zip(bounds, history.positions[search, interval + 1, base], strict=True))
            config = {name: float(x) for name, x in config.items()}
            before = len(table)
            with _drawn_from(seed, interval, member):
                # Ray's own table goes on from choice to choice, as its scheduler does.
                config, table = pb2._explore(table, bounds, beside, str(base), str(member), config)
            if len(table) > before:
                entries[search, interval, member] = table[["Time", "Reward"]].iloc[-1]
            new = np.array([config[name] for name in bounds])
            positions[search, interval + 1, member] = new.clip(*ends.T)
            beside = new[None] if beside is None else np.concatenate([beside, new[None]])
    return history._replace(positions=positions, entries=entries)


def _table(history: History, search: int, last: int, names: list[str]) -> pd.DataFrame:
    """What Ray knows of a search: a row at the end of each interval, and one of each copy then."""
    rows: list[list[str | float]] = []
    for interval in range(last + 1):
        time = float(interval + 1)
        at, after = history.positions[search, interval : interval + 2]
        ends, entries = history.scores[search, interval], history.entries[search, interval]
        rows += [[str(n), time, end, *at[n]] for n, end in enumerate(ends)]
        copies = np.flatnonzero(np.isfinite(entries[:, 0])).tolist()
        rows += [[str(n), *entries[n], *after[n]] for n in copies]
    table = pd.DataFrame(rows, columns=[*_FIXED, *names])
    return table[np.isfinite(table["Reward"])].reset_index(drop=True)


@contextmanager
def _drawn_from(*seed: int) -> Iterator[None]:
    """Inside, NumPy's global generator, which Ray draws from, has a seed of its own."""
    state = np.random.get_state()  # noqa: NPY002 (Ray's)
    np.random.seed(np.random.SeedSequence(seed).generate_state(4))  # noqa: NPY002 (Ray's)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a process of few points is at its bounds
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002 (Ray's)
