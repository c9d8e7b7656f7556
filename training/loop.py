"""A run from settings to run directory."""

from __future__ import annotations

import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from rich.console import Console

from selftuning.agents import self_tuning
from selftuning.configs import files
from selftuning.configs.settings import RunSettings, WandbMode
from selftuning.envs import registry
from selftuning.envs.task import HostTask
from selftuning.training import checkpoints, evaluation, parallel, report, run_directory, wandb_sink
from selftuning.training.metrics import Log
from selftuning.training.progress import make_progress
from selftuning.training.recorder import Recorder
from selftuning.training.runner import CycleMetrics, Runner, TrainState, make_runner

_FEWEST_CHUNKS = 40  # of a run, each of which is a line in the log
_LARGEST_CHUNK = 2**20  # environment steps, so that the metrics of one stay small in memory
_SECONDS_BETWEEN_CHECKPOINTS = 60.0


class Plan(NamedTuple):
    """A run in equal chunks, so that only one is compiled."""

    cycles: int  # of one chunk
    chunks: int


def plan(steps: int, steps_per_cycle: int) -> Plan:
    """Divides at least `steps` environment steps into equal chunks of whole cycles.

    There are 40 to 80 chunks (more where they would be large, fewer where there are fewer
    cycles); of these the number that goes beyond `steps` the least.
    """
    cycles = math.ceil(steps / steps_per_cycle)
    fewest = max(_FEWEST_CHUNKS, math.ceil(cycles * steps_per_cycle / _LARGEST_CHUNK))
    plans = (_of_size(cycles, math.ceil(cycles / n)) for n in range(fewest, 2 * fewest + 1))
    return min(plans, key=lambda p: (p.cycles * p.chunks, p.chunks))


def _of_size(cycles: int, size: int) -> Plan:
    return Plan(size, math.ceil(cycles / size))


class Result(NamedTuple):
    """What a run came to.

    Attributes:
      directory: of the run.
      summary: as in summary.json.
      evaluation: episodes of the greedy agent at the end; None if the run was interrupted.
    """

    directory: Path
    summary: dict[str, Any]
    evaluation: evaluation.Evaluation | None


def train(
    settings: RunSettings, out: Path | None, console: Console, wandb: WandbMode = "off"
) -> Result:
    """Trains, evaluates and writes a run directory.

    Ctrl-C ends training after the chunk that is running, and skips the evaluation; a second
    one ends it at once.

    Args:
      settings: of the run, validated.
      out: run directory; `None` for a new numbered one under runs/.
      console: to show progress on.
      wandb: whether and how it is logged to Weights & Biases as well.

    Raises:
      ConfigError: if the environment cannot be made, there are too few devices, the directory
        cannot be used, or Weights & Biases cannot.
    """
    begun = time.perf_counter()
    run_directory.check(out)
    wandb_sink.check(wandb)
    settings = replace(settings, env=registry.resolve(settings.env))
    task = registry.make(
        settings.env, settings.num_envs, settings.backend, processes=jax.process_count()
    )
    with ExitStack() as stack:
        if isinstance(task, HostTask):
            stack.callback(task.close)
        agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
        runner = make_runner(task, agent, settings)
        directory = run_directory.create(out, settings)
        (directory / files.NAME).write_text(files.dump(settings), encoding="utf-8")

        sinks = wandb_sink.sinks(wandb, settings, directory)
        log = stack.enter_context(closing(Log(directory, sinks)))
        recorder = Recorder(task.spec, settings, runner.steps_per_cycle, log)
        training = _run(runner, recorder, settings, checkpoints.path_in(directory), console)
        state = parallel.here(training.state.agent)
        result = None
        if not training.interrupted:
            with console.status("evaluating"):
                result = evaluation.evaluate(
                    settings.env,
                    task.spec.backend,
                    agent,
                    agent.params(state),
                    settings.eval_episodes,
                    settings.seed,
                )

    recorder.plot(directory / run_directory.PLOTS)
    returns = result and result.returns
    evaluated = None if returns is None else evaluation.summarise(returns)
    summary = {
        "env_id": task.spec.env_id,
        "meta": settings.tuning.method,
        "seed": settings.seed,
        "env_steps": recorder.env_steps,
        "wall_seconds": round(time.perf_counter() - begun, 3),
        "compile_seconds": round(training.compile_seconds, 3),
        "steps_per_second": round(recorder.env_steps / training.seconds, 1),
        "last_100_return": recorder.episodes.last_mean,
        "reward_per_step": recorder.rewards.last_mean,
        "total_reward": recorder.rewards.total,
        "eval_return_mean": evaluated and evaluated.mean,
        "eval_return_std": evaluated and evaluated.std,
        "eval_reward_per_step": result and result.reward_per_step,
        "solved_at_env_steps": recorder.episodes.solved_at,
        "hyperparameters": recorder.hyperparameters(agent.hyperparameters(state)),
        "diverged": not _finite(agent.params(state)),
        "backend": task.spec.backend,
    }
    report.write_json(directory / run_directory.SUMMARY, summary)
    return Result(directory, summary, result)


def _finite(params: Any) -> bool:
    return all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(params))


class _Training(NamedTuple):
    state: TrainState
    compile_seconds: float
    seconds: float
    interrupted: bool


def _run(
    runner: Runner, recorder: Recorder, settings: RunSettings, checkpoint: Path, console: Console
) -> _Training:
    """Compiles, runs all chunks and saves the agent."""
    cycles, chunks = plan(settings.steps, runner.steps_per_cycle)
    steps_per_chunk = cycles * runner.steps_per_cycle
    with (
        make_progress(console, chunks * steps_per_chunk) as progress,
        _stop_signal(console) as stopped,
    ):
        begun = time.perf_counter()
        # Start values are arguments, not constants: another start compiles nothing anew.
        start = {name: jnp.asarray(spec.start, float) for name, spec in settings.in_use.items()}
        state = runner.init(jax.random.PRNGKey(settings.seed), start)
        advance = runner.compile(state, cycles)
        compiled = saved = time.perf_counter()
        recorder.start_clock()
        waiting, done = deque[CycleMetrics](), 0
        while done < chunks and not parallel.any_process(stopped()):
            state, metrics = advance(state)
            done += 1
            waiting.append(metrics)
            # Where the device works on the next chunk meanwhile, this one's turn is then.
            while len(waiting) > runner.in_background:
                progress.update(recorder.add(waiting.popleft()))
            if time.perf_counter() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                checkpoints.save(checkpoint, parallel.here(state.agent), done * steps_per_chunk)
                saved = time.perf_counter()
        for metrics in waiting:
            progress.update(recorder.add(metrics))
        seconds = time.perf_counter() - compiled
    checkpoints.save(checkpoint, parallel.here(state.agent), done * steps_per_chunk)
    return _Training(state, compiled - begun, seconds, done < chunks)


@contextmanager
def _stop_signal(console: Console) -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C into an answer to a question; the second interrupts as usual."""
    stopped = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt
        stopped = True
        console.print("stopping after this chunk; Ctrl-C again ends at once")

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: stopped
    finally:
        signal.signal(signal.SIGINT, previous)
