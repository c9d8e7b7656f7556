"""A unit as a program: a sequence of points, at each of which its runs are measured.

All that a program carries from one point to the next is a pytree of arrays, so that a unit can be
stopped at any point and go on from there, and nothing tells the difference. In-graph runs are
vmapped; a run on the host has its environments in it, and begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from selftuning.agents import self_tuning
from selftuning.agents.self_tuning import SelfTuningAgent
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from selftuning.envs import registry
from selftuning.envs.task import GraphTask, HostTask
from selftuning.studies import measures, plan, population
from selftuning.studies.measures import Cycles, Values
from selftuning.studies.plan import Points, Run, Unit
from selftuning.training import evaluation
from selftuning.training.runner import CycleMetrics, graph_cycle, make_runner


class Program(NamedTuple):
    """R runs of one static shape.

    Attributes:
      points: P, at which runs are measured.
      begin: runs, R or fewer -> state before the first point.
      advance: (state, point counted from 0) -> (state, values by name [R], see
        `measures.measured`). It may consume the state.
      shapes: point -> pytree of the shapes and dtypes of the state before it; None if a state
        cannot be kept, for it is not all that there is.
      columns: names of the values; None if `shapes` is.
      close: gives back what the program holds.
    """

    points: int
    begin: Callable[[Sequence[Run]], Any]
    advance: Callable[[Any, int], tuple[Any, Values]]
    shapes: Callable[[int], Any] | None = None
    columns: tuple[str, ...] | None = None
    close: Callable[[], None] = lambda: None


def make(unit: Unit) -> Program:
    """Builds and compiles the program of a unit.

    Raises:
      ConfigError: if the environment cannot be made, or what it needs is not installed.
    """
    if unit.kind == "runs":
        return runs_in_graph(unit) if unit.in_graph else run_on_host(unit)
    if unit.kind == "optuna":
        return _with_optuna(unit)
    from selftuning.studies.searches import search_programs

    return search_programs.make(unit)


def _with_optuna(unit: Unit) -> Program:
    try:
        from selftuning.studies.searches import optuna_search
    except ImportError as error:
        raise ConfigError(
            f"optuna: the package is not installed; pip install optuna ({error})"
        ) from error
    return optuna_search.make(unit)


def runs_in_graph(unit: Unit) -> Program:
    """Runs side by side in one vmapped program."""
    settings, size = unit.settings, unit.size
    task, agent = population.task_and_agent(settings)
    init, cycle = graph_cycle(task, agent, settings)
    points, cycle_steps = points_of(unit), population.steps_per_cycle(settings)

    def step(train, _):
        train, metrics = jax.vmap(cycle, (0, None))(train, None)
        return train, jax.vmap(measures.summed)(metrics)

    begin_all = jax.jit(jax.vmap(init))
    starts = jax.eval_shape(lambda: population.start_values(settings, size))
    shapes = jax.eval_shape(begin_all, jax.ShapeDtypeStruct((size, 2), jnp.uint32), starts)
    advance_all = population.compile_steps(step, shapes, points.cycles)
    judge = judge_in_graph(unit, agent, points.count)
    finite = jax.jit(jax.vmap(lambda state: all_finite(agent.params(state))))

    def begin(runs):
        keys, values = begin_with(settings, runs, size)
        solving = measures.unsolved(size)
        return {"train": begin_all(keys, values), "solving": solving, "keys": np.asarray(keys)}

    def advance(state, point):
        train, rows = advance_all(population.sharded(state["train"]), 0, points.cycles)
        cycles: Cycles = jax.tree.map(lambda *x: np.concatenate(x), *rows)
        steps = (point * points.cycles + np.arange(1, points.cycles + 1)) * cycle_steps
        solving = measures.solve(state["solving"], cycles, steps, task.spec.reward_threshold)
        values = measures.measured(
            cycles,
            steps=steps[-1],
            solving=solving,
            greedy=judge(train.agent, state["keys"], point),
            finite=np.asarray(finite(train.agent), np.float64),
        )
        return state | {"train": train, "solving": solving}, values

    def shapes_at(_point):
        keys = jax.ShapeDtypeStruct((size, 2), jnp.uint32)
        return {"train": shapes, "solving": measures.unsolved(size), "keys": keys}

    return Program(points.count, begin, advance, shapes_at, columns_of(step, shapes))


def run_on_host(unit: Unit) -> Program:
    """One run whose environments are stepped from Python."""
    settings = unit.settings
    task = registry.make(settings.env, settings.num_envs, "host")
    assert isinstance(task, HostTask)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    runner = make_runner(task, agent, settings)
    points = points_of(unit)
    chosen = plan.evaluated(points.count, unit.evaluations)
    advance_run: Callable[[Any], tuple[Any, CycleMetrics]] | None = None

    def begin(runs):
        nonlocal advance_run
        (run,) = runs
        start = {name: jnp.asarray(spec.start, float) for name, spec in settings.in_use.items()}
        start |= {name: jnp.asarray(value, float) for name, value in run.start.items()}
        train = runner.init(jax.random.PRNGKey(run.seed), start)
        advance_run = advance_run or runner.compile(train, points.cycles)
        return {"train": train, "solving": measures.unsolved(1), "seed": run.seed}

    def greedy(train, seed):
        params = agent.params(train.agent)
        episodes = settings.eval_episodes
        result = evaluation.evaluate(settings.env, "host", agent, params, episodes, seed)
        return np.nan if result.returns is None else result.returns.mean()

    def advance(state, point):
        assert advance_run is not None
        train, metrics = advance_run(state["train"])
        cycles = jax.tree.map(lambda x: np.asarray(x)[:, None], measures.summed(metrics))
        first = point * points.cycles + 1
        steps = np.arange(first, first + points.cycles) * runner.steps_per_cycle
        solving = measures.solve(state["solving"], cycles, steps, task.spec.reward_threshold)
        values = measures.measured(
            cycles,
            steps=steps[-1],
            solving=solving,
            greedy=np.array([greedy(train, state["seed"]) if point in chosen else np.nan]),
            finite=np.array([float(all_finite(agent.params(train.agent)))]),
        )
        return state | {"train": train, "solving": solving}, values

    return Program(points.count, begin, advance, close=task.close)


def points_of(unit: Unit) -> Points:
    """Where the runs of a unit are measured."""
    return plan.points_of(population.cycles_for(unit.settings, unit.settings.steps), unit.points)


def begin_with(
    settings: RunSettings, runs: Sequence[Run], size: int
) -> tuple[jax.Array, Mapping[str, jax.Array]]:
    """Keys [R, 2] and start values by name [R]; the last run fills the room that is left."""
    runs = [*runs, *[runs[-1]] * (size - len(runs))]
    keys = jnp.stack([jax.random.PRNGKey(run.seed) for run in runs])
    starts = {
        name: [run.start.get(name, spec.start) for run in runs]
        for name, spec in settings.in_use.items()
    }
    return keys, population.start_values(settings, size, starts)


def columns_of(step: Callable[..., Any], shapes: Any) -> tuple[str, ...]:
    """Names of what is measured of the cycles that a step makes, and of what else there is."""
    row = jax.eval_shape(step, shapes, 0)[1]
    runs = row.reward.shape[0]
    one = jax.tree.map(lambda x: np.zeros((1, *x.shape)), row)
    others = {"greedy": np.zeros(runs), "finite": np.zeros(runs)}
    return tuple(measures.measured(one, steps=0, solving=measures.unsolved(runs), **others))


def judge_in_graph(
    unit: Unit, agent: SelfTuningAgent, points: int
) -> Callable[[Any, np.ndarray, int], np.ndarray]:
    """Returns (states of agents, keys of runs [R, 2], point) -> mean greedy returns [R].

    NaN where the greedy policy is not to be evaluated, and where no episode ends.
    """
    chosen = plan.evaluated(points, unit.evaluations)
    task = registry.make(unit.settings.env, unit.settings.eval_episodes, "jax")
    assert isinstance(task, GraphTask)
    episodes = evaluation.episodes_in_graph(task, agent)

    @jax.jit
    @jax.vmap
    def returns(state, key):
        rewards, _, ended = episodes(agent.params(state), key)
        return jnp.where(ended.any(), rewards.mean(), jnp.nan)

    def judge(state, keys, point):
        if point not in chosen:
            return np.full(len(keys), np.nan)
        return np.asarray(returns(state, _folded(keys, point)), np.float64)

    return judge


@jax.jit
def _folded(keys: jax.Array, point: int) -> jax.Array:
    """Keys [R, 2] of an evaluation, which are none of training's."""
    return jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, 1), point))(keys)


def all_finite(params: Any) -> jax.Array:
    """Whether no parameter is NaN or infinite, []."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(params)]).all()
