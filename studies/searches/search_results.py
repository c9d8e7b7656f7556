"""Whole searches in one call, with all that they show: what one would do instead of self-tuning."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from selftuning.configs.errors import ConfigError
from selftuning.configs.searches import Fitness, SearchSettings
from selftuning.configs.settings import RunSettings
from selftuning.studies import population
from selftuning.studies.population import BINS, Progress
from selftuning.studies.searches import search_plan
from selftuning.studies.searches import stages as search_stages
from selftuning.studies.searches.ranges import Ranges
from selftuning.studies.searches.search import Row, SearchState
from selftuning.studies.searches.search_plan import Stage


class Result(NamedTuple):
    """R searches of P members in N cycles; members that were stopped have NaN and no episodes.

    Attributes:
      returns: mean return of the episodes that ended in each cycle [R, P, N]; NaN for none.
      episodes: how many ended [R, P, N].
      reward: mean reward of an environment step [R, P, N].
      hyperparameters: what each cycle was made with, by name [R, P, N].
      best: the best member by what came before each cycle [R, N]; -1 while nothing is known.
      source: whom each member was copied from after each cycle [R, P, N]; itself if it was not.
      steps: environment steps that a search has spent by the end of each cycle, those of all its
        members [N].
      chosen: the best member at the end [R], by its last interval; 0 if nothing is known.
      agents: states of the chosen ones, leaves [R, ...].
      fitness: by what they were chosen.
      seconds: of running, without compiling.
    """

    returns: np.ndarray
    episodes: np.ndarray
    reward: np.ndarray
    hyperparameters: dict[str, np.ndarray]
    best: np.ndarray
    source: np.ndarray
    steps: np.ndarray
    chosen: np.ndarray
    agents: Any
    fitness: Fitness
    seconds: float

    @property
    def env_steps(self) -> int:
        """Environment steps of one search, all members together."""
        return int(self.steps[-1])

    @property
    def chosen_hyperparameters(self) -> dict[str, np.ndarray]:
        """Hyperparameters of the best members at the end, by name [R]."""
        rows = np.arange(len(self.chosen))
        return {name: x[rows, self.chosen, -1] for name, x in self.hyperparameters.items()}


class Curves(NamedTuple):
    """Performance over the environment steps that a search spends, in sixtieths of them.

    Attributes:
      steps: at the end of each [60].
      mean: of the members that are running [R, 60].
      best: of the one that is best by what came before [R, 60]; the mean while none is.
    """

    steps: np.ndarray
    mean: np.ndarray
    best: np.ndarray


def random_search(
    settings: RunSettings,
    seeds: Sequence[int],
    search: SearchSettings | None = None,
    ranges: Ranges | None = None,
    starts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Members with random hyperparameters, side by side, of which the best is kept.

    With the budget "member" all run to the end. With "run" half of the steps are shared by all
    members, and the one that was best in its last interval spends the other half.

    Args:
      settings: of every member, and of one run; their tuning is turned off.
      seeds: of the searches [R].
      search: members, budget, fitness and interval; what else it says is not used.
      ranges: what is searched; `ranges_of(settings)` if None.
      starts: values by name, [P] or [R, P], to have in place of random ones; what they do not
        name starts as in the settings.
      progress: told the environment steps of a search, done and in all.

    Raises:
      ConfigError: what is asked for is not allowed, or there are too few steps for it.
    """
    search = replace(search or SearchSettings(), exploit=False)
    settings, ranges = search_stages.prepared(settings, ranges)
    cycles = population.cycles_for(settings, settings.steps)
    stages = search_plan.of_random_search(settings, search, cycles)
    return _run(settings, seeds, search, ranges, stages, starts, progress)


