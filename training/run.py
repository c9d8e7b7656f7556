"""A run from settings to what it came to, and to its directory if it has one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from signal import Signals
from typing import Any, cast

import jax
import numpy as np
from rich.console import Console

from selftuning.agents import self_tuning
from selftuning.configs.errors import FailedEnvironmentError, not_allowed
from selftuning.configs.settings import CHECKPOINT_EVERY, RunSettings, WandbMode
from selftuning.envs import kept, lives, registry
from selftuning.envs.task import GraphTask, HostTask, Task
from selftuning.training import best, faults, going_on, locks, run_directory, sizes, wandb_sink
from selftuning.training.acting import Agent
from selftuning.training.evaluation import Evaluation
from selftuning.training.metrics import Episodes
from selftuning.training.progress import Snapshot, waiting
from selftuning.training.run_files import RunFiles
from selftuning.training.runner import make_runner
from selftuning.training.saving import Saver
from selftuning.training.session import Session

Callback = Callable[[Snapshot], object]


@dataclass(frozen=True, eq=False)
class Run:
    """What a run came to; C cycles, in each of which hyperparameters were moved once.

    Attributes:
      settings: of the run.
      agent: at its end.
      env_steps: environment steps up to the end of each cycle [C], for the axis of a plot.
      returns: mean return of the last 100 episodes, or of fewer if there were no more [C]; NaN
        before the first has ended.
      rewards: mean reward of an environment step in each cycle [C].
      hyperparameters: values by name after each cycle [C], or [C, H] with H heads.
      episodes: every single episode: when it ended, and its return.
      summary: as in summary.json.
      evaluation: greedy episodes at the end; None if it was interrupted or has no directory.
      evaluations: during training (`eval_every`): environment steps so far -> mean of their
        greedy episodes.
      best: the best agent that these found; None without them.
      directory: of the run, if it has one.
      interrupted: whether it was stopped before its end, by a signal or by its callback.
      stopped_by: the signal, if one did.
    """

    settings: RunSettings
    agent: Agent
    env_steps: np.ndarray
    returns: np.ndarray
    rewards: np.ndarray
    hyperparameters: Mapping[str, np.ndarray]
    episodes: Episodes
    summary: Mapping[str, Any]
    evaluation: Evaluation | None = None
    evaluations: Mapping[int, float] = field(default_factory=dict)
    best: Agent | None = None
    directory: Path | None = None
    interrupted: bool = False
    stopped_by: Signals | None = None

    def __repr__(self) -> str:
        settings, last = self.settings, self.summary["last_100_return"]
        success = "" if last is None else f", return {last:.1f}"
        steps = self.summary["env_steps"]
        return f"<Run of {settings.env}, seed {settings.seed}: {steps:,} steps{success}>"

    def evaluate(
        self, episodes: int | None = None, *, seed: int | None = None, stochastic: bool = False
    ) -> Evaluation:
        """Runs episodes of the agent; see `Agent.evaluate`."""
        return self.agent.evaluate(episodes, seed=seed, stochastic=stochastic)


def train(
    settings: RunSettings,
    console: Console,
    *,
    out: Path | None = None,
    keep: bool = True,
    task: Task | None = None,
    callback: Callback | None = None,
    wandb: WandbMode = "off",
    checkpoint_every: float = CHECKPOINT_EVERY,
    save_environments: bool = False,
    compiling: AbstractContextManager[None] | None = None,
) -> Run:
    """Trains an agent; with a directory also evaluates it, draws plots and writes all of it there.

    If a run of the same settings has stopped in that directory before its end, it goes on.

    Ctrl-C, SIGTERM and SIGHUP end training after the chunk that is running, and skip the
    evaluation; a second one ends it at once.

    Args:
      settings: of the run, validated.
      console: to show progress on.
      out: run directory; `None` for a new numbered one under runs/.
      keep: whether there is a run directory at all.
      task: to train on, in place of the one that the settings name.
      callback: is shown where the run is after each chunk, and ends it by returning True.
      wandb: whether and how it is logged to Weights & Biases as well.
      checkpoint_every: seconds from one checkpoint to the next.
      save_environments: whether checkpoints have the environments of the host too, and a run that
        goes on restores them; they are tried first.
      compiling: entered while the program compiles, when a new run has written nothing yet.

    Raises:
      ConfigError: if the environment cannot be made, there are too few devices, the directory
        cannot be used, or Weights & Biases cannot.
      FailedEnvironmentError: if an environment failed; what was learned before is saved.
    """
    begun = time.perf_counter()
    given, found = task is not None, None
    say = partial(console.print, highlight=False, soft_wrap=True)
    if not given:
        settings = replace(settings, env=registry.resolve(settings.env))
    with ExitStack() as stack:
        if keep:
            wandb_sink.check(wandb)
            if out is not None and run_directory.holds_run(out):
                stack.enter_context(locks.locked(out))
            found = going_on.find(out, settings, say)
        if task is None:
            lived = found.env_steps // settings.num_envs if found is not None else 0
            task = registry.make(
                settings.env,
                settings.num_envs,
                settings.backend,
                lives.taken_up(settings.env, settings.environment, lived),
                processes=jax.process_count(),
                workers=settings.env_workers,
            )
        if save_environments:
            _check_kept(task, settings, given)
        if isinstance(task, HostTask) and not given:
            stack.callback(task.close)
        sizes.check(task.spec, settings)
        functions = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
        runner = make_runner(task, functions, settings)
        judge = stack.enter_context(best.judge(settings, functions, task if given else None))
        session = Session(
            task,
            functions,
            settings,
            runner,
            judge,
            given=given,
            found=found,
            begun=begun,
            keep_environments=save_environments,
        )
        try:
            with compiling or nullcontext(), waiting(console, "compiling"):
                session.compile()
        except FailedEnvironmentError as error:  # in its first reset
            faults.report_first_fault(out if keep else None, error)
            raise
        files, directory = None, None
        if keep:
            files = RunFiles(out, settings, found, session.recorder, wandb)
            stack.callback(files.close)
            directory = files.directory
        saver = stack.enter_context(closing(Saver(directory, checkpoint_every)))
        if found is not None:
            say(session.goes_on)
        elif out is not None:
            say(f"a new run of {settings.env} in {out}")
        session.learn(saver, console, callback)
        saver.wait()

        agent, evaluated, judged = session.agent(), None, None

        def summarise(finished: bool = False):
            summary = session.summary(evaluated, judged, finished)
            if files is not None:
                files.write_summary(summary)
            return summary

        # Whatever happens from here on: what was learned has its summary.
        summary = summarise()
        if keep and (session.finished or session.diverged):
            with waiting(console, "evaluating"):
                evaluated = faults.tried(agent.evaluate, "evaluation", directory)
                best_of = session.chosen.judged
                judged = faults.tried(best_of, "evaluation of the best", directory)
                summary = summarise()
        if files is not None:
            files.plot(session.recorder, console)
            if evaluated is not None or session.finished:
                summary = summarise(finished=session.finished)
    if session.failed is not None:
        faults.report_fault(directory, session.failed)
        raise session.failed
    return Run(
        settings,
        agent,
        *session.recorder.past(),
        summary,
        evaluated,
        session.chosen.evaluations,
        session.chosen.agent,
        directory,
        interrupted=not (session.finished or session.diverged),
        stopped_by=session.stopped.by,
    )


def _check_kept(task: Task, settings: RunSettings, given: bool) -> None:
    """Raises ConfigError unless the environments of a task can be kept and taken up again."""
    if given or isinstance(task, GraphTask) or settings.env_workers:
        allowed = (
            "false for environments inside jit, which are saved anyway, for a task of your own"
        )
        raise not_allowed("save_environments", "true", f"{allowed}, and with env_workers")
    asked = settings.env, 1, "host", settings.environment
    kept.check(lambda: cast(HostTask, registry.make(*asked)))
