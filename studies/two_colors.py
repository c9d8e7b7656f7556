"""`run.py study two-colors`: tuned and fixed entropy weights beside each other, over many seeds.

Every method is one program, with all its rows and seeds side by side, and is written as soon as
it has run.
"""

from __future__ import annotations

import time
from pathlib import Path

import gymnasium as gym
import jax
import numpy as np
from rich.console import Console

from configs.studies import TwoColorsSettings
from envs import registry
from envs.two_colors import TwoColors, optimal_reward
from studies import population, two_colors_files, two_colors_report
from studies.population import Progress
from studies.two_colors_methods import METHODS, fixed_values, run_settings
from studies.two_colors_progress import StudyProgress
from studies.two_colors_results import Measured, Row, Study


def run(settings: TwoColorsSettings, out: Path | None, asked: bool, console: Console) -> Path:
    """Runs what has not run yet, writes, draws and prints; returns the directory.

    Args:
      settings: what to run.
      out: directory, which may be one to go on with; None makes runs/study-NAME-N.
      asked: whether the settings were asked for, see `two_colors_files.open_directory`.
      console: to print on.

    Raises:
      ConfigError: if the directory cannot be used or the settings are not allowed.
    """
    for name in settings.methods:
        run_settings(settings, name)
    settings, directory = two_colors_files.open_directory(settings, out, asked)
    finished = two_colors_files.finished(directory, settings)
    missing = [name for name in settings.methods if name not in finished]
    if missing or asked:
        two_colors_files.check_methods(directory, settings)
    if missing:
        _run_methods(settings, missing, directory, console)
    study = load(directory, settings)
    two_colors_report.write(directory, study)
    two_colors_report.print_summary(console, directory, study)
    return directory


def _run_methods(
    settings: TwoColorsSettings, names: list[str], directory: Path, console: Console
) -> None:
    console.print(
        f"{directory}: if this is stopped, the same command with --out {directory} goes on",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    work = {name: settings.steps * runs(settings, name) for name in names}
    with StudyProgress(console, work) as progress:
        for name in names:
            progress.begin(name)
            measured = measure(settings, name, progress.tell)
            two_colors_files.write(directory, name, measured)
            progress.end(two_colors_report.line(name, measured))


def runs(settings: TwoColorsSettings, name: str) -> int:
    """Runs of a method side by side: all rows and seeds."""
    return settings.seeds * max(1, len(fixed_values(settings, name)))


def measure(settings: TwoColorsSettings, name: str, progress: Progress | None = None) -> Measured:
    """Runs a method on all its seeds."""
    begun = time.perf_counter()
    method, run_with = METHODS[name], run_settings(settings, name)
    values = fixed_values(settings, name)
    rows = max(1, len(values))
    starts = {str(method.hyperparameter): np.repeat(values, settings.seeds).tolist()}
    outcome = population.run(
        run_with,
        list(range(settings.seed, settings.seed + settings.seeds)) * rows,
        starts if values else None,
        episodes=False,
        progress=progress,
    )
    shape = (rows, settings.seeds, -1)
    tuned = np.zeros((rows, settings.seeds, 0), np.float32)
    if not method.fixed:
        tuned = outcome.hyperparameters[method.hyperparameter].reshape(shape)
    return Measured(
        run_with,
        outcome.reward.reshape(shape),
        tuned,
        outcome.steps_per_cycle,
        outcome.seconds,
        time.perf_counter() - begun,
        jax.devices()[0].device_kind,
        two_colors_files.versions(),
    )


def load(directory: Path, settings: TwoColorsSettings) -> Study:
    """A study all methods of which have run."""
    measured = {name: two_colors_files.read(directory, name) for name in settings.methods}
    rows = [row for name in settings.methods for row in _rows(settings, name, measured[name])]
    task = TwoColors(**gym.spec(registry.resolve(settings.env)).kwargs)
    ceiling = optimal_reward(task.step_reward, task.respawn)
    streams = next(iter(measured.values())).settings.num_envs
    return Study(settings, measured, rows, task.switch_every * streams, ceiling)


def _rows(settings: TwoColorsSettings, name: str, measured: Measured) -> list[Row]:
    method, values = METHODS[name], fixed_values(settings, name)
    names = [f"{name}_{value:g}" for value in values] or [name]
    labels = [f"{method.label} {value:g}" for value in values] or [method.label]
    return [
        Row(
            names[i],
            labels[i],
            name,
            method.family,
            method.context,
            method.hyperparameter,
            value,
            measured.reward[i],
            measured.tuned[i],
            measured.length,
        )
        for i, value in enumerate(values or (None,))
    ]
