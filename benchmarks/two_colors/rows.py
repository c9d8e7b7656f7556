"""The rows of a Two Colors study: seeds of one method from one start, and how sure they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import polars as pl

from selftuning.configs import studies, study_alike
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from selftuning.configs.studies import Start, StudySettings
from selftuning.configs.study_methods import StudyMethod
from selftuning.envs import registry
from selftuning.envs.hosted import functional_env
from selftuning.envs.two_colors import TwoColors, optimal_reward
from selftuning.studies import statistics
from selftuning.studies.contestants import in_words
from selftuning.studies.intervals import Interval, interval
from selftuning.studies.study_files import Measured


class Row(NamedTuple):
    """N seeds of one method from one start, over C entries of equal length.

    Attributes:
      name: in files, such as "fixed_0.1".
      label: in words.
      method: key of `StudySettings.methods`.
      start: values by name that differ from those of the method's settings.
      family: "fixed", "mg" or "bmg", with "q_" before it for Q(lambda); "heads" for tuned agents
        with auxiliary heads.
      context: what a meta-network sees; "none" where nothing is tuned.
      hyperparameter: what is tuned (entropy weight or epsilon, if it is among several), or is
        fixed.
      value: of the hyperparameter where it is fixed; None where it is tuned.
      reward: mean of an environment step in each entry, [N, C].
      tuned: the tuned hyperparameter after each entry, [N, C]; [N, 0] for a fixed row.
      finite: whether all parameters were finite at the end, [N] bool.
      length: environment steps in each entry.
    """

    name: str
    label: str
    method: str
    start: Start
    family: str
    context: str
    hyperparameter: str
    value: float | None
    reward: np.ndarray
    tuned: np.ndarray
    finite: np.ndarray
    length: int

    @property
    def env_steps(self) -> int:
        """Environment steps of one run."""
        return self.reward.shape[-1] * self.length

    @property
    def diverged(self) -> np.ndarray:
        """Whether parameters or the tuned hyperparameter of a run have become NaN, [N] bool."""
        return np.isnan(self.tuned).any(-1) | ~self.finite

    @property
    def means(self) -> np.ndarray:
        """Mean reward of an environment step over the whole run, [N]."""
        return self.reward.mean(-1)

    @property
    def mean(self) -> Interval:
        """Mean of `means` with its 95% interval."""
        return mean_interval(self.means)


class Study(NamedTuple):
    """A study on Two Colors.

    Attributes:
      measured: all of it.
      rows: as far as they have run, in the order of the settings; at least one.
      left_out: labels of the methods that have run and are not among them.
      phase: environment steps between two changes of the signs.
      ceiling: mean reward a step of a policy that knows the signs.
    """

    measured: Measured
    rows: list[Row]
    left_out: list[str]
    phase: int
    ceiling: float


def study_of(measured: Measured) -> Study:
    """A study on Two Colors, as far as it has run.

    Searches have no rows: each of their members has a clock of its own. Neither have methods whose
    signs change at other times than those of the study.

    Raises:
      ConfigError: if the task is another one, or nothing has run of what has rows.
    """
    settings, rows, left_out = measured.settings, list[Row](), list[str]()
    task = task_of(settings.run)
    if task is None:
        raise ConfigError(f"env: {settings.run.env} is not Two Colors, which the study must be on")
    for name, method in settings.methods.items():
        table, run = measured.table.filter(method=name), studies.run_settings(settings, name)
        same = (run.env, run.num_envs) == (settings.run.env, settings.run.num_envs)
        if method.kind == "runs" and same:
            rows += _rows(settings, name, table)
        elif table.height:
            left_out.append(method.label)
    if not rows:
        raise ConfigError("methods: none of those that have run has rewards to compare")
    phase = task.switch_every * settings.run.num_envs
    return Study(measured, rows, left_out, phase, optimal_reward(task.step_reward, task.respawn))


def task_of(settings: RunSettings) -> TwoColors | None:
    """The Two Colors task that runs have, whatever its id and its settings; None for another one.

    One with a time limit or wrappers is another one: signs there change at other times.
    """
    spec = gym.registry[registry.resolve(settings.env).rpartition(":")[2]]
    make = functional_env(spec)
    if make is None or spec.additional_wrappers or spec.max_episode_steps is not None:
        return None
    task = make()
    return task if isinstance(task, TwoColors) else None


def _rows(settings: StudySettings, name: str, table: pl.DataFrame) -> Iterator[Row]:
    """A row for each start of a method from which something has run."""
    method, run = settings.methods[name], studies.run_settings(settings, name)
    exploration = "epsilon" if run.agent.algorithm == "q_lambda" else "entropy"
    tuned = [key for key, spec in run.in_use.items() if spec.tuned and run.tuning.method != "none"]
    moved = exploration if exploration in tuned else next(iter(tuned), None)
    for number, start in enumerate(studies.starts(settings, name)):
        part = table.filter(pl.col("run") // settings.seeds == number)
        if not part.height:
            continue
        reward = _by_run(part, "reward")
        fixed_at = start.get(exploration, run.in_use[exploration].start)
        # What all rows begin with is no name of one.
        shared = study_alike.shared_start(settings).keys() - (method.starts or {}).keys()
        own = {key: x for key, x in start.items() if key not in shared and not method.at_outer}
        yield Row(
            name="_".join([name, *(f"{value:g}" for value in own.values())]),
            label=_label(method, own),
            method=name,
            start=start,
            family=_family(run, bool(tuned)),
            context=run.tuning.context if tuned else "none",
            hyperparameter=moved or exploration,
            value=None if tuned else fixed_at,
            reward=reward,
            tuned=_by_run(part, moved) if moved else np.zeros((len(reward), 0)),
            finite=_by_run(part, "finite")[:, -1] == 1,
            length=int(part["env_steps"][0]),
        )


def _by_run(rows: pl.DataFrame, column: str) -> np.ndarray:
    """A column as [N, C] float64, NaN for null."""
    values = rows[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return values.reshape(rows["run"].n_unique(), -1)


def _family(run: RunSettings, tuned: bool) -> str:
    if tuned and run.agent.heads > 1:
        return "heads"
    name = run.tuning.method if tuned else "fixed"
    return f"q_{name}" if run.agent.algorithm == "q_lambda" else name


def _label(method: StudyMethod, start: Start) -> str:
    if not start:
        return method.label
    if method.starts and len(start) == 1:  # it names what its own starts differ in
        return f"{method.label} {next(iter(start.values())):g}"
    return f"{method.label} ({in_words(start)})"


def best_fixed(rows: Sequence[Row], family: str = "fixed") -> Row | None:
    """The row of a family with the highest mean reward, chosen by the very runs it is shown with.

    That is in favour of the fixed rows.
    """
    candidates = [row for row in rows if row.family == family]
    return max(candidates, key=lambda row: float(row.means.mean()), default=None)


def baseline(rows: Sequence[Row]) -> Row | None:
    """What all rows are compared with: the best fixed actor-critic, or Q(lambda) without one."""
    return best_fixed(rows) or best_fixed(rows, "q_fixed")


def mean_interval(values: np.ndarray) -> Interval:
    """Mean of values [N] with its 95% bootstrap interval."""
    return interval([values], statistics.mean)


def ratio_interval(values: np.ndarray, others: np.ndarray) -> Interval | None:
    """Ratio of two means with its 95% bootstrap interval; both are resampled.

    Returns:
      None where the divisor may be 0 or less, by its own interval.
    """
    divisor = mean_interval(others)
    if (divisor.value if divisor.low is None else divisor.low) <= 0:
        return None
    return interval([values, others], lambda x, y, axis=-1: x.mean(axis) / y.mean(axis))
