"""Everything that is kept of a run while it goes on, for its log, its summary and its plots."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from selftuning.configs.extensions import definitions
from selftuning.configs.settings import RunSettings
from selftuning.envs.task import TaskSpec
from selftuning.training.metrics import EpisodeStatistics, Log, RewardStatistics, finished_episodes
from selftuning.training.progress import Snapshot
from selftuning.training.runner import CycleMetrics

Value = float | list[float]  # of a hyperparameter: one, or one a head

_METHODS = {
    "none": "no tuning",
    "mg": "plain meta-gradients",
    "bmg": "bootstrapped meta-gradients",
}


class Recorder:
    """Takes the metrics of one chunk of cycles after the other.

    Attributes:
      env_steps: environment steps of the chunks so far.
      episodes: statistics of the episodes that ended in them.
      rewards: statistics of the rewards of all their steps.
    """

    def __init__(self, spec: TaskSpec, settings: RunSettings, steps_per_cycle: int, log: Log):
        self.env_steps = 0
        self.episodes = EpisodeStatistics(spec.reward_threshold)
        self.rewards = RewardStatistics(steps_per_cycle)
        self._spec = spec
        self._settings = settings
        self._steps_per_cycle = steps_per_cycle
        self._log = log
        self._begun = self._last = time.perf_counter()
        self._paths: list[dict[str, np.ndarray]] = []

    def start_clock(self) -> None:
        """Counts seconds from now on; until then, from when this was made."""
        self._begun = self._last = time.perf_counter()

    def add(self, metrics: CycleMetrics) -> Snapshot:
        """Waits for the metrics of a chunk, keeps and logs them."""
        metrics = jax.device_get(metrics)
        now = time.perf_counter()
        end, hyperparameters = metrics.episode_end, metrics.hyperparameters
        steps = end.shape[0] * self._steps_per_cycle
        self.episodes.add(finished_episodes(end, metrics.episode_return, self.env_steps))
        reward_per_step = self.rewards.add(metrics.reward)
        self.env_steps += steps
        self._paths.append(hyperparameters)
        names = self._settings.in_use
        current = {name: shortest(hyperparameters[name][-1]) for name in names}
        snapshot = Snapshot(
            self.env_steps,
            now - self._begun,
            steps / (now - self._last),
            self.episodes.last_mean,
            reward_per_step,
            self._shown(current),
        )
        scalars = {
            "wall_seconds": snapshot.seconds,
            "steps_per_second": snapshot.steps_per_second,
            "return_mean_100": snapshot.mean_return,
            "episodes": self.episodes.count,
            "reward_per_step": reward_per_step,
            **_by_head({f"hyperparameters/{name}": value for name, value in current.items()}),
            **{f"diagnostics/{name}": np.mean(x) for name, x in metrics.diagnostics.items()},
        }
        self._log.write(self.env_steps, scalars)
        self._last = now
        return snapshot

    def hyperparameters(self, end: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Start and end of every hyperparameter, and whether it was tuned."""
        return {
            name: {"start": spec.start, "end": shortest(end[name]), "tuned": self._tuned(name)}
            for name, spec in self._settings.in_use.items()
        }

    def plot(self, directory: Path) -> None:
        """Draws learning curve and hyperparameters into a directory, which is made.

        The learning curve is one of returns, or of rewards if no episode has ended.
        """
        from selftuning.training import plots  # Matplotlib, which training need not wait for

        directory.mkdir(exist_ok=True)
        settings, spec = self._settings, self._spec
        title = f"{spec.env_id}, {_METHODS[settings.tuning.method]}, seed {settings.seed}"
        curve = directory / "learning_curve.png"
        if self.episodes.count:
            plots.learning_curve(curve, title, self.episodes.all, spec.reward_threshold)
        else:
            plots.reward_curve(curve, title, self._steps_per_cycle, self.rewards.cycles)
        cycles = np.arange(1, 1 + self.env_steps // self._steps_per_cycle)
        plots.hyperparameter_paths(
            directory / "hyperparameters.png",
            title,
            cycles * self._steps_per_cycle,
            {name: self._path(name) for name in settings.in_use},
            settings.in_use,
            {name: self._tuned(name) for name in settings.in_use},
            definitions(settings.extensions),
        )

    def _path(self, name: str) -> np.ndarray:
        """Values of a hyperparameter after each cycle, [C] or [C, H]."""
        parts = [path[name] for path in self._paths]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _tuned(self, name: str) -> bool:
        tuning_on = self._settings.tuning.method != "none"
        return self._settings.in_use[name].tuned and tuning_on

    def _shown(self, values: dict[str, Value]) -> dict[str, Value]:
        tuned = {name: value for name, value in values.items() if self._tuned(name)}
        return tuned or values


def shortest(value: Any) -> Value:
    """A float32 as the shortest decimal that means it: 0.99 where `float` says 0.9900000095.

    An array [H] of them, one a head, becomes a list.
    """
    if np.ndim(value):
        return [float(str(np.float32(head))) for head in value]
    return float(str(np.float32(value)))


def _by_head(values: dict[str, Value]) -> dict[str, float]:
    """Scalars by name; those of a list are called name/0, name/1, ..."""
    scalars: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, list):
            scalars |= {f"{name}/{head}": x for head, x in enumerate(value)}
        else:
            scalars[name] = value
    return scalars
