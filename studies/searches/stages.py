"""Random search and population-based training as stages, in each of which some members run.

Searches are vmapped and sharded, and each stage is one compiled program. Who drives it decides
how far it goes at a time: a benchmark runs a stage as a whole, a study from point to point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from selftuning.configs.errors import not_allowed
from selftuning.configs.searches import SearchSettings
from selftuning.configs.settings import RunSettings
from selftuning.studies import population
from selftuning.studies.searches.ranges import Ranges, check_ranges, draw, ranges_of
from selftuning.studies.searches.search import Row, SearchState, keep_best, make_search
from selftuning.studies.searches.search_plan import Stage


class Engine(NamedTuple):
    """R searches, compiled.

    Attributes:
      stages: which.
      shapes: of the state in each stage, leaves [R, P, ...].
      begin: (seeds [R], start values by name [R, P]) -> state.
      advance: (state, number of the stage, first, count, tell) -> (state, rows) of `count` of its
        cycles from `first`. It consumes the state; rows are a list of chunks in NumPy, leaves
        [cycles, R, ...]; `tell` gets the number of cycles of the stage that are done.
      keep: state at the end of a stage -> state at the beginning of the next.
    """

    stages: Sequence[Stage]
    shapes: Sequence[SearchState]
    begin: Callable[..., SearchState]
    advance: Callable[..., tuple[SearchState, list[Row]]]
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
      chunks: cycles of each stage whose records are on the device at once, at most.

    Raises:
      ConfigError: if the environment cannot be stepped in-graph.
    """
    init, update = make_search(*population.task_and_agent(settings), settings, search, ranges)
    begin_all = jax.jit(jax.vmap(init))
    keep = jax.jit(jax.vmap(keep_best))
    first = (searches, stages[0].members)
    values = jax.eval_shape(lambda: population.start_values(settings, first[0] * first[1]))
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
        population.compile_steps(_step(update, stage), shape, chunk)
        for stage, shape, chunk in zip(stages, shapes, chunks, strict=True)
    ]

    def begin(seeds, starts):
        keys = jnp.stack([jax.random.fold_in(jax.random.PRNGKey(seed), 2) for seed in seeds])
        each = [jax.random.PRNGKey(seed) for seed in member_seeds(seeds, search.members)]
        return begin_all(keys, jnp.stack(each).reshape(*first, -1), starts)

    def advance(state, stage, first, count, tell=lambda done: None):
        return compiled[stage](population.sharded(state), first, count, tell)

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
    starts: Mapping[str, Any] | None = None,
) -> dict[str, jax.Array]:
    """Start values by name [R, P]: those given, or random ones, and else those of the settings.

    Raises:
      ConfigError: a name or a number of starts is not allowed.
    """
    shape = (len(seeds), members)
    if starts is None:
        keys = jnp.stack([jax.random.fold_in(jax.random.PRNGKey(seed), 3) for seed in seeds])
        drawn = {}
        for number, (name, space) in enumerate(sorted(ranges.items())):
            each = jax.vmap(lambda k, n=number: jax.random.fold_in(k, n))(keys)
            drawn[name] = jax.vmap(lambda k, s=space: draw(k, s, (members,)))(each)
    else:
        drawn = {name: _given(settings, name, x, shape) for name, x in starts.items()}
    values = population.start_values(settings, len(seeds) * members)
    return {name: x.reshape(shape) for name, x in values.items()} | drawn


def _given(settings: RunSettings, name: str, values: Any, shape: tuple[int, int]) -> jax.Array:
    """Start values [R, P] of one hyperparameter, of which [P] or [R, P] are given."""
    if name not in settings.in_use:
        raise not_allowed("starts", name, f"one of {', '.join(settings.in_use)}")
    array = jnp.asarray(values, float)
    if array.shape not in (shape, shape[1:]):
        raise not_allowed(f"starts of {name}", array.shape, f"an array {shape[1:]} or {shape}")
    return jnp.broadcast_to(array, shape)
