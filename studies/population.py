"""Many runs of one agent as one vmapped program, and what is measured of them.

The program is vmapped over runs and sharded over all devices, which need not talk to each other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from scipy import stats

from selftuning.agents import self_tuning
from selftuning.agents.self_tuning import SelfTuningAgent
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from selftuning.envs import registry
from selftuning.envs.task import GraphTask
from selftuning.training import evaluation
from selftuning.training.runner import CycleMetrics, graph_cycle

BINS = 60  # of a run, for learning curves
EPISODES = 20  # of a greedy evaluation
WINDOW = 100  # episodes of the mean by which a run counts as solved

_REPORTS = 50  # of progress, in each part of a run
_LARGEST_CHUNK = 2**22  # environment steps of all runs, whose records are on the device at once

Progress = Callable[[int, int], object]  # (environment steps of a run done, of all of it)


class Outcome(NamedTuple):
    """R runs of S steps of each of B environments.

    Attributes:
      episode_end: [R, S, B] bool.
      episode_return: [R, S, B].
      greedy: mean greedy returns [R, E] after each of E equal parts of the run; () for none.
      hyperparameters: values by name [R, cycles] (or [R, cycles, H]).
      diagnostics: of the meta-learner, by name [R, cycles].
      seconds: of running, without compiling.
      reward: mean reward of an environment step in each cycle [R, cycles]; all that there is to
        see of tasks whose episodes never end.
      steps_per_cycle: environment steps of a run in each cycle.
    """

    episode_end: np.ndarray
    episode_return: np.ndarray
    greedy: np.ndarray
    hyperparameters: dict[str, np.ndarray]
    diagnostics: dict[str, np.ndarray]
    seconds: float
    reward: np.ndarray = np.empty((0, 0))
    steps_per_cycle: int = 0

    @property
    def env_steps(self) -> int:
        """Environment steps of one run."""
        if self.reward.size:
            return self.reward.shape[1] * self.steps_per_cycle
        return self.episode_end.shape[1] * self.episode_end.shape[2]


class Row(NamedTuple):
    """What is kept of one cycle of one run.

    Attributes:
      episodes: (episode_end [S, B], episode_return [S, B]).
      reward: mean over the environment steps of the cycle, [].
      hyperparameters: values by name.
      diagnostics: of the meta-learner, by name.
    """

    episodes: Any
    reward: Any
    hyperparameters: dict[str, Any]
    diagnostics: dict[str, Any]


def run(
    settings: RunSettings,
    seeds: Sequence[int],
    starts: Mapping[str, Sequence[float]] | None = None,
    evaluations: int = 0,
    *,
    progress: Progress | None = None,
) -> Outcome:
    """Trains R agents side by side for at least `settings.steps` environment steps each.

    Args:
      settings: of each run.
      seeds: of the runs [R].
      starts: start values [R] of some hyperparameters; the others start as in the settings.
      evaluations: E, greedy evaluations spread over the run, or none. Their steps are not
        counted: nothing is learned from them.
      progress: told from time to time how far the runs are. Nothing depends on it.

    Raises:
      ConfigError: if the environment cannot be stepped in-graph.
    """
    task, agent = task_and_agent(settings)
    init, cycle = graph_cycle(task, agent, settings)
    judge: Any = jax.jit(jax.vmap(_greedy(settings, agent)))
    parts = max(evaluations, 1)
    cycles = cycles_for(settings, settings.steps, parts)
    size = steps_per_cycle(settings)

    def step(states, _):
        states, metrics = jax.vmap(cycle, (0, None))(states, None)
        return states, jax.vmap(_keep)(metrics)

    # Devices take equally many runs; where that does not come out, the last one is repeated.
    runs, spare = len(seeds), -len(seeds) % min(jax.device_count(), len(seeds))
    seeds = [*seeds, *[seeds[-1]] * spare]
    first = start_values(settings, runs, starts)
    first = jax.tree.map(lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], spare, 0)]), first)
    keys = jnp.stack([jax.random.PRNGKey(seed) for seed in seeds])
    states = sharded(jax.jit(jax.vmap(init))(keys, first))
    advance = compile_steps(step, states, chunk_size(cycles, size * len(seeds), progress))
    judges = jnp.stack([jax.random.split(jax.random.fold_in(key, 1), parts) for key in keys])
    if evaluations:
        judge = judge.lower(states.agent, judges[:, 0]).compile()

    begun = time.perf_counter()
    rows, greedy = [], []
    for part in range(parts):
        states, kept = advance(
            states,
            part * cycles,
            cycles,
            lambda n: _tell(progress, n * size, parts * cycles * size),
        )
        rows += kept
        if evaluations:
            greedy.append(np.asarray(judge(states.agent, judges[:, part])))
    kept = jax.tree.map(lambda x: x[:runs], in_time_order(rows))
    seconds = time.perf_counter() - begun
    return _outcome(settings, kept, np.stack(greedy, 1)[:runs] if greedy else (), seconds)


def task_and_agent(settings: RunSettings) -> tuple[GraphTask, SelfTuningAgent]:
    """The task in-graph, and the agent for it.

    Raises:
      ConfigError: if the environment cannot be stepped in-graph.
    """
    task = registry.make(settings.env, settings.num_envs, "jax")
    if not isinstance(task, GraphTask):
        raise ConfigError(f"env: {settings.env} is not allowed; it must be one stepped in-graph")
    return task, self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)


def steps_per_cycle(settings: RunSettings) -> int:
    """Environment steps of all environments of a run between two meta-steps."""
    return settings.tuning.period * settings.agent.rollout_length * settings.num_envs


def cycles_for(settings: RunSettings, steps: int, parts: int = 1) -> int:
    """Cycles of each of `parts` equal parts that hold at least `steps` environment steps."""
    return -(-steps // (steps_per_cycle(settings) * parts))


def start_values(
    settings: RunSettings, runs: int, starts: Mapping[str, Any] | None = None
) -> dict[str, jax.Array]:
    """Start values [R] by name: those of the settings, but for some [R]."""
    values = {name: jnp.full(runs, spec.start, float) for name, spec in settings.in_use.items()}
    return values | {name: jnp.asarray(x, float) for name, x in (starts or {}).items()}


def chunk_size(cycles: int, steps: int, progress: Progress | None) -> int:
    """Cycles between two looks at the device, of `cycles` with `steps` environment steps each."""
    reports = _REPORTS if progress else 1
    return min(-(-cycles // reports), max(1, _LARGEST_CHUNK // steps))


def sharded(state: Any) -> Any:
    """The state of R runs, leaves [R, ...], on as many devices as divide R."""
    return jax.device_put(state, NamedSharding(_mesh(state), PartitionSpec("runs")))


def _mesh(state: Any) -> Mesh:
    runs = jax.tree.leaves(state)[0].shape[0]
    return Mesh(np.array(jax.devices()[: math.gcd(runs, jax.device_count())]), ("runs",))


def compile_steps(step: Callable[..., Any], state: Any, size: int):
    """Compiles a scan that is cut into chunks, so that the host sees them one after the other.

    Runs are independent: each device scans those that it has. The number of steps of a chunk is
    an argument of the program: one is compiled for chunks of all lengths, and where they are cut
    changes no result.

    Args:
      step: (state, number of the step) -> (state, row), both with leaves [R, ...] for any R.
      state: to compile for, as `sharded` puts it.
      size: most steps in a chunk.

    Returns:
      A function (state, first, count, tell) -> (state, rows) of `count` steps numbered from
      `first`. It consumes `state`; rows are a list of chunks in NumPy, leaves [steps, ...]; `tell`
      gets the number of steps that are done after each chunk.
    """

    def run(state, first, count):
        rows = jax.tree.map(
            lambda x: jnp.zeros((size, *x.shape), x.dtype), jax.eval_shape(step, state, first)[1]
        )

        def body(i, carry):
            state, rows = carry
            state, row = step(state, first + i)
            return state, jax.tree.map(lambda all_, x: all_.at[i].set(x), rows, row)

        return jax.lax.fori_loop(0, count, body, (state, rows))

    spec = PartitionSpec("runs")
    on_each = jax.shard_map(
        run,
        mesh=_mesh(state),
        in_specs=(spec, PartitionSpec(), PartitionSpec()),
        out_specs=(spec, PartitionSpec(None, "runs")),
        check_vma=False,
    )
    compiled = jax.jit(on_each, donate_argnums=0).lower(state, 0, 0).compile()

    def advance(state, first, count, tell=lambda done: None):
        chunks = []
        for begin in range(0, count, size):
            length = min(size, count - begin)
            # Put where it is already, but for empty arrays, which XLA leaves anywhere.
            state, rows = compiled(sharded(state), first + begin, length)
            chunks.append(jax.tree.map(lambda x, n=length: np.asarray(x)[:n], rows))
            tell(first + begin + length)
        return state, chunks

    return advance


def timed_turn(settings: RunSettings, seeds: Sequence[int]) -> tuple[Callable[[], None], int]:
    """All seeds in one program, for measurements of speed.

    Returns:
      A function that goes on for `settings.steps` of each seed, and the environment steps of that.
    """
    init, cycle = graph_cycle(*task_and_agent(settings), settings)
    cycles = cycles_for(settings, settings.steps)
    keys = jnp.stack([jax.random.PRNGKey(seed) for seed in seeds])
    state = sharded(jax.jit(jax.vmap(init))(keys, None))

    def step(state, _):
        state, metrics = jax.vmap(cycle, (0, None))(state, None)
        return state, metrics.reward

    advance = compile_steps(step, state, cycles)

    def turn():
        nonlocal state
        state = jax.block_until_ready(advance(sharded(state), 0, cycles)[0])

    return turn, len(seeds) * cycles * steps_per_cycle(settings)


def in_time_order(chunks: Sequence[Any]) -> Any:
    """Chunks of rows, leaves [steps, R, ...], as one with leaves [R, all steps, ...]."""
    return jax.tree.map(lambda *x: np.moveaxis(np.concatenate(x), 0, 1), *chunks)


def _greedy(settings: RunSettings, agent: SelfTuningAgent):
    """Returns (state of the agent, key) -> mean greedy return []."""
    judge = registry.make(settings.env, EPISODES, "jax")
    assert isinstance(judge, GraphTask)
    returns = evaluation.in_graph(judge, agent)
    return lambda state, key: returns(agent.params(state), key).mean()


def _keep(metrics: CycleMetrics) -> Row:
    kept = (metrics.episode_end, metrics.episode_return)
    return Row(kept, metrics.reward, metrics.hyperparameters, metrics.diagnostics)


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def _outcome(settings: RunSettings, kept: Row, greedy: Any, seconds: float) -> Outcome:
    shape = (len(kept.reward), -1, settings.num_envs)
    end, returns = kept.episodes
    return Outcome(
        end.reshape(shape),
        returns.reshape(shape),
        greedy,
        kept.hyperparameters,
        kept.diagnostics,
        seconds,
        kept.reward,
        steps_per_cycle(settings),
    )


def solved_at(outcome: Outcome, threshold: float) -> np.ndarray:
    """Environment steps [R] to a mean of `threshold` over 100 episodes; inf if never."""
    num_envs = outcome.episode_end.shape[2]
    result = []
    for ends, returns in zip(outcome.episode_end, outcome.episode_return, strict=True):
        when = np.flatnonzero(ends.ravel())
        means = np.convolve(returns.ravel()[when], np.full(WINDOW, 1 / WINDOW), "valid")
        above = np.flatnonzero(means >= threshold)
        row = when[above[0] + WINDOW - 1] // num_envs if len(above) else np.inf
        result.append((row + 1) * num_envs)
    return np.array(result, float)


def greedy_at(outcome: Outcome, threshold: float) -> np.ndarray:
    """Environment steps [R] to the first greedy evaluation of at least `threshold`."""
    parts = outcome.greedy.shape[1]
    passed = outcome.greedy >= threshold
    first = np.where(passed.any(1), passed.argmax(1) + 1, np.inf)
    return first * outcome.env_steps / parts


def curves(outcome: Outcome) -> np.ndarray:
    """Mean return of the episodes that end in each sixtieth of a run [R, 60].

    Its mean over a run weighs all environment steps alike, as the mean over episodes would
    not. A part in which no episode ends repeats the last one.
    """
    result = np.zeros((len(outcome.episode_end), BINS))
    for r, (ends, returns) in enumerate(
        zip(outcome.episode_end, outcome.episode_return, strict=True)
    ):
        parts = zip(np.array_split(ends, BINS), np.array_split(returns, BINS), strict=True)
        for b, (end, value) in enumerate(parts):
            result[r, b] = value[end].mean() if end.any() else result[r, b - 1]
    return result


def binned(values: np.ndarray, weights: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Weighted means of values over each sixtieth of the steps.

    Args:
      values: [..., N]; those of weight 0 may be NaN.
      weights: [..., N], say how many episodes a value is the mean of.
      steps: [N], environment steps up to the end of each.

    Returns:
      [..., 60]; a part with no weight repeats the last one, and is NaN if there is none before.
    """
    # The part in which an entry's steps end, those that end at its very end included.
    parts = np.minimum(np.ceil(steps / steps[-1] * BINS - 1e-9).astype(int) - 1, BINS - 1)
    result = np.full((*values.shape[:-1], BINS), np.nan)
    for b in range(BINS):
        weight = weights[..., parts == b]
        total = np.where(weight > 0, values[..., parts == b], 0.0) * weight
        count = weight.sum(-1)
        before = result[..., b - 1] if b else np.nan
        result[..., b] = np.where(count > 0, total.sum(-1) / np.maximum(count, 1e-30), before)
    return result


def last_tenth(curve: np.ndarray) -> np.ndarray:
    """Mean [R] of curves [R, 60] over their last tenth."""
    return curve[:, -BINS // 10 :].mean(1)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of values [starts, seeds] with its 95% bootstrap interval over seeds in each start."""
    rng = np.random.default_rng(0)
    starts, seeds = values.shape
    draws = rng.integers(0, seeds, (2000, starts, seeds))
    means = values[np.arange(starts)[:, None], draws].mean((1, 2))
    low, high = np.quantile(means, (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def median_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Median of values [R] with its 95% bootstrap interval."""
    ends = stats.bootstrap(
        (values,), np.median, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return float(np.median(values)), float(ends.low), float(ends.high)