def population_based_training(
    settings: RunSettings,
    seeds: Sequence[int],
    search: SearchSettings | None = None,
    ranges: Ranges | None = None,
    starts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Members of which the worst copy the best from time to time (Jaderberg et al. 2017).

    With the budget "run" each of the P members has S / P environment steps. Members whose
    first episode has not ended have no fitness: they neither copy nor are copied. An episode
    that runs while its member is replaced goes on, and counts for the one that ends it.

    Args:
      settings: of every member, and of one run; their tuning is turned off.
      seeds: of the searches [R].
      search: how.
      ranges: what is searched; `ranges_of(settings)` if None.
      starts: values by name, [P] or [R, P], to begin with in place of random ones; what they do
        not name starts as in the settings.
      progress: told the environment steps of a search, done and in all.

    Raises:
      ConfigError: what is asked for is not allowed, or there are too few steps for it.
    """
    search = search or SearchSettings()
    settings, ranges = search_stages.prepared(settings, ranges)
    cycles = population.cycles_for(settings, settings.steps)
    stages = search_plan.of_population(settings, search, cycles)
    if stages[0].cycles < 2 * search_plan.interval_cycles(settings, search):
        steps = stages[0].cycles * population.steps_per_cycle(settings)
        raise ConfigError(
            f"interval: {search.interval} is not allowed; "
            f"it must be at most half of the {steps} steps of a member"
        )
    return _run(settings, seeds, search, ranges, stages, starts, progress)


def curves(result: Result) -> Curves:
    """Performance against environment steps: returns of episodes, or rewards of steps.

    Returns weigh the episodes that end in a sixtieth alike; where none ends the last value is
    repeated.
    """
    running = ~np.isnan(result.reward)
    by_return = result.fitness == "return"
    values = result.returns if by_return else result.reward
    weights = result.episodes if by_return else running.astype(float)
    members = population.binned(values, weights, result.steps)
    alive = population.binned(running.astype(float), np.ones(running.shape), result.steps) > 0
    mean = _mean(members, alive & ~np.isnan(members))
    at = np.maximum(result.best, 0)[:, None]
    value, weight = (np.take_along_axis(x, at, 1)[:, 0] for x in (values, weights))
    best = population.binned(value, np.where(result.best < 0, 0.0, weight), result.steps)
    steps = result.env_steps * np.arange(1, BINS + 1) / BINS
    return Curves(steps, mean, np.where(np.isnan(best), mean, best))


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean over members [R, 60] of values [R, P, 60]; NaN where there is none."""
    count = where.sum(1)
    total = np.where(where, values, 0.0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _run(
    settings: RunSettings,
    seeds: Sequence[int],
    search: SearchSettings,
    ranges: Ranges,
    stages: Sequence[Stage],
    starts: Mapping[str, Any] | None,
    progress: Progress | None,
) -> Result:
    """Runs searches from their beginning to their end, stage by stage."""
    values = search_stages.start_members(settings, seeds, search.members, ranges, starts)
    size = population.steps_per_cycle(settings)
    chunks = [
        population.chunk_size(s.cycles, size * len(seeds) * s.members, progress) for s in stages
    ]
    engine = search_stages.make(settings, search, ranges, len(seeds), stages, chunks)
    state = engine.begin(seeds, values)
    spent, total = 0, sum(stage.members * stage.cycles for stage in stages)
    begun, parts, chosen = time.perf_counter(), [], None
    for number, stage in enumerate(stages):
        state = engine.keep(state) if number else state

        def tell(done, before=spent, members=stage.members):
            if progress is not None:
                progress((before + done * members) * size, total * size)

        state, rows = engine.advance(state, number, 0, stage.cycles, tell)
        parts.append(population.in_time_order(rows))  # leaves [R, cycles, ...]
        spent += stage.members * stage.cycles
        chosen = np.maximum(np.asarray(state.best), 0) if chosen is None else chosen
    assert chosen is not None
    row = parts[0]
    for later in parts[1:]:
        row = _joined(row, later, chosen)
    steps = search_plan.cycle_numbers(stages) * size
    return _result(row, steps, chosen, state, search.fitness, time.perf_counter() - begun)


def _joined(first: Row, later: Row, chosen: np.ndarray) -> Row:
    """Rows of P members, and then of the chosen ones alone, as those of P members."""
    rows, shape = np.arange(len(chosen)), (*later.best.shape, first.source.shape[2])

    def joined(before, after, stopped):
        rest = np.array(np.broadcast_to(stopped, shape), before.dtype)
        rest[rows, :, chosen] = after[:, :, 0]
        return np.concatenate([before, rest], 1)

    cycles = first.cycles._replace(
        total=joined(first.cycles.total, later.cycles.total, 0.0),
        episodes=joined(first.cycles.episodes, later.cycles.episodes, 0.0),
        reward=joined(first.cycles.reward, later.cycles.reward, np.nan),
        hyperparameters={
            name: joined(x, later.cycles.hyperparameters[name], x[:, -1:])
            for name, x in first.cycles.hyperparameters.items()
        },
    )
    best = np.broadcast_to(chosen[:, None], later.best.shape).astype(first.best.dtype)
    source = np.broadcast_to(np.arange(shape[2]), shape).astype(first.source.dtype)
    return Row(
        cycles,
        np.concatenate([first.best, best], 1),
        np.concatenate([first.source, source], 1),
    )


def _result(
    row: Row,
    steps: np.ndarray,
    chosen: np.ndarray,
    state: SearchState,
    fitness: Fitness,
    seconds: float,
) -> Result:
    """Results from rows with leaves [R, N, P]; members of the state are P, or the chosen ones."""
    cycles = jax.tree.map(lambda x: np.moveaxis(x, 1, 2), row.cycles)
    with np.errstate(invalid="ignore"):  # NaN where no episode ended
        returns = cycles.total / cycles.episodes
    at = np.minimum(chosen, state.score.shape[1] - 1)
    rows = np.arange(len(chosen))
    return Result(
        returns,
        cycles.episodes,
        cycles.reward,
        cycles.hyperparameters,
        row.best,
        np.moveaxis(row.source, 1, 2),
        steps,
        chosen,
        jax.tree.map(lambda x: np.asarray(x)[rows, at], state.members.agent),
        fitness,
        seconds,
    )
