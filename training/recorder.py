"""Everything that is kept of a run while it goes on, for its log, its summary and its plots."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from selftuning.configs.extensions import definitions
from selftuning.configs.settings import RunSettings
from selftuning.envs.task import TaskSpec
from selftuning.training import run_directory
from selftuning.training.divergence import Fault, first_fault
from selftuning.training.evidence import bound_at, evidence, moved_by
from selftuning.training.history import Chunk, History
from selftuning.training.metrics import (
    Episodes,
    EpisodeStatistics,
    RewardStatistics,
    finished_episodes,
    lengths_of,
    reaches,
)
from selftuning.training.progress import Snapshot
from selftuning.training.runner import CycleMetrics
from selftuning.training.sinks import Log

_CHUNKS = 5  # over which the speed is measured

Value = float | list[float]  # of a hyperparameter: one, or one a head

_METHODS = {
    "none": "no tuning",
    "mg": "plain meta-gradients",
    "bmg": "bootstrapped meta-gradients",
}


class Past(NamedTuple):
    """What happened in the C cycles of a run, as `training.run.Run` has it."""

    env_steps: np.ndarray
    returns: np.ndarray
    rewards: np.ndarray
    hyperparameters: dict[str, np.ndarray]
    episodes: Episodes


class Recorder:
    """Takes the metrics of one chunk of cycles after the other.

    Attributes:
      env_steps: environment steps of the chunks so far.
      episodes: statistics of the episodes that ended in them.
      rewards: statistics of the rewards of all their steps.
      spec: of the task.
      settings: of the run.
      log: where its numbers are logged to; None for nowhere.
      history: where what a run that goes on must know is kept; None for nowhere.
      fault: the first number that was not finite; None where all were.
      evaluations: during training: environment steps so far -> mean of greedy episodes.
      begun: environment steps at which the present episode of each environment began, int64 [B].
    """

    def __init__(
        self, spec: TaskSpec, settings: RunSettings, steps_per_cycle: int, log: Log | None = None
    ):
        self.env_steps = 0
        self.episodes = EpisodeStatistics(spec.reward_threshold)
        self.rewards = RewardStatistics(steps_per_cycle)
        self.spec = spec
        self.settings = settings
        self.log = log
        self.history: History | None = None
        self.fault: Fault | None = None
        self.evaluations: Mapping[int, float] = {}
        self.begun = np.zeros(settings.num_envs, np.int64)
        self._steps_per_cycle = steps_per_cycle
        self._paths: list[dict[str, np.ndarray]] = []
        self._meta_gradients: dict[str, list[np.ndarray]] = {}
        self.start_clock()

    def start_clock(self, seconds: float = 0.0) -> None:
        """Counts seconds from now on, after those that there were before."""
        now = time.perf_counter()
        self._begun = now - seconds
        self._recent = deque([(self.env_steps, now)], _CHUNKS + 1)

    def add(self, metrics: CycleMetrics) -> Snapshot:
        """Waits for the metrics of a chunk, keeps and logs them."""
        metrics = jax.device_get(metrics)
        now = time.perf_counter()
        chunk = self._chunk(metrics)
        if self.fault is None:
            self.fault = first_fault(metrics, self.env_steps, self.settings)
        if self.history is not None:
            self.history.append(chunk)
        reward_per_step = self.take(chunk)
        hyperparameters = chunk.hyperparameters
        names = self.settings.in_use
        current = {name: shortest(hyperparameters[name][-1]) for name in names}
        # While a chunk was evaluated the next one was ready: alone it took no time at all.
        steps, since = self._recent[0]
        self._recent.append((self.env_steps, now))
        snapshot = Snapshot(
            self.env_steps,
            now - self._begun,
            (self.env_steps - steps) / (now - since),
            self.episodes.last_mean,
            reward_per_step,
            current,
            tuple(name for name in names if self._tuned(name)),
        )
        if self.log is not None:
            self.log.add_episodes(chunk.episodes)
            self._write(snapshot, metrics)
        return snapshot

    def take(self, chunk: Chunk) -> float:
        """Keeps a chunk, as it comes or as it was; returns the mean reward of a step."""
        ended = chunk.episodes
        if len(ended.lengths) < len(ended.env):
            known = ended.env_steps, ended.env, self.begun, len(self.begun)
            ended = ended._replace(lengths=lengths_of(*known))
        self.episodes.add(ended)
        self.begun[ended.env] = ended.env_steps  # of several in one environment the last
        self.env_steps += chunk.cycles * self._steps_per_cycle
        self._paths.append(chunk.hyperparameters)
        for name, gradients in chunk.meta_gradients.items():
            self._meta_gradients.setdefault(name, []).append(gradients)
        return self.rewards.add(chunk.rewards)

    def _chunk(self, metrics: CycleMetrics) -> Chunk:
        end, returns = metrics.episode_end, metrics.episode_return
        episodes = finished_episodes(end, returns, self.env_steps, self.begun)
        named = {n: metrics.diagnostics.get(f"meta_gradient/{n}") for n in self.settings.in_use}
        found = {n: x for n, x in named.items() if x is not None}
        return Chunk(episodes, metrics.reward, metrics.hyperparameters, found)

    def _write(self, snapshot: Snapshot, metrics: CycleMetrics) -> None:
        mean = self.evaluations.get(snapshot.env_steps)
        scalars = {
            "wall_seconds": snapshot.seconds,
            "steps_per_second": snapshot.steps_per_second,
            "return_mean_100": snapshot.mean_return,
            "episode_length": self.episodes.last_length,
            "episodes": self.episodes.count,
            **({"eval_mean": mean} if mean is not None else {}),
            "reward_per_step": snapshot.reward_per_step,
            **_by_head({f"hyperparameters/{k}": x for k, x in snapshot.hyperparameters.items()}),
            **{f"learning/{name}": _mean_known(x) for name, x in metrics.learning.items()},
            **{f"diagnostics/{name}": np.mean(x) for name, x in metrics.diagnostics.items()},
        }
        assert self.log is not None
        self.log.write(self.env_steps, scalars)

    def past(self) -> Past:
        """All that has been recorded, as arrays over cycles."""
        return Past(
            self._cycle_ends(),
            self.episodes.means_at(self._cycle_ends()),
            self.rewards.cycles,
            {name: self._path(name) for name in self.settings.in_use},
            self.episodes.all,
        )

    def hyperparameters(self, end: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Of every hyperparameter: start and end, whether it was tuned, and what moved it."""
        return {name: self._moved(name, end[name]) for name in self.settings.in_use}

    def _moved(self, name: str, end: Any) -> dict[str, Any]:
        """See `training.evidence.moved_by`."""
        spec, tuned, last = self.settings.in_use[name], self._tuned(name), shortest(end)
        scale, agent = definitions(self.settings.extensions)[name].scale, self.settings.agent
        falls = {"learning_rate": agent.anneal_learning_rate, "entropy": agent.anneal_entropy}
        return {
            "start": spec.start,
            "end": last,
            "tuned": tuned,
            "evidence": self._evidence(name),
            "bound": bound_at(scale, spec, last) if tuned else None,
            "falls": falls.get(name, False),
        }

    @property
    def greedy_reached_at(self) -> int | None:
        """Environment steps at which greedy episodes first had the threshold as their mean."""
        threshold = self.spec.reward_threshold
        if threshold is None or not self.episodes.count:  # they are judged by rewards then
            return None
        there = (steps for steps, mean in self.evaluations.items() if reaches(mean, threshold))
        return min(there, default=None)

    def _evidence(self, name: str) -> float | list[float | None] | None:
        """See `training.evidence`; None of what was not tuned, or is put out by a network."""
        parts = self._meta_gradients.get(name)
        return None if parts is None else evidence(np.concatenate(parts))

    def plot(self, run: Path) -> None:
        """Draws learning curve, learning and tuned hyperparameters into a run directory.

        The learning curve is one of returns, or of rewards if no episode has ended.
        """
        # Matplotlib, which training need not wait for.
        from selftuning.training import learning_plots, plots

        directory = run / run_directory.PLOTS
        directory.mkdir(exist_ok=True)
        settings, spec = self.settings, self.spec
        title = f"{spec.env_id}, {_METHODS[settings.tuning.method]}, seed {settings.seed}"
        curve = directory / "learning_curve.png"
        if self.episodes.count:
            threshold, greedy = spec.reward_threshold, self.evaluations
            plots.learning_curve(curve, title, self.episodes.all, threshold, greedy)
        else:
            plots.reward_curve(curve, title, self._steps_per_cycle, self.rewards.cycles)
        if any(map(self._tuned, settings.in_use)):
            self._plot_paths(directory / "hyperparameters.png", title)
        if (log := run / run_directory.METRICS).is_file():
            learning_plots.learning(directory / "learning.png", title, log)

    def _plot_paths(self, path: Path, title: str) -> None:
        from selftuning.training import plots

        names = self.settings.in_use
        ends = {name: values[-1] for name, values in self._paths[-1].items()} if self._paths else {}
        plots.hyperparameter_paths(
            path,
            title,
            self._cycle_ends(),
            {name: self._path(name) for name in names},
            names,
            {name: self._tuned(name) for name in names},
            definitions(self.settings.extensions),
            {name: moved_by(**self._moved(name, end)) for name, end in ends.items()},
        )

    def _cycle_ends(self) -> np.ndarray:
        """Environment steps up to the end of each cycle, int64 [C]."""
        cycles = np.arange(1, 1 + self.env_steps // self._steps_per_cycle, dtype=np.int64)
        return cycles * self._steps_per_cycle

    def _path(self, name: str) -> np.ndarray:
        """Values of a hyperparameter after each cycle, [C] or [C, H]."""
        parts = [path[name] for path in self._paths]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _tuned(self, name: str) -> bool:
        tuning_on = self.settings.tuning.method != "none"
        return self.settings.in_use[name].tuned and tuning_on


def shortest(value: Any) -> Value:
    """A float32 as the shortest decimal that means it: 0.99 where `float` says 0.9900000095.

    An array [H] of them, one a head, becomes a list.
    """
    if np.ndim(value):
        return [float(str(np.float32(head))) for head in value]
    return float(str(np.float32(value)))


def _mean_known(values: np.ndarray) -> float | None:
    """Mean of those that are known."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _by_head(values: dict[str, Value]) -> dict[str, float]:
    """Scalars by name; those of a list are called name/0, name/1, ..."""
    scalars: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, list):
            scalars |= {f"{name}/{head}": x for head, x in enumerate(value)}
        else:
            scalars[name] = value
    return scalars
