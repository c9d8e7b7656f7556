"""Random search and population-based training as units of a study.

What is told of a search at a point is what its user has then: the member that was best by what
came before. Environment steps are those of all members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from selftuning.agents.self_tuning import SelfTuningAgent
from selftuning.configs.searches import SearchSettings
from selftuning.studies import measures, vmapped
from selftuning.studies.measures import Cycles, Solving, Values
from selftuning.studies.plan import Run, Unit
from selftuning.studies.programs import Program, judge_in_graph
from selftuning.studies.searches import search_plan
from selftuning.studies.searches import stages as search_stages
from selftuning.studies.searches import values as search_values
from selftuning.studies.searches.fitness import fitness_of
from selftuning.studies.searches.ranges import Ranges
from selftuning.studies.searches.search import Row, SearchState
from selftuning.studies.searches.search_plan import Part, Stage
from selftuning.training.divergence import all_finite


class State(NamedTuple):
    """What R searches carry from point to point.

    Attributes:
      searches: leaves [R, P, ...].
      solving: of the members [R * P], in the steps of all of them.
      keys: of the searches [R, 2].
      explored: what an explorer remembers; () without one.
    """

    searches: SearchState
    solving: Solving
    keys: np.ndarray
    explored: Any = ()


class Explorer(NamedTuple):
    """What gives members other hyperparameters between intervals, outside of the program.

    Attributes:
      begin: (searches, seeds [R]) -> what it remembers, a pytree of arrays.
      follow: (searches, what it remembers, row of the cycles since, part that they are of) -> both
        as they go on.
      shapes: of what it remembers.
    """

    begin: Callable[[SearchState, Sequence[int]], Any]
    follow: Callable[[SearchState, Any, Row, Part], tuple[SearchState, Any]]
    shapes: Any


MakeExplorer = Callable[[Ranges, Stage, SearchSettings, int], Explorer]


class Best(NamedTuple):
    """The best members now, or the first ones while nothing is known.

    Attributes:
      agent: their states, leaves [R, ...].
      finite: whether their parameters are [R].
      hyperparameters: by name [R] or [R, H]; means over members while nothing is known.
    """

    agent: Any
    finite: Any
    hyperparameters: dict[str, Any]


def make(unit: Unit, explorer_of: MakeExplorer | None = None) -> Program:
    """Builds and compiles R searches side by side.

    Args:
      unit: which searches.
      explorer_of: (ranges, the only stage, how members are compared, R) -> what explores in place
        of the program.

    Raises:
      ConfigError: if the environment cannot be stepped in-graph, or what is tuned not be searched.
    """
    settings, ranges = search_stages.prepared(unit.settings)
    task, agent = vmapped.task_and_agent(settings)
    threshold = task.spec.reward_threshold
    search, stages = search_plan.of_study(unit.kind, settings, unit.search)
    search = replace(search, fitness=fitness_of(task, agent))
    ends = search_plan.points_of(stages, unit.points)
    begins = [0, *ends[:-1]]
    parts = [search_plan.parts_of(stages, *x) for x in zip(begins, ends, strict=True)]
    explorer = None
    if explorer_of is not None:
        explorer = explorer_of(ranges, stages[0], search, unit.size)
        search = replace(search, explore=False)
        parts = [search_plan.cut_at_intervals(point, stages[0]) for point in parts]
    every = [part for point in parts for part in point]
    chunks = [max(p.cycles for p in every if p.stage == n) for n in range(len(stages))]
    engine = search_stages.make(settings, search, ranges, unit.size, stages, chunks)
    spent = search_plan.cycle_numbers(stages) * settings.steps_per_cycle
    judge, best_of = judge_in_graph(unit, agent, len(ends)), jax.jit(_best_of(agent))

    def begin(runs: Sequence[Run]) -> State:
        seeds, keys = seeds_of(runs, unit.size)
        starts = search_stages.start_members(settings, seeds, search.members, ranges, unit.members)
        members = measures.unsolved(unit.size * search.members)
        searches = engine.begin(seeds, starts)
        remembered = () if explorer is None else explorer.begin(searches, seeds)
        return State(searches, members, keys, remembered)

    def advance(state: State, point: int) -> tuple[State, Values]:
        rows, cycle = [], begins[point]
        for part in parts[point]:
            searches, row = engine.advance(state.searches, part.stage, part.first, part.cycles)
            before = spent[cycle - 1] if cycle else 0
            beside = stages[part.stage].members
            ends = side_by_side(row.cycles)
            solving = measures.solve(state.solving, ends, before, threshold, beside)
            state = state._replace(searches=searches, solving=solving)
            if explorer is not None:
                moved, remembered = explorer.follow(searches, state.explored, row, part)
                state = state._replace(searches=moved, explored=remembered)
            if part.last:
                best = np.asarray(state.searches.best)
                kept = engine.keep(state.searches)
                state = state._replace(searches=kept, solving=alone(state.solving, best))
            rows.append(row)
            cycle += part.cycles
        best = best_of(state.searches)
        values = search_values.measured(
            rows,
            steps=spent[cycle - 1],
            solved_at=first_solved(state.solving, unit.size),
            hyperparameters=best.hyperparameters,
            greedy=judge(best.agent, state.keys, point),
            finite=np.asarray(best.finite, np.float64),
        )
        return state, values

    def shapes(point: int) -> State:
        number = search_plan.stage_at(stages, [*begins, ends[-1]][point])
        members = measures.unsolved(unit.size * stages[number].members)
        keys = jax.ShapeDtypeStruct((unit.size, 2), np.uint32)
        remembered = () if explorer is None else explorer.shapes
        return State(engine.shapes[number], members, keys, remembered)  # type: ignore[arg-type]

    names = jax.eval_shape(best_of, engine.shapes[0]).hyperparameters
    return Program(len(ends), begin, advance, shapes, search_values.columns(names))


def seeds_of(runs: Sequence[Run], size: int) -> tuple[list[int], np.ndarray]:
    """Seeds [R] of searches and their keys [R, 2]; the last one fills the room that is left."""
    seeds = [run.seed for run in [*runs, *[runs[-1]] * (size - len(runs))]]
    return seeds, np.stack([np.asarray(jax.random.PRNGKey(seed)) for seed in seeds])


def _best_of(agent: SelfTuningAgent):
    """Returns (searches, leaves [R, P, ...]) -> Best."""

    def best_of(searches: SearchState) -> Best:
        member = jnp.maximum(searches.best, 0)
        state = jax.tree.map(lambda x: x[member], searches.members.agent)
        values = jax.vmap(agent.hyperparameters)(searches.members.agent)
        unknown = searches.best < 0
        values = {n: jnp.where(unknown, x.mean(0), x[member]) for n, x in values.items()}
        return Best(state, all_finite(agent.params(state)), values)

    return jax.vmap(best_of)


def side_by_side(cycles: Cycles) -> Cycles:
    """Ends of episodes of members [N, R, P, S, B] as those of runs [N, R * P, S, B]."""
    ends = (x.reshape(len(x), -1, *x.shape[3:]) for x in cycles.ends)
    return cycles._replace(ends=tuple(ends))


def alone(solving: Solving, best: np.ndarray) -> Solving:
    """Of the members that go on alone [R], in searches that may have solved the task already."""
    searches = len(best)
    rows = np.arange(searches) * (len(solving.at) // searches) + np.maximum(best, 0)
    first = first_solved(solving, searches)
    return Solving(solving.recent[rows], first)


def first_solved(solving: Solving, searches: int) -> np.ndarray:
    """Steps at which the first member of each search had solved the task [R]; NaN for none."""
    return np.fmin.reduce(solving.at.reshape(searches, -1), 1)
