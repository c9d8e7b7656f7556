"""Many runs of one agent as one vmapped program, and what is measured of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from agents import self_tuning
from configs.settings import RunSettings
from envs import registry
from envs.task import GraphTask
from training import evaluation
from training.runner import graph_cycle

BINS = 60  # of a run, for learning curves
EPISODES = 20  # of a greedy evaluation
WINDOW = 100  # episodes of the mean by which a run counts as solved


class Outcome(NamedTuple):
    """R runs of S steps of each of B environments.

    Attributes:
      episode_end: [R, S, B] bool.
      episode_return: [R, S, B].
      greedy: mean greedy returns [R, E] after each of E equal parts of the run; () for none.
      hyperparameters: values by name [R, cycles].
      diagnostics: of the meta-learner, by name [R, cycles].
      seconds: of running, without compiling.
    """

    episode_end: np.ndarray
    episode_return: np.ndarray
    greedy: np.ndarray
    hyperparameters: dict[str, np.ndarray]
    diagnostics: dict[str, np.ndarray]
    seconds: float

    @property
    def env_steps(self) -> int:
        """Environment steps of one run."""
        return self.episode_end.shape[1] * self.episode_end.shape[2]


def run(
    settings: RunSettings,
    seeds: Sequence[int],
    starts: Mapping[str, Sequence[float]] | None = None,
    evaluations: int = 0,
) -> Outcome:
    """Trains R agents side by side for at least `settings.steps` environment steps each.

    Args:
      settings: of each run.
      seeds: of the runs [R].
      starts: start values [R] of some hyperparameters; the others start as in the settings.
      evaluations: E, greedy evaluations spread over the run, or none. Their steps are not
        counted: nothing is learned from them.
    """
    task = registry.make(settings.env, settings.num_envs, "jax")
    judge = registry.make(settings.env, EPISODES, "jax")
    assert isinstance(task, GraphTask)
    assert isinstance(judge, GraphTask)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    init, cycle = graph_cycle(task, agent, settings)
    greedy_returns = evaluation.in_graph(judge, agent)
    steps_per_cycle = settings.tuning.period * settings.agent.rollout_length * settings.num_envs
    parts = max(evaluations, 1)
    cycles = -(-settings.steps // (steps_per_cycle * parts))

    def one(key, start):
        def part(state, key):
            state, metrics = jax.lax.scan(cycle, state, None, cycles)
            greedy = greedy_returns(agent.params(state.agent), key).mean() if evaluations else ()
            return state, (metrics, greedy)

        keys = jax.random.split(jax.random.fold_in(key, 1), parts)
        return jax.lax.scan(part, init(key, start), keys)[1]

    defaults = {name: h.start for name, h in settings.in_use.items()}
    columns = {name: jnp.full(len(seeds), value) for name, value in defaults.items()}
    columns |= {name: jnp.asarray(x, jnp.float32) for name, x in (starts or {}).items()}
    keys = jnp.stack([jax.random.PRNGKey(seed) for seed in seeds])
    compiled = jax.jit(jax.vmap(one)).lower(keys, columns).compile()
    begun = time.perf_counter()
    result: Any = jax.tree.map(np.asarray, compiled(keys, columns))
    metrics, greedy = result
    seconds = time.perf_counter() - begun
    shape = (len(seeds), -1, settings.num_envs)
    return Outcome(
        metrics.episode_end.reshape(shape),
        metrics.episode_return.reshape(shape),
        greedy,
        {name: x.reshape(len(seeds), -1) for name, x in metrics.hyperparameters.items()},
        {name: x.reshape(len(seeds), -1) for name, x in metrics.diagnostics.items()},
        seconds,
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
