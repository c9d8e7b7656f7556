"""Optuna's search as a unit of a study: trials one after the other, of which the best goes on.

A trial is a run of the agent from hyperparameters that Optuna chose, as long as a member of a
random search lives. R searches are vmapped in lock-step: each runs one trial at a time, and at
the end of an interval all of them are looked at. One that is pruned makes room for further
trials. Where no whole trial fits into what is left of the search, the best one of those that ran
to their end, by their last scores, goes on with the environment steps that are left: half of all
or more with the budget "run"; with "member" those alone that pruning saved.

What is told at a point is what happens there: the trial that runs, at last the best one. The
greedy policy is that of the best trial that has ended.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from selftuning.configs.searches import Fitness
from selftuning.studies import measures, vmapped
from selftuning.studies.measures import Cycles, Values
from selftuning.studies.plan import Run, Unit
from selftuning.studies.programs import Program, columns_of, judge_in_graph, step_of
from selftuning.studies.searches import ranges, search_plan
from selftuning.studies.searches import stages as search_stages
from selftuning.studies.searches.fitness import fitness_of
from selftuning.studies.searches.optuna_storage import Journal
from selftuning.studies.searches.optuna_trials import DIED, Searches, Turn, course_of
from selftuning.studies.searches.search_programs import seeds_of
from selftuning.studies.searches.values import ALL, mean
from selftuning.training.divergence import all_finite
from selftuning.training.runner import TrainState, graph_cycle


class Trial(NamedTuple):
    """Trials side by side and their last episodes (see `measures.Solving`), leaves [R, ...]."""

    train: TrainState
    recent: np.ndarray


class State(NamedTuple):
    """What R searches carry from point to point.

    Attributes:
      running: the trials that run.
      best: the best ones at their ends; anything before there are any.
      solved_at: environment steps at which some trial had solved the task [R]; NaN for none.
      scores: in each interval that is over, NaN where no episode has ended, `DIED` where the trial
        did [R, I].
      total: sum of what a score is the mean of, in the interval that is running [R].
      weight: the number of its terms [R].
      seeds: of the searches, int64 [R].
      keys: likewise, uint32 [R, 2].
    """

    running: Trial
    best: Trial
    solved_at: np.ndarray
    scores: np.ndarray
    total: np.ndarray
    weight: np.ndarray
    seeds: np.ndarray
    keys: np.ndarray


def make(unit: Unit) -> Program:
    """Builds and compiles R searches side by side.

    Raises:
      ConfigError: if the environment cannot be stepped in-graph, or what is tuned not be searched.
    """
    settings, spaces = search_stages.prepared(unit.settings)
    task, agent = vmapped.task_and_agent(settings)
    search, stages = search_plan.of_study(unit.kind, settings, unit.search)
    fitness = fitness_of(task, agent)
    searched, interval = stages[0].cycles, stages[0].interval
    ends = search_plan.points_of(stages, unit.points)
    begins, size = [0, *ends[:-1]], settings.steps_per_cycle
    longest = max(end - begin for begin, end in zip(begins, ends, strict=True))
    init, cycle = graph_cycle(task, agent, settings)
    judge = judge_in_graph(unit, agent, len(ends))
    finite = jax.jit(jax.vmap(lambda state: all_finite(agent.params(state))))
    life = search_plan.life(settings, search, vmapped.cycles_for(settings))
    space = {}
    for name in sorted(spaces):
        low, high = map(float, ranges.ends(spaces[name]))
        space[name] = low, high
    course = course_of(space, search.members, life // interval, searched // interval)
    searches = Searches(course)

    @jax.jit
    def begin_trials(keys, numbers, positions):
        """A trial is the run of a key that its search and its number make."""
        at = {name: ranges.at(spaces[name], positions[:, d]) for d, name in enumerate(space)}
        starts = vmapped.start_values(settings, [{}] * unit.size) | at
        fold = jax.random.fold_in
        return jax.vmap(init)(jax.vmap(lambda k, n: fold(fold(k, 4), n))(keys, numbers), starts)

    threshold = task.spec.reward_threshold
    step = step_of(cycle, threshold)

    def fresh(keys: np.ndarray) -> Trial:
        train = begin_trials(keys, searches.numbers, searches.positions.astype(np.float32))
        return Trial(train, measures.unsolved(unit.size).recent)

    def begin(runs: Sequence[Run]) -> State:
        seeds, keys = seeds_of(runs, unit.size)
        searches.turn(seeds, np.zeros((unit.size, 0)))
        state = shapes(0)._replace(seeds=np.array(seeds), keys=keys)
        return state._replace(running=fresh(keys), best=fresh(keys))  # in memory of its own

    def advance(state: State, point: int) -> tuple[State, Values]:
        rows, now = [], begins[point]
        # This brings Optuna to where the state is, in case that it comes from a checkpoint.
        searches.turn(state.seeds, state.scores[:, : min(now, searched) // interval])
        while now < ends[point]:
            look = (now // interval + 1) * interval if now < searched else sys.maxsize
            until = min(ends[point], look)
            trial = state.running
            train, row = advance_all(vmapped.sharded(trial.train), now, until - now)
            solving = measures.Solving(trial.recent, state.solved_at)
            solving = measures.solve(solving, row, now * size, threshold)
            running = Trial(train, solving.recent)
            state = _counted(state._replace(running=running, solved_at=solving.at), row, fitness)
            if until == look:
                alive = np.asarray(finite(state.running.train.agent))
                state = _scored(state, until // interval, alive)
                turn = searches.turn(state.seeds, state.scores[:, : until // interval])
                state = _turned(state, turn, fresh)
            rows.append(row)
            now = until
        agents = _pick(searches.wait, state.best.train.agent, state.running.train.agent)
        values = measures.measured(
            jax.tree.map(lambda *x: np.concatenate(x), *rows),
            steps=now * size,
            solving=measures.Solving(state.running.recent, state.solved_at),
            greedy=judge(agents, state.keys, point),
            finite=np.asarray(finite(agents), np.float64),
        )
        return state, values | {ALL: values["return"]}

    def shapes(_point: int) -> State:
        recent, unsolved = measures.unsolved(unit.size)
        trial, nothing = Trial(train_shapes, recent), np.zeros(unit.size)
        scores = np.full((unit.size, course.intervals), np.nan)
        seeds, keys = np.zeros(unit.size, int), np.zeros((unit.size, 2), np.uint32)
        return State(trial, trial, unsolved, scores, nothing, nothing, seeds, keys)

    journals: dict[Path, Journal] = {}

    def show(path: Path, runs: Sequence[Run]) -> None:
        names = [f"{settings.env}, seed {run.seed}" for run in runs]
        found = dict(zip(names, searches.each, strict=False))  # without those that fill the room
        if path not in journals or not path.exists():
            journals[path] = Journal(path, spaces, fitness)
        journals[path].add(found)

    train_shapes = jax.eval_shape(
        begin_trials,
        jax.ShapeDtypeStruct((unit.size, 2), jnp.uint32),
        jax.ShapeDtypeStruct((unit.size,), jnp.int32),
        jax.ShapeDtypeStruct((unit.size, len(space)), float),
    )
    advance_all = vmapped.compile_steps(step, train_shapes, longest)
    columns = (*columns_of(step, train_shapes), ALL)
    return Program(len(ends), begin, advance, shapes, columns, show=show)


def _counted(state: State, row: Cycles, fitness: Fitness) -> State:
    """The state with cycles [N, R] of the interval that is running."""
    total, weight = row.total, row.episodes
    if fitness == "reward":
        total, weight = row.reward, np.ones_like(row.reward)
    return state._replace(
        total=state.total + total.sum(0, dtype=np.float64),
        weight=state.weight + weight.sum(0, dtype=np.float64),
    )


def _scored(state: State, done: int, alive: np.ndarray) -> State:
    """The state with the scores of the interval that is over, which is the last of so many.

    Args:
      state: at its end.
      done: intervals that are over.
      alive: whether the parameters of the trials are finite [R].
    """
    scores, nothing = state.scores.copy(), np.zeros_like(state.total)
    died = ~alive | ((state.weight > 0) & ~np.isfinite(state.total))
    scores[:, done - 1] = np.where(died, DIED, mean(state.total, state.weight))
    return state._replace(scores=scores, total=nothing, weight=nothing)


def _turned(state: State, turn: Turn, fresh: Callable[[np.ndarray], Trial]) -> State:
    """The state after a turn: the best trials are kept, resumed, and others begun."""
    running, best = state.running, state.best
    if turn.kept.any():
        best = _pick(turn.kept, running, best)
    if turn.resumed.any():
        running = _pick(turn.resumed, best, running)
    if turn.begun.any():
        running = _pick(turn.begun, fresh(state.keys), running)
    return state._replace(running=running, best=best)


def _pick(which: np.ndarray, yes: Any, no: Any) -> Any:
    """Leaves [R, ...] of one pytree where `which` [R] holds, of another elsewhere."""

    def pick(a, b):
        where = np.where if isinstance(b, np.ndarray) else jnp.where
        return where(which.reshape(-1, *[1] * (b.ndim - 1)), a, b)

    return jax.tree.map(pick, yes, no)
