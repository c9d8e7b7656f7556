"""Many runs of one agent in one vmapped program: seeds and starts are traced values."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from selftuning.agents import self_tuning
from selftuning.configs import studies
from selftuning.configs.errors import ConfigError, not_allowed, require
from selftuning.configs.settings import RunSettings
from selftuning.configs.validate import validate
from selftuning.envs import registry
from selftuning.envs.task import GraphTask, Task
from selftuning.training import acting, loop, signals
from selftuning.training.progress import Snapshot, make_progress
from selftuning.training.recorder import Recorder
from selftuning.training.run import Run
from selftuning.training.runner import graph_cycle
from selftuning.training.summary import summary_of

Callback = Callable[[Sequence[Snapshot]], object]


@dataclass(frozen=True, eq=False)
class Runs(Sequence[Run]):
    """R runs of C cycles each that differ in their seeds and starts.

    Attributes:
      runs: every single one; its settings have its seed and its start.
    """

    runs: tuple[Run, ...]

    def __repr__(self) -> str:
        return f"<{len(self)} Runs of {self.runs[0].settings.env}>"

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: Any) -> Any:
        found = self.runs[index]
        return Runs(found) if isinstance(index, slice) else found

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def select(self, *, seed: int | None = None, **start: float) -> Runs:
        """The runs of a seed, or from a start: `runs.select(gamma=0.7)`.

        Raises:
          ConfigError: if there is no such run.
        """

        def fits(run: Run) -> bool:
            at = {name: spec.start for name, spec in run.settings.hyperparameters.items()}
            same = all(at.get(name) == value for name, value in start.items())
            return same and seed in (None, run.settings.seed)

        found = tuple(run for run in self.runs if fits(run))
        if not found:
            asked = {**({} if seed is None else {"seed": seed}), **start}
            raise ConfigError(f"select: there is no run with {asked}")
        return Runs(found)

    @cached_property
    def seeds(self) -> np.ndarray:
        """Their seeds [R]."""
        return np.array([run.settings.seed for run in self.runs])

    @property
    def env_steps(self) -> np.ndarray:
        """Environment steps of one run up to the end of each cycle [C]."""
        return self.runs[0].env_steps

    @cached_property
    def returns(self) -> np.ndarray:
        """Mean returns of the last 100 episodes [R, C]; see `Run.returns`."""
        return np.stack([run.returns for run in self.runs])

    @cached_property
    def rewards(self) -> np.ndarray:
        """Mean rewards of an environment step in each cycle [R, C]."""
        return np.stack([run.rewards for run in self.runs])

    @cached_property
    def hyperparameters(self) -> dict[str, np.ndarray]:
        """Values by name after each cycle [R, C], or [R, C, H] with H heads."""
        names = self.runs[0].hyperparameters
        return {name: np.stack([run.hyperparameters[name] for run in self.runs]) for name in names}


def train(
    settings: RunSettings,
    seeds: Sequence[int],
    starts: Mapping[str, Sequence[float]],
    console: Console,
    *,
    task: Task | None = None,
    callback: Callback | None = None,
) -> Runs:
    """Trains an agent for every seed from every start, all of them side by side.

    Args:
      settings: of each run but for its seed and its start, validated.
      seeds: of the runs.
      starts: values by name, every combination of which is a start.
      console: to show progress on.
      task: to train on, in place of the one that the settings name.
      callback: is shown where all runs are after each chunk, and ends them by returning True.

    Raises:
      ConfigError: if the environment is not stepped inside jit, or a seed or start is not allowed.
    """
    given = task is not None
    if task is None:
        settings = replace(settings, env=registry.resolve(settings.env))
        task = registry.make(
            settings.env,
            settings.num_envs,
            settings.backend,
            settings.environment,
            workers=settings.env_workers,
        )
    if not isinstance(task, GraphTask):
        allowed = "one that is stepped inside jit (train each run on its own with train)"
        raise not_allowed("env", repr(settings.env), allowed)
    alone = "for many runs side by side (train each run on its own with train)"
    require(not settings.eval_every, "eval_every", settings.eval_every, f"0 {alone}")
    policy = settings.on_divergence
    require(policy == RunSettings.on_divergence, "on_divergence", policy, f"left out {alone}")
    each = _settings_of_each(settings, seeds, starts)
    begun = time.perf_counter()
    functions = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    init, cycle = graph_cycle(task, functions, settings)
    steps_per_cycle = settings.steps_per_cycle
    cycles, chunks = loop.plan(settings.steps, steps_per_cycle)

    def run(states):
        return jax.lax.scan(lambda s, _: jax.vmap(cycle, (0, None))(s, None), states, None, cycles)

    recorders = [Recorder(task.spec, one, steps_per_cycle) for one in each]
    with (
        make_progress(console, chunks * cycles * steps_per_cycle * len(each)) as progress,
        signals.stop_signal(console.print) as stopped,
    ):

        def take(metrics):
            metrics = jax.device_get(metrics)  # leaves [N, R, ...]
            rows = (jax.tree.map(lambda x, r=r: x[:, r], metrics) for r in range(len(each)))
            snapshots = [recorder.add(row) for recorder, row in zip(recorders, rows, strict=True)]
            progress.update(_together(snapshots))
            return callback is not None and callback(snapshots) is True

        keys = jnp.stack([jax.random.PRNGKey(one.seed) for one in each])
        first = {
            name: jnp.array([one.hyperparameters[name].start for one in each], float)
            for name in settings.in_use
        }
        states = jax.jit(jax.vmap(init))(keys, first)
        advance = jax.jit(run, donate_argnums=0).lower(states).compile()
        compile_seconds = time.perf_counter() - begun
        for recorder in recorders:
            recorder.start_clock()
        ended = loop.run_chunks(advance, states, chunks, take, in_background=True, stopped=stopped)
    interrupted = ended.chunks < chunks
    agents = jax.device_get(ended.state.agent)
    result = []
    for r, (one, recorder) in enumerate(zip(each, recorders, strict=True)):
        state = jax.tree.map(lambda x, r=r: x[r], agents)
        agent = acting.of_task(task, one, functions, state, recorder.env_steps, given=given)
        summary = summary_of(
            recorder, functions, state, None, ended.seconds, compile_seconds=compile_seconds
        )
        result.append(Run(one, agent, *recorder.past(), summary, interrupted=interrupted))
    return Runs(tuple(result))


def _settings_of_each(
    settings: RunSettings, seeds: Sequence[int], starts: Mapping[str, Sequence[float]]
) -> list[RunSettings]:
    """Settings of every run, start after start, all seeds of each.

    Raises:
      ConfigError: if one of them is not allowed.
    """
    if not seeds:
        raise not_allowed("seeds", "none", "at least one")
    for name in starts:
        if name not in settings.in_use:
            raise ConfigError(
                f"starts: no hyperparameter in use is called {name!r}; they are "
                f"{', '.join(settings.in_use)}"
            )
    each = []
    for values in itertools.product(*starts.values()):
        start = dict(zip(starts, map(float, values), strict=True))
        for seed in seeds:
            one = studies.started(replace(settings, seed=int(seed)), start)
            validate(one)
            each.append(one)
    return each


def _together(snapshots: Sequence[Snapshot]) -> Snapshot:
    """Where the runs are together: steps of all of them, means of what they are like."""
    first, count = snapshots[0], len(snapshots)
    known = [s.mean_return for s in snapshots if s.mean_return is not None]

    def mean(name):
        return np.mean([s.hyperparameters[name] for s in snapshots], 0).tolist()

    return first._replace(
        env_steps=first.env_steps * count,
        steps_per_second=first.steps_per_second * count,
        mean_return=float(np.mean(known)) if known else None,
        reward_per_step=float(np.mean([s.reward_per_step for s in snapshots])),
        hyperparameters={name: mean(name) for name in first.hyperparameters},
    )
