"""A unit as a program: a sequence of points, at each of which its runs are measured.

All that a program carries from one point to the next is a pytree of arrays, so that a unit can be
stopped at any point and go on from there, and nothing tells the difference. In-graph runs are
vmapped; a run on the host has its environments in it, and begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from selftuning.agents import self_tuning
from selftuning.agents.self_tuning import SelfTuningAgent
from selftuning.configs.settings import EnvSettings, RunSettings
from selftuning.envs import lives, registry
from selftuning.envs.task import GraphTask, HostTask
from selftuning.studies import measures, plan, vmapped
from selftuning.studies.measures import Cycles, Values
from selftuning.studies.plan import Points, Run, Unit
from selftuning.training import evaluation, sizes
from selftuning.training.divergence import all_finite
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
      show: (file, runs) writes what there is to see beside the values of the runs, as it was when
        `advance` was called last; None for nothing.
    """

    points: int
    begin: Callable[[Sequence[Run]], Any]
    advance: Callable[[Any, int], tuple[Any, Values]]
    shapes: Callable[[int], Any] | None = None
    columns: tuple[str, ...] | None = None
    close: Callable[[], None] = lambda: None
    show: Callable[[Path, Sequence[Run]], None] | None = None


def runs_in_graph(unit: Unit) -> Program:
    """Runs side by side in one vmapped program."""
    settings, size = unit.settings, unit.size
    task, agent = vmapped.task_and_agent(settings)
    init, cycle = graph_cycle(task, agent, settings)
    points, cycle_steps = points_of(unit), settings.steps_per_cycle

    threshold = task.spec.reward_threshold
    step = step_of(cycle, threshold)
    begin_all = jax.jit(jax.vmap(init))
    starts = jax.eval_shape(lambda: vmapped.start_values(settings, [{}] * size))
    shapes = jax.eval_shape(begin_all, jax.ShapeDtypeStruct((size, 2), jnp.uint32), starts)
    advance_all = vmapped.compile_steps(step, shapes, points.cycles)
    judge = judge_in_graph(unit, agent, points.count)
    finite = jax.jit(jax.vmap(lambda state: all_finite(agent.params(state))))

    def begin(runs):
        keys, values = begin_with(settings, runs, size)
        solving = measures.unsolved(size)
        return {"train": begin_all(keys, values), "solving": solving, "keys": np.asarray(keys)}

    def advance(state, point):
        train, cycles = advance_all(vmapped.sharded(state["train"]), 0, points.cycles)
        before, after = (x * points.cycles * cycle_steps for x in (point, point + 1))
        solving = measures.solve(state["solving"], cycles, before, threshold)
        values = measures.measured(
            cycles,
            steps=after,
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
    task = registry.make(settings.env, settings.num_envs, "host", settings.environment)
    assert isinstance(task, HostTask)
    sizes.check(task.spec, settings)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    runner = make_runner(task, agent, settings)
    points = points_of(unit)
    chosen = plan.evaluated(points.count, unit.evaluations)
    advance_run: Callable[[Any], tuple[Any, CycleMetrics]] | None = None

    def begin(runs):
        nonlocal advance_run
        (run,) = runs
        train = runner.init(jax.random.PRNGKey(run.seed), run.start)
        advance_run = advance_run or runner.compile(train, points.cycles)
        return {"train": train, "solving": measures.unsolved(1), "seed": run.seed}

    def greedy(train, seed):
        params, episodes = agent.params(train.agent), settings.eval_episodes
        (lived,) = own_steps(settings, train.agent.updates[None])
        options = lives.as_last(settings.env, settings.environment, lived)
        result = evaluation.evaluate(settings.env, "host", agent, params, episodes, seed, options)
        return np.nan if result.returns is None else result.returns.mean()

    def advance(state, point):
        assert advance_run is not None
        train, metrics = advance_run(state["train"])
        cycles = measures.summed(metrics, ends=True)
        cycles = jax.tree.map(lambda x: np.asarray(x)[:, None], cycles)
        before, after = (x * points.cycles * runner.steps_per_cycle for x in (point, point + 1))
        solving = measures.solve(state["solving"], cycles, before, task.spec.reward_threshold)
        values = measures.measured(
            cycles,
            steps=after,
            solving=solving,
            greedy=np.array([greedy(train, state["seed"]) if point in chosen else np.nan]),
            finite=np.array([float(all_finite(agent.params(train.agent)))]),
        )
        return state | {"train": train, "solving": solving}, values

    return Program(points.count, begin, advance, close=task.close)


def points_of(unit: Unit) -> Points:
    """Where the runs of a unit are measured."""
    return plan.points_of(vmapped.cycles_for(unit.settings), unit.points)


def step_of(
    cycle: Callable[..., Any], threshold: float | None
) -> Callable[[Any, Any], tuple[Any, Cycles]]:
    """One cycle of runs side by side, with what is measured of it.

    Steps are kept where a threshold asks for them.
    """

    def step(train, _):
        train, metrics = jax.vmap(cycle, (0, None))(train, None)
        return train, jax.vmap(partial(measures.summed, ends=threshold is not None))(metrics)

    return step


def begin_with(
    settings: RunSettings, runs: Sequence[Run], size: int
) -> tuple[jax.Array, Mapping[str, jax.Array]]:
    """Keys [R, 2] and start values by name [R]; the last run fills the room that is left."""
    runs = [*runs, *[runs[-1]] * (size - len(runs))]
    keys = jnp.stack([jax.random.PRNGKey(run.seed) for run in runs])
    return keys, vmapped.start_values(settings, [run.start for run in runs])


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
    chosen, settings = plan.evaluated(points, unit.evaluations), unit.settings
    compiled: dict[str, Callable[..., jax.Array]] = {}  # one for each level of a life

    def on(options: EnvSettings) -> Callable[..., jax.Array]:
        task = registry.make(settings.env, settings.eval_episodes, "jax", options)
        assert isinstance(task, GraphTask)
        episodes = evaluation.episodes_in_graph(task, agent)

        @jax.jit
        @jax.vmap
        def returns(state, key):
            rewards, _, ended = episodes(agent.params(state), key)
            return jnp.where(ended.any(), rewards.mean(), jnp.nan)

        return returns

    def judge(state, keys, point):
        found = np.full(len(keys), np.nan)
        if point not in chosen:
            return found
        lived, folded = own_steps(settings, state.updates), _folded(keys, point)
        known = {n: lives.as_last(settings.env, settings.environment, n) for n in set(lived)}
        names = np.array([repr(known[n]) for n in lived])
        for name, options in {repr(x): x for x in known.values()}.items():
            compiled[name] = compiled.get(name) or on(options)
            found = np.where(names == name, compiled[name](state, folded), found)
        return found

    return judge


def own_steps(settings: RunSettings, updates: jax.Array) -> list[int]:
    """Steps of one environment that agents have learned from after so many updates [R]."""
    rollouts = np.asarray(updates) // settings.updates_per_rollout
    return [int(n) * settings.agent.rollout_length for n in rollouts]


@jax.jit
def _folded(keys: jax.Array, point: int) -> jax.Array:
    """Keys [R, 2] of an evaluation, which are none of training's."""
    return jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, 1), point))(keys)
