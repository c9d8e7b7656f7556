"""One search as pure functions: members side by side, compared from time to time.

A *search* is one population, and is what there is one of for each seed. Its members run with
tuning off, and hyperparameters are traced values, so that any number of members and searches are
one vmapped program. Everything is chosen by what training showed before.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from selftuning.agents.self_tuning import SelfTuningAgent
from selftuning.configs.searches import SearchSettings
from selftuning.configs.settings import RunSettings
from selftuning.envs.task import GraphTask
from selftuning.studies import measures
from selftuning.studies.measures import Cycles
from selftuning.studies.searches.ranges import Ranges, draw, perturb
from selftuning.training.runner import TrainState, graph_cycle


class SearchState(NamedTuple):
    """One search of P members.

    Attributes:
      members: leaves [P, ...].
      total: sum of what fitness is the mean of, in the interval that is running [P].
      weight: the number of its terms [P].
      score: fitness of the last interval that had any [P]; NaN if none had.
      best: the member of the highest score, int32 []; -1 while no score is known.
      key: of exploit and explore.
    """

    members: TrainState
    total: jax.Array
    weight: jax.Array
    score: jax.Array
    best: jax.Array
    key: jax.Array


class Row(NamedTuple):
    """One cycle of one search.

    Attributes:
      cycles: what happened in it, leaves [P]; hyperparameters are those that it was made with.
      best: the member of the highest score before this cycle [].
      source: whom each member was copied from after it [P]; itself if it was not.
    """

    cycles: Cycles
    best: Any
    source: Any


def make_search(
    task: GraphTask,
    agent: SelfTuningAgent,
    settings: RunSettings,
    search: SearchSettings,
    ranges: Ranges,
):
    """Pure (init, update) of one search, to be vmapped over searches.

    `init` is (key, keys of members [P, 2], start values by name [P]) -> SearchState. `update` is
    (state, whether an interval ends with this cycle) -> (state, Row); that flag should not be
    vmapped, so that members are compared only when it is true.
    """
    begin, cycle = graph_cycle(task, agent, settings)
    summed = partial(measures.summed, ends=task.spec.reward_threshold is not None)

    def init(key, member_keys, starts):
        nothing = jnp.zeros(len(member_keys))
        unknown = jnp.full(len(member_keys), jnp.nan)
        members = jax.vmap(begin)(member_keys, starts)
        return SearchState(members, nothing, nothing, unknown, jnp.int32(-1), key)

    def update(state, due):
        members, metrics = jax.vmap(cycle, (0, None))(state.members, None)
        cycles: Cycles = jax.vmap(summed)(metrics)
        best, itself = state.best, jnp.arange(len(state.score))
        if search.fitness == "return":
            more, terms = cycles.total, cycles.episodes
        else:
            more, terms = cycles.reward, jnp.ones_like(cycles.reward)
        state = state._replace(
            members=members, total=state.total + more, weight=state.weight + terms
        )
        state, source = jax.lax.cond(
            due, lambda s: compare(s, ranges, search), lambda s: (s, itself), state
        )
        return state, Row(cycles, best, source)

    return init, update


def compare(
    state: SearchState, ranges: Ranges, search: SearchSettings
) -> tuple[SearchState, jax.Array]:
    """The end of an interval: scores, the best member, exploit and explore.

    Returns:
      The state, and whom each member was copied from [P]. The best member is never replaced.
    """
    score = jnp.where(state.weight > 0, state.total / jnp.maximum(state.weight, 1.0), state.score)
    top = jnp.argmax(jnp.where(jnp.isnan(score), -jnp.inf, score)).astype(jnp.int32)
    best = jnp.where(jnp.isnan(score).all(), -1, top)
    nothing = jnp.zeros_like(score)
    state = state._replace(total=nothing, weight=nothing, score=score, best=best)
    itself = jnp.arange(len(score))
    if not search.exploit:
        return state, itself
    key, key_exploit, key_explore = jax.random.split(state.key, 3)
    source = exploit(key_exploit, score, search.fraction)
    members = copy(state.members, source)
    if search.explore:
        values = hyperparameters(members)
        values = explore(key_explore, values, source != itself, ranges, search)
        members = with_hyperparameters(members, values)
    return state._replace(members=members, score=score[source], key=key), source


def exploit(key: jax.Array, score: jax.Array, fraction: float) -> jax.Array:
    """Truncation selection: whom each member is to copy [P], itself if nobody.

    Of the members whose score [P] is not NaN, the worst part copies members of the best one,
    drawn uniformly. Both have as many members, rounded down.
    """
    order = jnp.argsort(score)  # NaN last
    rank = jnp.argsort(order)
    known = jnp.sum(~jnp.isnan(score))
    count = jnp.floor(fraction * known + 1e-4).astype(int)
    pick = known - count + jax.random.randint(key, score.shape, 0, jnp.maximum(count, 1))
    return jnp.where(rank < count, order[pick], jnp.arange(len(score)))


def copy(members: TrainState, source: jax.Array) -> TrainState:
    """Members with the agents of others: parameters, optimiser and hyperparameters.

    Each keeps its own environments and random numbers.
    """
    return members._replace(agent=jax.tree.map(lambda x: x[source], members.agent))


def explore(
    key: jax.Array,
    values: Mapping[str, jax.Array],
    where: jax.Array,
    ranges: Ranges,
    search: SearchSettings,
) -> dict[str, jax.Array]:
    """Values by name, changed `where` [P] is true; each is perturbed or drawn anew.

    They are [P], or [P, H] for heads, which then go ways of their own.
    """
    result = dict(values)
    for number, (name, space) in enumerate(sorted(ranges.items())):
        up, anew, drawn = jax.random.split(jax.random.fold_in(key, number), 3)
        old = values[name]
        factor = jnp.where(
            jax.random.bernoulli(up, 0.5, old.shape), search.factor, 1 / search.factor
        )
        fresh = jax.random.bernoulli(anew, search.resample, old.shape)
        new = jnp.where(fresh, draw(drawn, space, old.shape), perturb(old, factor, space))
        moved = where.reshape(where.shape + (1,) * (old.ndim - 1))
        result[name] = jnp.where(moved, new, old)
    return result


def hyperparameters(members: TrainState) -> dict[str, jax.Array]:
    """Hyperparameters of members whose tuning is off, by name [P] or [P, H]."""
    return members.agent.learner.values.fixed


def with_hyperparameters(members: TrainState, values: dict[str, jax.Array]) -> TrainState:
    """Members with other hyperparameters and nothing else changed."""
    agent = members.agent
    held = agent.learner.values._replace(fixed=values)
    return members._replace(agent=agent._replace(learner=agent.learner._replace(values=held)))


def keep_best(state: SearchState) -> SearchState:
    """A search that goes on with its best member alone, P = 1; the first if none is known."""
    best = jnp.maximum(state.best, 0)
    members, score = jax.tree.map(lambda x: x[best][None], (state.members, state.score))
    nothing = jnp.zeros(1)
    return SearchState(members, nothing, nothing, score, jnp.int32(0), state.key)
