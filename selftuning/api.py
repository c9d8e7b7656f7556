"""The front door: train agents, load them, and let them act."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import gymnasium as gym
from gymnasium.experimental.functional import FuncEnv
from rich.console import Console

from selftuning.configs import expectations, keywords
from selftuning.configs.errors import ConfigError, not_allowed, require
from selftuning.configs.settings import CHECKPOINT_EVERY, RunSettings, WandbMode
from selftuning.configs.validate import check_checkpoint_every
from selftuning.envs import given
from selftuning.envs.task import GraphTask, HostTask, Task
from selftuning.training import devices, going_on, host_devices, many, saved_agent
from selftuning.training import run as runs
from selftuning.training.acting import Agent
from selftuning.training.many import Runs
from selftuning.training.run import Callback, Run

# Arguments that are no settings, for those who slip.
_TRAIN = (
    *("settings", "preset", "extensions", "out", "progress", "callback", "wandb"),
    "checkpoint_every",
    "save_environments",
)
_TRAIN_MANY = ("seeds", "starts", "settings", "preset", "extensions", "progress", "callback")

Env = str | Callable[[], gym.Env] | FuncEnv | Task


@devices.in_float32()
def train(
    env: Env | None = None,
    *,
    settings: RunSettings | None = None,
    preset: str | None = None,
    extensions: Sequence[Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
    callback: Callback | None = None,
    wandb: WandbMode = "off",
    checkpoint_every: float = CHECKPOINT_EVERY,
    save_environments: bool = False,
    **changes: Any,
) -> Run:
    """Trains an agent that tunes its own hyperparameters.

    ```python
    import selftuning as st

    run = st.train("CartPole-v1", steps=200_000, start={"gamma": 0.7}, seed=0)
    plt.plot(run.env_steps, run.returns)
    plt.plot(run.env_steps, run.hyperparameters["gamma"])
    run.evaluate(episodes=50).interval
    ```

    Ctrl-C ends training after the chunk that is running (a fortieth of the run at most), and what
    was learned until then is returned.

    Args:
      env: a Gymnasium id whose version may be left out, a function or class that makes a
        `gymnasium.Env`, a `FuncEnv` (stepped inside jit), or a task of `selftuning.envs`.
        That of the settings if None, which is CartPole-v1 if they do not say.
      settings: to start from, in place of those that belong to the environment.
      preset: a whole method: "actor_critic", "stacx", "q_lambda", or "continual", for tasks that
        change.
      extensions: terms of the loss and of the rewards, hyperparameters, or other parts of your own:
        the objects that `loss_term` and its siblings return, or names of modules with them.
      out: directory for settings, metrics, plots, checkpoint and summary. It is new or empty, or
        has a run of the same settings, which then goes on; without `env`, `settings` and `preset`
        they are those of that run. Without `out` nothing is written, and the agent is not
        evaluated until you ask for it.
      progress: whether to show a bar, in terminals and notebooks.
      callback: is shown where the run is after each chunk of it (`Snapshot`), for pruning, early
        stopping or logs of your own. The run ends early if it returns True.
      wandb: "offline" or "online" to log to Weights & Biases as well; needs `out`.
      checkpoint_every: seconds from one checkpoint to the next.
      save_environments: whether checkpoints have the environments of the host too, pickled, and a
        run that goes on restores them.
      **changes: settings by the names of the command line's flags (`steps`, `seed`, `meta`,
        `num_envs`, `hidden`, ...), and `start={"gamma": 0.7}`, `bounds={"gamma": (0.5, 0.999)}`,
        `outer={...}`, `fix=["lambda"]`, `tune=["learning_rate"]`.

    Returns:
      The run: curves, paths of the hyperparameters, and the agent.

    Raises:
      ConfigError: for everything that is not allowed, before anything is written. One line says
        what, the value that it has, and what it may be.
    """
    directory = None if out is None else _path("out", out)
    if env is None and settings is None and preset is None:
        settings = going_on.settings_of(directory, extensions or ())
    settings, task = _asked(env, settings, preset, extensions, changes, _TRAIN)
    _check_callable("callback", callback)
    check_checkpoint_every(checkpoint_every)
    require(wandb in get_args(WandbMode), "wandb", repr(wandb), " | ".join(get_args(WandbMode)))
    if wandb != "off" and out is None:
        raise not_allowed("wandb", wandb, "off unless there is an out")
    _say_what_to_expect(settings)
    host_devices.enable_for(settings.devices, settings.agent.overlap)
    devices.start()
    with keywords.naming_keywords():
        return runs.train(
            settings,
            _console(progress),
            out=directory,
            keep=out is not None,
            task=task,
            callback=callback,
            wandb=wandb,
            checkpoint_every=checkpoint_every,
            save_environments=save_environments,
        )


@devices.in_float32()
def train_many(
    env: Env | None = None,
    *,
    seeds: Sequence[int] = (0,),
    starts: Mapping[str, Sequence[float]] | None = None,
    settings: RunSettings | None = None,
    preset: str | None = None,
    extensions: Sequence[Any] | None = None,
    progress: bool = True,
    callback: Callable[[Sequence[runs.Snapshot]], object] | None = None,
    **changes: Any,
) -> Runs:
    """Trains many agents side by side in one vmapped program: all seeds from all starts.

    ```python
    runs = st.train_many("CartPole-v1", seeds=range(8), starts={"gamma": [0.7, 0.99]})
    runs.returns.mean(0)           # [C]: the mean learning curve of 16 runs
    runs.select(gamma=0.7)         # those eight that began there
    runs[3].agent                  # each is a `Run`
    ```

    Args:
      env: as for `train`; it must be one that is stepped inside jit.
      seeds: of the runs.
      starts: values of hyperparameters at the first step, every combination of which is a start.
      settings: as for `train`, and so are all others.
      preset: a whole method, as for `train`.
      extensions: parts of your own.
      progress: whether to show a bar.
      callback: is shown where all runs are after each chunk, in their order; True ends them.
      **changes: settings by the names of the flags.

    Returns:
      The runs, start after start, all seeds of each.

    Raises:
      ConfigError: as `train`, and for an environment that is not stepped inside jit.
    """
    if "seed" in changes:
        raise not_allowed("seed", repr(changes["seed"]), "left out: seeds says which there are")
    settings, task = _asked(env, settings, preset, extensions, changes, _TRAIN_MANY)
    _check_callable("callback", callback)
    grid = _grid(starts or {}, changes.get("start", {}))
    _say_what_to_expect(settings)
    with keywords.naming_keywords():
        return many.train(
            settings, _seeds(seeds), grid, _console(progress), task=task, callback=callback
        )


@devices.in_float32()
def load(
    run: str | os.PathLike[str],
    *,
    extensions: Sequence[Any] = (),
    best: bool = False,
    trust: bool = False,
) -> Agent:
    """Loads the agent of a run directory, ready to act; nothing of its training is needed.

    ```python
    agent = st.load("runs/CartPole-v1-bmg-seed0-1")
    action, state = agent.act(observation)
    ```

    Args:
      run: directory of a run, also of an older version of this package.
      extensions: parts of your own that were given as objects when it was trained.
      best: the best agent that evaluations in training (`eval_every`) have found, not the last.
      trust: whether the modules that the run names, its extensions and its environment, may be
        imported. Those that you have imported yourself always may.

    Raises:
      ConfigError: if settings or checkpoint are missing, damaged, or of a newer version, or name
        modules that nobody vouches for.
    """
    if isinstance(extensions, str) or not isinstance(extensions, Sequence):
        raise not_allowed("extensions", repr(extensions), "a list")
    return saved_agent.load(_path("run", run), extensions, best, trust)


def _say_what_to_expect(settings: RunSettings) -> None:
    for line in expectations.warnings(settings):
        # of the line that called `train`, whose context manager is a call too
        warnings.warn(keywords.as_typed(line), stacklevel=4)


def _asked(
    env: Env | None,
    settings: RunSettings | None,
    preset: str | None,
    extensions: Sequence[Any] | None,
    changes: Mapping[str, Any],
    others: Sequence[str],
) -> tuple[RunSettings, Task | None]:
    """The settings, and the task if it was given."""
    if isinstance(env, (GraphTask, HostTask)):
        for name in ("num_envs", "backend", "env_workers"):
            if name in changes:
                raise ConfigError(f"{name}: left out for a task, which has its own")
        own = {"num_envs": env.num_envs, "backend": env.spec.backend}
        changes = {**changes, **own}
        env_id: str | None = env.spec.env_id
    else:
        env_id = env if env is None or isinstance(env, str) else given.register(env)
    asked = keywords.run_settings(settings, env_id, extensions, preset, changes, others)
    return asked, env if isinstance(env, (GraphTask, HostTask)) else None


def _path(name: str, value: Any) -> Path:
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise not_allowed(name, repr(value), "the path of a directory")
    return Path(value)


def _check_callable(name: str, value: Any) -> None:
    allowed = "a function of one argument, or None"
    require(value is None or callable(value), name, repr(value), allowed)


def _seeds(seeds: Any) -> list[int]:
    """Whole numbers, none of them twice: two runs of one seed are one run."""
    try:
        found = [operator.index(seed) for seed in seeds]
    except TypeError:
        raise not_allowed("seeds", repr(seeds), "a list of whole numbers") from None
    require(len(set(found)) == len(found), "seeds", repr(seeds), "a list without repetition")
    return found


def _grid(starts: Any, start: Any) -> dict[str, list[float]]:
    """Values of each hyperparameter that starts are made of."""
    if not isinstance(starts, Mapping):
        raise not_allowed("starts", repr(starts), "a mapping of hyperparameters to lists")
    grid = {}
    for name, values in starts.items():
        require(name not in start, f"start of {name}", start, "left out: starts has it")
        try:
            if isinstance(values, str) or not len(values):
                raise TypeError
            grid[name] = [float(value) for value in values]
        except (TypeError, ValueError):
            raise not_allowed(f"starts of {name}", repr(values), "a list of numbers") from None
    return grid


def _console(progress: bool) -> Console:
    """Where a bar can be drawn; nothing is shown elsewhere."""
    console = Console(stderr=True)
    return Console(
        stderr=True, quiet=not (progress and (console.is_terminal or console.is_jupyter))
    )
