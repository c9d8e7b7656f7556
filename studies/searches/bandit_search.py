"""Population-based bandits as a unit of a study: a population whose copies `bandit` moves on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from selftuning.configs.searches import SearchSettings
from selftuning.studies.plan import Unit
from selftuning.studies.programs import Program
from selftuning.studies.searches import bandit, ranges, search_plan, search_programs
from selftuning.studies.searches.bandit import History
from selftuning.studies.searches.ranges import Ranges
from selftuning.studies.searches.search import (
    Row,
    SearchState,
    hyperparameters,
    with_hyperparameters,
)
from selftuning.studies.searches.search_plan import Part, Stage
from selftuning.studies.searches.search_programs import Explorer


def make(unit: Unit) -> Program:
    """Builds and compiles R searches side by side; see `search_programs.make`."""
    return search_programs.make(unit, explorer)


def explorer(spaces: Ranges, stage: Stage, search: SearchSettings, searches: int) -> Explorer:
    """What explores by a bandit.

    Args:
      spaces: what is searched.
      stage: the only one.
      search: how members are compared.
      searches: R.
    """
    looks = [n for n in range(1, stage.cycles + 1) if search_plan.is_look(stage, n)]
    names = sorted(spaces)
    ends = np.array([[float(end) for end in ranges.ends(spaces[name])] for name in names])
    empty = bandit.no_history(searches, len(looks), stage.members, len(names))

    def positions(state: SearchState) -> np.ndarray:
        """Of hyperparameters [R, P, D]; those of the first head where there are several."""
        values = hyperparameters(state.members)
        each = [ranges.position(spaces[name], _first_head(values[name])) for name in names]
        return np.stack([np.asarray(x, np.float64) for x in each], -1)

    @jax.jit
    def moved(state: SearchState, where: jax.Array, to: jax.Array) -> SearchState:
        """Members [R, P] at other positions, where they are to be; all heads alike."""
        values = dict(hyperparameters(state.members))
        for number, name in enumerate(names):
            old = values[name]
            rest = (1,) * (old.ndim - 2)
            new = ranges.at(spaces[name], to[..., number]).reshape(*where.shape, *rest)
            values[name] = jnp.where(where.reshape(*where.shape, *rest), new, old)
        return state._replace(members=with_hyperparameters(state.members, values))

    def begin(state: SearchState, seeds: Sequence[int]) -> History:
        at = empty.positions.copy()
        at[:, 0] = positions(state)
        return empty._replace(positions=at, seeds=np.array(seeds))

    def follow(
        state: SearchState, history: History, row: Row, part: Part
    ) -> tuple[SearchState, History]:
        total, weight = row.cycles.total, row.cycles.episodes
        if search.fitness == "reward":
            total, weight = row.cycles.reward, np.ones_like(row.cycles.reward)
        history = history._replace(
            total=history.total + total.sum(0, dtype=np.float64),
            weight=history.weight + weight.sum(0, dtype=np.float64),
        )
        done = part.first + part.cycles
        if done not in looks:
            return state, history
        interval, source = looks.index(done), np.asarray(row.source)[-1]
        history = bandit.ended(history, interval, source)
        copied = source != np.arange(stage.members)
        if not search.explore or done == stage.cycles or not copied.any():
            return state, history
        history = bandit.explored(history, interval, source, ends)
        to = jnp.asarray(history.positions[:, interval + 1], float)
        return moved(state, jnp.asarray(copied), to), history

    return Explorer(begin, follow, empty)


def _first_head(values: Any) -> Any:
    """Values [R, P] of [R, P] or [R, P, H]."""
    return values[..., 0] if values.ndim > 2 else values
