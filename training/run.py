"""A run from settings to what it came to, and to its directory if it has one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from selftuning.agents import self_tuning
from selftuning.agents.self_tuning import AgentState, SelfTuningAgent
from selftuning.configs import files
from selftuning.configs.settings import RunSettings, WandbMode
from selftuning.envs import registry
from selftuning.envs.task import HostTask, Task
from selftuning.training import (
    acting,
    best,
    evaluation,
    loop,
    parallel,
    report,
    run_directory,
    saved_agent,
    wandb_sink,
)
from selftuning.training.acting import Agent
from selftuning.training.evaluation import Evaluation
from selftuning.training.metrics import Episodes, Log
from selftuning.training.progress import Snapshot, make_progress
from selftuning.training.recorder import Recorder
from selftuning.training.runner import Runner, all_finite, make_runner

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
      interrupted: whether it was stopped before its end, by Ctrl-C or by its callback.
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
) -> Run:
    """Trains an agent; with a directory also evaluates it, draws plots and writes all of it there.

    Ctrl-C ends training after the chunk that is running, and skips the evaluation; a second
    one ends it at once.

    Args:
      settings: of the run, validated.
      console: to show progress on.
      out: run directory; `None` for a new numbered one under runs/.
      keep: whether there is a run directory at all.
      task: to train on, in place of the one that the settings name.
      callback: is shown where the run is after each chunk, and ends it by returning True.
      wandb: whether and how it is logged to Weights & Biases as well.

    Raises:
      ConfigError: if the environment cannot be made, there are too few devices, the directory
        cannot be used, or Weights & Biases cannot.
    """
    begun = time.perf_counter()
    if keep:
        run_directory.check(out)
        wandb_sink.check(wandb)
    given = task is not None
    if task is None:
        settings = replace(settings, env=registry.resolve(settings.env))
        task = registry.make(
            settings.env,
            settings.num_envs,
            settings.backend,
            settings.environment,
            processes=jax.process_count(),
            workers=settings.env_workers,
        )
    with ExitStack() as stack:
        if isinstance(task, HostTask) and not given:
            stack.callback(task.close)
        functions = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
        runner = make_runner(task, functions, settings)
        judge = stack.enter_context(best.judge(settings, functions, task if given else None))
        directory = _create(out, settings) if keep else None
        recorder = Recorder(task.spec, settings, runner.steps_per_cycle)
        if directory is not None:
            sinks = wandb_sink.sinks(wandb, settings, directory)
            recorder.log = stack.enter_context(closing(Log(directory, sinks)))

        def save(state: AgentState, env_steps: int, is_best: bool = False) -> None:
            if directory is not None:
                here = parallel.here(state)
                saved_agent.save(directory, functions, here, task.spec, env_steps, is_best)

        def agent_of(state: AgentState, env_steps: int) -> Agent:
            return acting.of_task(task, settings, functions, state, env_steps, given=given)

        chosen = best.Best(
            settings.eval_every,
            lambda state, env_steps: agent_of(parallel.here(state), env_steps),
            judge,
            lambda state, env_steps: save(state, env_steps, is_best=True),
        )
        recorder.evaluations = chosen.evaluations
        learned = _learn(runner, recorder, settings, save, chosen, console, callback)
        agent = agent_of(learned.state, recorder.env_steps)
        evaluated, judged = None, None
        if keep and not learned.interrupted:
            with console.status("evaluating"):
                evaluated, judged = agent.evaluate(), chosen.judged()

    if directory is not None:
        recorder.plot(directory / run_directory.PLOTS)
    summary = summary_of(
        recorder,
        functions,
        learned.state,
        evaluated,
        learned.seconds,
        judged,
        wall_seconds=time.perf_counter() - begun,
        compile_seconds=learned.compile_seconds,
    )
    if directory is not None:
        report.write_json(directory / run_directory.SUMMARY, summary)
    return Run(
        settings,
        agent,
        *recorder.history(),
        summary,
        evaluated,
        chosen.evaluations,
        chosen.agent,
        directory,
        interrupted=learned.interrupted,
    )


def _create(out: Path | None, settings: RunSettings) -> Path:
    directory = run_directory.create(out, settings)
    (directory / files.NAME).write_text(files.dump(settings), encoding="utf-8")
    return directory


class _Learned(NamedTuple):
    state: AgentState
    compile_seconds: float
    seconds: float
    interrupted: bool


def _learn(
    runner: Runner,
    recorder: Recorder,
    settings: RunSettings,
    save: Callable[[AgentState, int], None],
    watch: Callable[[AgentState, int], None],
    console: Console,
    callback: Callback | None,
) -> _Learned:
    """Compiles, runs all chunks and saves the agent."""
    cycles, chunks = loop.plan(settings.steps, runner.steps_per_cycle)
    steps_per_chunk = cycles * runner.steps_per_cycle

    with (
        make_progress(console, chunks * steps_per_chunk) as progress,
        loop.stop_signal(console.print) as stopped,
    ):

        def take(metrics):
            snapshot = recorder.add(metrics)
            progress.update(snapshot)
            return callback is not None and callback(snapshot) is True

        begun = time.perf_counter()
        # Start values are arguments, not constants: another start compiles nothing anew.
        start = {name: jnp.asarray(spec.start, float) for name, spec in settings.in_use.items()}
        state = runner.init(jax.random.PRNGKey(settings.seed), start)
        advance = runner.compile(state, cycles)
        compile_seconds = time.perf_counter() - begun
        recorder.start_clock()
        ended = loop.run_chunks(
            advance,
            state,
            chunks,
            take,
            in_background=runner.in_background,
            stopped=lambda: parallel.any_process(stopped()),
            save=lambda state, done: save(state.agent, done * steps_per_chunk),
            watch=lambda state, done: watch(state.agent, done * steps_per_chunk),
        )
    save(ended.state.agent, ended.chunks * steps_per_chunk)
    agent = parallel.here(ended.state.agent)
    return _Learned(agent, compile_seconds, ended.seconds, ended.chunks < chunks)


def summary_of(
    recorder: Recorder,
    functions: SelfTuningAgent,
    state: AgentState,
    result: Evaluation | None,
    seconds: float,
    best: dict[str, Any] | None = None,
    **times: float,
) -> dict[str, Any]:
    """The content of summary.json.

    Args:
      recorder: of the run.
      functions: the agent as pure functions.
      state: of the agent at the end.
      result: greedy episodes, if there were any.
      seconds: that training took.
      best: of the evaluations during training.
      **times: more of them by name.
    """
    settings, spec, returns = recorder.settings, recorder.spec, result and result.returns
    evaluated = None if returns is None else evaluation.summarise(returns)
    return {
        "env_id": spec.env_id,
        "meta": settings.tuning.method,
        "seed": settings.seed,
        "env_steps": recorder.env_steps,
        **{name: round(value, 3) for name, value in times.items()},
        "steps_per_second": round(recorder.env_steps / seconds, 1),
        "last_100_return": recorder.episodes.last_mean,
        "reward_per_step": recorder.rewards.last_mean,
        "total_reward": recorder.rewards.total,
        "eval_return_mean": evaluated and evaluated.mean,
        "eval_return_std": evaluated and evaluated.std,
        "eval_reward_per_step": result and result.reward_per_step,
        "best": best,
        "solved_at_env_steps": recorder.episodes.solved_at,
        "hyperparameters": recorder.hyperparameters(functions.hyperparameters(state)),
        "diverged": not bool(all_finite(functions.params(state))),
        "backend": spec.backend,
    }
