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
from selftuning.training.divergence import all_finite
from selftuning.training.runner import TrainState, graph_cycle

DIED = -jnp.inf


class SearchState(NamedTuple):
    """One search of P members.

    Attributes:
      members: leaves [P, ...].
      total: sum of what fitness is the mean of, in the interval that is running [P].
      weight: the number of its terms [P].
      score: fitness of the last interval that had any [P]; NaN if none had, `DIED` of members
        whose parameters, or whose returns, are no numbers any more.
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
        state, source = jax.lax.cond(due, looked_at, lambda s: (s, itself), state)
        return state, Row(cycles, best, source)

    def looked_at(state):
        alive = jax.vmap(lambda one: all_finite(agent.params(one)))(state.members.agent)
        return compare(state, ranges, search, alive)

    return init, update


def compare(
    state: SearchState,
    ranges: Ranges,
    search: SearchSettings,
    alive: jax.Array | bool = True,
) -> tuple[SearchState, jax.Array]:
    """The end of an interval: scores, the best member, exploit and explore.

    Args:
      state: at its end.
      ranges: what is searched.
      search: how.
      alive: whether the parameters of members are finite [P].

    Returns:
      The state, and whom each member was copied from [P]. The best member is never replaced.
    """
    judged = state.weight > 0
    score = jnp.where(judged, state.total / jnp.maximum(state.weight, 1.0), state.score)
    score = jnp.where(~jnp.asarray(alive) | (judged & ~jnp.isfinite(score)), DIED, score)
    top = jnp.argmax(jnp.where(jnp.isnan(score), DIED, score)).astype(jnp.int32)
    best = jnp.where(jnp.isfinite(score).any(), top, -1)
    nothing = jnp.zeros_like(score)
    state = state._replace(total=nothing, weight=nothing, score=score, best=best)
    itself = jnp.arange(len(score))
    if not search.exploit:
        return state, itself
    key, key_exploit, key_explore = jax.random.split(state.key, 3)
    source = exploit(key_exploit, score, search.fraction)
    members = copy(state.members, source, jnp.isneginf(score))
    if search.explore:
        values = hyperparameters(members)
        values = explore(key_explore, values, source != itself, ranges, search)
        members = with_hyperparameters(members, values)
    return state._replace(members=members, score=score[source], key=key), source


def exploit(key: jax.Array, score: jax.Array, fraction: float) -> jax.Array:
    """Truncation selection: whom each member is to copy [P], itself if nobody.

    Of the members whose score [P] is not NaN, the worst part copies members of the best one,
    drawn uniformly. Both have as many members, rounded down. All that died are among the worst,
    and copy the best one at least, unless nobody is left.
    """
    order = jnp.argsort(score)  # those that died first, NaN last
    rank = jnp.argsort(order)
    known, died = jnp.sum(~jnp.isnan(score)), jnp.sum(jnp.isneginf(score))
    count = jnp.floor(fraction * known + 1e-4).astype(int)
    left = known - died
    worst = jnp.where(left > 0, jnp.maximum(count, died), 0)
    best = jnp.clip(count, 1, jnp.maximum(left, 1))
    pick = known - best + jax.random.randint(key, score.shape, 0, best)
    return jnp.where(rank < worst, order[pick], jnp.arange(len(score)))


def copy(members: TrainState, source: jax.Array, died: jax.Array) -> TrainState:
    """Members with the agents of others: parameters, optimiser and hyperparameters.

    Each keeps its own environments and random numbers, but for those that died [P]: what they did
    may have left numbers that are none in their environments, so they go on in those of others.
    """

    def others(x):
        return x[source]

    def of_the_dead(x):
        return jnp.where(died.reshape(-1, *[1] * (x.ndim - 1)), x[source], x)

    agent = jax.tree.map(others, members.agent)
    env, observation, actor = jax.tree.map(
        of_the_dead, (members.env, members.observation, members.actor)
    )
    return members._replace(agent=agent, env=env, observation=observation, actor=actor)


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
