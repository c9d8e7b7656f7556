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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from selftuning.agents.self_tuning import SelfTuningAgent
from selftuning.configs.searches import SearchSettings
from selftuning.configs.settings import RunSettings
from selftuning.envs.task import GraphTask
from selftuning.studies import measures, population
from selftuning.studies.measures import Cycles, Solving, Values
from selftuning.studies.plan import Run, Unit
from selftuning.studies.programs import Program, all_finite, columns_of, judge_in_graph
from selftuning.studies.searches import optuna_trials, optuna_turns, ranges, search_plan
from selftuning.studies.searches import stages as search_stages
from selftuning.studies.searches.fitness import fitness_of
from selftuning.studies.searches.optuna_turns import Course, Progress, Turn
from selftuning.studies.searches.ranges import Ranges
from selftuning.studies.searches.search_plan import Stage
from selftuning.studies.searches.search_programs import seeds_of
from selftuning.studies.searches.values import ALL
from selftuning.training.runner import TrainState, graph_cycle


class State(NamedTuple):
    """What R searches carry from point to point.

    Attributes:
      running: what runs, leaves [R, ...].
      best: the best trial at its end, leaves [R, ...]; anything before there is one.
      solving: of what runs [R], but for `at`, which is of any trial.
      best_solving: of the best trial, but for `at` [R].
      progress: of the searches.
      seeds: of the searches, int64 [R].
      keys: likewise, uint32 [R, 2].
    """

    running: TrainState
    best: TrainState
    solving: Solving
    best_solving: Solving
    progress: Progress
    seeds: np.ndarray
    keys: np.ndarray


class Machine(NamedTuple):
    """What runs on a device.

    Attributes:
      shapes: of what runs, leaves [R, ...].
      columns: names of what is measured of it.
      begin: (keys [R, 2], numbers of trials [R], positions [R, D]) -> what runs.
      advance: (what runs, first cycle, count) -> (what runs, rows); it consumes the former.
      switch: (what runs, best trials, trials that begin, what becomes of which) -> (what runs,
        best trials).
      shown: (what runs, best trials, which of them [R]) -> (agents, whether they are finite [R]).
    """

    shapes: TrainState
    columns: tuple[str, ...]
    begin: Callable[..., TrainState]
    advance: Callable[..., Any]
    switch: Callable[..., tuple[TrainState, TrainState]]
    shown: Callable[..., tuple[Any, jax.Array]]


