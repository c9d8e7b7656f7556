"""Random search and population-based training as stages, in each of which some members run.

Searches are vmapped and sharded, and each stage is one compiled program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from selftuning.configs.searches import SearchSettings
from selftuning.configs.settings import RunSettings
from selftuning.configs.studies import Start
from selftuning.studies import vmapped
from selftuning.studies.searches.ranges import Ranges, check_ranges, draw, ranges_of
from selftuning.studies.searches.search import Row, SearchState, keep_best, make_search
from selftuning.studies.searches.search_plan import Stage


class Engine(NamedTuple):
    """R searches, compiled.

    Attributes:
      stages: which.
      shapes: of the state in each stage, leaves [R, P, ...].
      begin: (seeds [R], start values by name [R, P]) -> state.
      advance: (state, number of the stage, first, count) -> (state, rows) of `count` of its
        cycles from `first`. It consumes the state; rows are in NumPy, leaves [count, R, ...].
      keep: state at the end of a stage -> state at the beginning of the next.
    """

    stages: Sequence[Stage]
    shapes: Sequence[SearchState]
    begin: Callable[..., SearchState]
    advance: Callable[..., tuple[SearchState, Row]]
    keep: Callable[[SearchState], SearchState]


def prepared(settings: RunSettings, ranges: Ranges | None = None) -> tuple[RunSettings, Ranges]:
    """Settings with tuning off, and ranges that were checked.

    Raises:
      ConfigError: if a range cannot be searched.
    """
    ranges = ranges_of(settings) if ranges is None else ranges
    check_ranges(settings, ranges)
    return replace(settings, tuning=replace(settings.tuning, method="none")), ranges


def make(
    settings: RunSettings,
    search: SearchSettings,
    ranges: Ranges,
    searches: int,
    stages: Sequence[Stage],
    chunks: Sequence[int],
) -> Engine:
    """Compiles R searches.

    Args:
      settings: of every member, with tuning off.
      search: how members are compared, and what follows from it.
      ranges: what is searched.
      searches: R.
      stages: of each.
      chunks: cycles of each stage that are asked for at a time, at most.

    Raises:
      ConfigError: if the environment cannot be stepped in-graph.
    """
    init, update = make_search(*vmapped.task_and_agent(settings), settings, search, ranges)
    begin_all = jax.jit(jax.vmap(init))
    keep = jax.jit(jax.vmap(keep_best))
    first = (searches, stages[0].members)
    values = jax.eval_shape(lambda: vmapped.start_values(settings, [{}] * math.prod(first)))
    shapes = [
        jax.eval_shape(
            begin_all,
            jax.ShapeDtypeStruct((searches, 2), jnp.uint32),
            jax.ShapeDtypeStruct((*first, 2), jnp.uint32),
            {name: jax.ShapeDtypeStruct(first, x.dtype) for name, x in values.items()},
        )
    ]
    shapes += [jax.eval_shape(keep, shapes[0]) for _ in stages[1:]]
    compiled = [
        vmapped.compile_steps(_step(update, stage), shape, chunk)
        for stage, shape, chunk in zip(stages, shapes, chunks, strict=True)
    ]

    def begin(seeds, starts):
        keys = jnp.stack([jax.random.fold_in(jax.random.PRNGKey(seed), 2) for seed in seeds])
        each = [jax.random.PRNGKey(seed) for seed in member_seeds(seeds, search.members)]
        return begin_all(keys, jnp.stack(each).reshape(*first, -1), starts)

    def advance(state, stage, first, count):
        return compiled[stage](vmapped.sharded(state), first, count)

    return Engine(stages, shapes, begin, advance, keep)


def _step(update: Callable[..., Any], stage: Stage) -> Callable[..., Any]:
    """One cycle of searches side by side, by its number in the stage."""

    def step(state, number):
        # The first interval is the longer one, so that the last one ends with the last cycle.
        due = jnp.asarray(False)
        if stage.interval:
            due = (stage.cycles - 1 - number) % stage.interval == 0
            due &= number + 1 >= stage.interval
        return jax.vmap(update, (0, None))(state, due)

    return step


def member_seeds(seeds: Sequence[int], members: int) -> list[int]:
    """Seeds of the members of searches [R * P]: a member is the run of that seed."""
    return [seed * members + member for seed in seeds for member in range(members)]


def start_members(
    settings: RunSettings,
    seeds: Sequence[int],
    members: int,
    ranges: Ranges,
    starts: Sequence[Start] = (),
) -> dict[str, jax.Array]:
    """Start values by name [R, P]: those given [P], or else random ones."""
    shape = (len(seeds), members)
    each = [*starts] * len(seeds) if starts else [{}] * math.prod(shape)
    values = vmapped.start_values(settings, each)
    drawn = {}
    if not starts:
        keys = jnp.stack([jax.random.fold_in(jax.random.PRNGKey(seed), 3) for seed in seeds])
        for number, (name, space) in enumerate(sorted(ranges.items())):
            own = jax.vmap(lambda k, n=number: jax.random.fold_in(k, n))(keys)
            drawn[name] = jax.vmap(lambda k, s=space: draw(k, s, (members,)))(own)
    return {name: x.reshape(shape) for name, x in values.items()} | drawn
