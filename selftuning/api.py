"""The front door: train agents, load them, and let them act."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.experimental.functional import FuncEnv
from rich.console import Console

from selftuning.configs import keywords
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.configs.settings import RunSettings, WandbMode
from selftuning.envs import given
from selftuning.envs.task import GraphTask, HostTask, Task
from selftuning.training import many, saved_agent
from selftuning.training import run as runs
from selftuning.training.acting import Agent
from selftuning.training.many import Runs
from selftuning.training.run import Callback, Run

Env = str | Callable[[], gym.Env] | FuncEnv | Task


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
      preset: a method of the literature, "stacx" or "q_lambda".
      extensions: terms of the loss and of the rewards, hyperparameters, or other parts of your own:
        the objects that `loss_term` and its siblings return, or names of modules with them.
      out: directory for settings, metrics, plots, checkpoint and summary, new or empty. Without
        it nothing is written, and the agent is not evaluated until you ask for it.
      progress: whether to show a bar, in terminals and notebooks.
      callback: is shown where the run is after each chunk of it (`Snapshot`), for pruning, early
        stopping or logs of your own. The run ends early if it returns True.
      wandb: "offline" or "online" to log to Weights & Biases as well; needs `out`.
      **changes: settings by the names of the command line's flags (`steps`, `seed`, `meta`,
        `num_envs`, `hidden`, ...), and `start={"gamma": 0.7}`, `bounds={"gamma": (0.5, 0.999)}`,
        `outer={...}`, `fix=["lambda"]`, `tune=["learning_rate"]`.

    Returns:
      The run: curves, paths of the hyperparameters, and the agent.

    Raises:
      ConfigError: for everything that is not allowed, before anything is written. One line says
        what, the value that it has, and what it may be.
    """
    settings, task = _asked(env, settings, preset, extensions, changes)
    if wandb != "off" and out is None:
        raise not_allowed("wandb", wandb, "off unless there is an out")
    return runs.train(
        settings,
        _console(progress),
        out=None if out is None else Path(out),
        keep=out is not None,
        task=task,
        callback=callback,
        wandb=wandb,
    )


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
      preset: a method of the literature.
      extensions: parts of your own.
      progress: whether to show a bar.
      callback: is shown where all runs are after each chunk, in their order; True ends them.
      **changes: settings by the names of the flags.

    Returns:
      The runs, start after start, all seeds of each.

    Raises:
      ConfigError: as `train`, and for an environment that is not stepped inside jit.
    """
    settings, task = _asked(env, settings, preset, extensions, changes)
    return many.train(
        settings, list(seeds), starts or {}, _console(progress), task=task, callback=callback
    )


def load(run: str | os.PathLike[str], *, extensions: Sequence[Any] = ()) -> Agent:
    """Loads the agent of a run directory, ready to act; nothing of its training is needed.

    ```python
    agent = st.load("runs/CartPole-v1-bmg-seed0-1")
    action, state = agent.act(observation)
    ```

    Args:
      run: directory of a run, also of an older version of this package.
      extensions: parts of your own that were given as objects when it was trained.

    Raises:
      ConfigError: if settings or checkpoint are missing, damaged, or of a newer version.
    """
    return saved_agent.load(Path(run), extensions)


def _asked(
    env: Env | None,
    settings: RunSettings | None,
    preset: str | None,
    extensions: Sequence[Any] | None,
    changes: Mapping[str, Any],
) -> tuple[RunSettings, Task | None]:
    """The settings, and the task if it was given."""
    if isinstance(env, (GraphTask, HostTask)):
        for name in ("num_envs", "backend"):
            if name in changes:
                raise ConfigError(f"{name}: left out for a task, which has its own")
        own = {"num_envs": env.num_envs, "backend": env.spec.backend}
        changes = {**changes, **own}
        env_id: str | None = env.spec.env_id
    else:
        env_id = env if env is None or isinstance(env, str) else given.register(env)
    asked = keywords.run_settings(settings, env_id, extensions, preset, changes)
    return asked, env if isinstance(env, (GraphTask, HostTask)) else None


def _console(progress: bool) -> Console:
    """Where a bar can be drawn; nothing is shown elsewhere."""
    console = Console(stderr=True)
    return Console(
        stderr=True, quiet=not (progress and (console.is_terminal or console.is_jupyter))
    )