def make(unit: Unit) -> Program:
    """Builds and compiles R searches side by side.

    Raises:
      ConfigError: if the environment cannot be stepped in-graph, or what is tuned not be searched.
    """
    settings, spaces = search_stages.prepared(unit.settings)
    task, agent = population.task_and_agent(settings)
    search, stages = search_plan.of_study(unit.kind, settings, unit.search)
    by_return = fitness_of(task, agent) == "return"
    course = _course(settings, search, spaces, stages[0])
    searched, interval = stages[0].cycles, stages[0].interval
    ends = search_plan.points_of(stages, unit.points)
    begins, size = [0, *ends[:-1]], population.steps_per_cycle(settings)
    longest = max(end - begin for begin, end in zip(begins, ends, strict=True))
    machine = _machine(settings, task, agent, spaces, unit.size, longest)
    judge = judge_in_graph(unit, agent, len(ends))

    def begin(runs: Sequence[Run]) -> State:
        seeds, keys = seeds_of(runs, unit.size)
        progress = optuna_turns.first(seeds, course)
        unsolved = measures.unsolved(unit.size)
        what = keys, *_what(progress)
        running, best = machine.begin(*what), machine.begin(*what)  # in memory of its own
        return State(running, best, unsolved, unsolved, progress, np.array(seeds), keys)

    def advance(state: State, point: int) -> tuple[State, Values]:
        rows, now = [], begins[point]
        while now < ends[point]:
            until = min(ends[point], _next_end(now, interval, searched))
            running, chunk = machine.advance(population.sharded(state.running), now, until - now)
            row: Cycles = jax.tree.map(lambda *x: np.concatenate(x), *chunk)
            steps = np.arange(now + 1, until + 1) * size
            state = state._replace(
                running=running,
                solving=measures.solve(state.solving, row, steps, task.spec.reward_threshold),
                progress=_counted(state.progress, row, by_return),
            )
            if until <= searched and until % interval == 0:
                state = _turned(state, until // interval, course, machine)
            rows.append(row)
            now = until
        which = (state.progress.best >= 0) & ~state.progress.alone
        agents, finite = machine.shown(state.running, state.best, which)
        values = measures.measured(
            jax.tree.map(lambda *x: np.concatenate(x), *rows),
            steps=now * size,
            solving=state.solving,
            greedy=judge(agents, state.keys, point),
            finite=np.asarray(finite, np.float64),
        )
        return state, values | {ALL: values["return"]}

    def shapes(_point: int) -> State:
        train, unsolved = machine.shapes, measures.unsolved(unit.size)
        progress = optuna_turns.nothing(unit.size, course)
        seeds = np.zeros(unit.size, int)
        keys = np.zeros((unit.size, 2), np.uint32)
        return State(train, train, unsolved, unsolved, progress, seeds, keys)

    return Program(len(ends), begin, advance, shapes, (*machine.columns, ALL))


def _course(settings: RunSettings, search: SearchSettings, spaces: Ranges, stage: Stage) -> Course:
    """What is searched, and for how long."""
    cycles = population.cycles_for(settings, settings.steps)
    life = search_plan.life(settings, search, cycles) // stage.interval
    space = {name: tuple(map(float, ranges.ends(spaces[name]))) for name in sorted(spaces)}
    rules = optuna_trials.rules_for(search.members, life)
    return Course(space, rules, life, stage.cycles // stage.interval)  # type: ignore[arg-type]


def _machine(
    settings: RunSettings,
    task: GraphTask,
    agent: SelfTuningAgent,
    spaces: Ranges,
    searches: int,
    longest: int,
) -> Machine:
    """Compiles R searches; `longest` cycles are run at a time, at most."""
    init, cycle = graph_cycle(task, agent, settings)
    names = sorted(spaces)

    def begin(keys, numbers, positions):
        """A trial is the run of a key that its search and its number make."""
        at = {name: ranges.at(spaces[name], positions[:, d]) for d, name in enumerate(names)}
        starts = population.start_values(settings, searches) | at
        fold = jax.random.fold_in
        return jax.vmap(init)(jax.vmap(lambda k, n: fold(fold(k, 4), n))(keys, numbers), starts)

    def step(train, _):
        train, metrics = jax.vmap(cycle, (0, None))(train, None)
        return train, jax.vmap(measures.summed)(metrics)

    def switch(running, best, fresh, turn):
        best = _where(turn.kept, running, best)
        running = _where(turn.resumed, best, running)
        return _where(turn.begun, fresh, running), best

    def shown(running, best, which):
        agents = _where(which, best.agent, running.agent)
        return agents, jax.vmap(lambda state: all_finite(agent.params(state)))(agents)

    shapes = jax.eval_shape(
        begin,
        jax.ShapeDtypeStruct((searches, 2), jnp.uint32),
        jax.ShapeDtypeStruct((searches,), jnp.int32),
        jax.ShapeDtypeStruct((searches, len(names)), float),
    )
    return Machine(
        shapes,
        columns_of(step, shapes),
        jax.jit(begin),
        population.compile_steps(step, shapes, longest),
        jax.jit(switch),
        jax.jit(shown),
    )


def _where(which: jax.Array, yes: Any, no: Any) -> Any:
    """Leaves [R, ...] of one pytree where `which` [R] holds, of another elsewhere."""
    return jax.tree.map(
        lambda a, b: jnp.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b), yes, no
    )


def _what(progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Numbers [R] and positions [R, D] of the trials that run."""
    return progress.number, optuna_turns.positions(progress).astype(np.float32)


def _next_end(now: int, interval: int, searched: int) -> int:
    """Cycles at the end of the interval that is running; far away after the last one."""
    return (now // interval + 1) * interval if now < searched else sys.maxsize


def _counted(progress: Progress, row: Cycles, by_return: bool) -> Progress:
    """Progress with cycles [N, R] of the interval that is running."""
    if by_return:
        total, weight = row.total, row.episodes
    else:
        total, weight = row.reward, np.ones_like(row.reward)
    return progress._replace(
        total=progress.total + total.sum(0, dtype=np.float64),
        weight=progress.weight + weight.sum(0, dtype=np.float64),
    )


def _turned(state: State, done: int, course: Course, machine: Machine) -> State:
    """The state after the end of so many intervals."""
    progress, turn = optuna_turns.turn(state.progress, done, course, state.seeds)
    state = state._replace(progress=progress)
    if not np.any(turn):
        return state
    fresh = machine.begin(state.keys, *_what(progress))
    old = map(population.sharded, (state.running, state.best, fresh))
    running, best = machine.switch(*old, turn)
    return _with_last_episodes(state._replace(running=running, best=best), turn)


def _with_last_episodes(state: State, turn: Turn) -> State:
    """What runs now and the best trials, each with its own last episodes."""
    now, best = state.solving, state.best_solving

    def switched(x: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kept = np.where(turn.kept[:, None], x, kept)
        x = np.where(turn.resumed[:, None], kept, x)
        return np.where(turn.begun[:, None], 0.0, x), kept

    total, best_total = switched(now.total, best.total)
    episodes, best_episodes = switched(now.episodes, best.episodes)
    return state._replace(
        solving=now._replace(total=total, episodes=episodes),
        best_solving=best._replace(total=best_total, episodes=best_episodes),
    )
