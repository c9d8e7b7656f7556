"""Evaluation of a run directory: `run.py eval RUN`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from selftuning.envs import answers, registry
from selftuning.envs.task import HostTask, TaskSpec
from selftuning.training import evaluation, faults, json_files, report, run_directory, saved_agent
from selftuning.training.acting import Agent
from selftuning.training.divergence import all_finite
from selftuning.training.evaluation import Evaluation


def evaluate_run(
    run: Path,
    settings: RunSettings,
    video: bool,
    stochastic: bool,
    best: bool,
    console: Console,
) -> Path:
    """Evaluates the agent of a run, prints the result and writes it beside the others.

    Args:
      run: run directory.
      settings: of the run; `eval_episodes` and `seed` may differ. With the same ones the
        episodes are those of its summary.
      video: whether to write an animation of one episode too (of the first steps if none ends).
      stochastic: whether actions are drawn from the policy; else the most probable ones are taken.
      best: the best agent that evaluations in training have found, in place of the last one.
      console: to print on.

    Returns:
      The file that was written, RUN/eval-N.json.

    Raises:
      ConfigError: if the checkpoint is missing, damaged or of another agent, or if the environment
        cannot be made or is not what the agent was trained in.
    """
    agent = saved_agent.load(run, best=best, trusted=True)  # the command line has asked
    if not all_finite(agent.params):
        raise ConfigError(f"run: {run} has an agent with parameters that are not finite")
    task = registry.make(settings.env, 1, settings.backend, settings.environment)
    if isinstance(task, HostTask):
        task.close()
    _same_spaces(agent, task.spec)

    if video:
        registry.check_drawn(settings.env, settings.environment)
    result = agent.evaluate(settings.eval_episodes, seed=settings.seed, stochastic=stochastic)
    output = run_directory.next_free(run, "eval", ".json")
    policy = {"policy": "stochastic" if stochastic else "greedy"}
    policy["agent"] = "best" if best else "last"
    content = _content(task.spec.env_id, agent.env_steps, settings.seed, result) | policy
    json_files.write_new(output, content)
    rows = [report.describe(result), *_spread(result), ("written", str(output))]
    if video:
        draw = partial(_animation, run, agent, settings, result, stochastic)
        rows += filter(None, [faults.tried(draw, "animation", run)])
    report.print_rows(console, rows)
    return output


def _same_spaces(agent: Agent, spec: TaskSpec) -> None:
    trained = agent.observation_space, agent.action_space
    for name, now, then in zip(
        ("observations", "actions"), saved_agent.own_spaces(spec), trained, strict=True
    ):
        if now != then:
            raise ConfigError(
                f"env: {spec.env_id!r} has {name} in {now}; the run was trained with {then}"
            )


def _animation(
    run: Path, agent: Agent, settings: RunSettings, result: Evaluation, stochastic: bool
) -> tuple[str, str]:
    """Writes the animation, and returns the row that says so.

    Raises:
      ConfigError: if there is no environment that draws.
      FailedEnvironmentError: if it fails.
    """
    path = run_directory.next_free(run / run_directory.VIDEOS, "episode", ".gif")
    # Of a stream without end every step of its beginning is shown, of an episode the whole.
    endless = result.returns is None
    limit = evaluation.IMAGES if endless else evaluation.STEP_LIMIT
    env = evaluation.drawable(settings.env, agent.environment)
    try:
        shown = evaluation.record(
            env, agent.functions, agent.params, path, settings.seed, limit, stochastic
        )
    except (Exception, SystemExit) as error:
        raise answers.failed("the environment that is drawn", error, env, "render") from error
    finally:
        answers.close(env)
    total, steps = float(shown.rewards[0]), int(shown.steps[0])
    success = f"reward {total:.4g} in {steps} steps" if endless else f"return {total:.1f}"
    return "animation", f"{path} ({success})"


def _content(env_id: str, env_steps: int, seed: int, result: Evaluation) -> dict[str, Any]:
    """Of eval-N.json: of returns, or of rewards a step where no episode has ended."""
    name, plural, values, *_ = report.measure(result)
    mean = evaluation.summarise(values)
    return {
        "env_id": env_id,
        "env_steps": env_steps,
        "episodes": mean.episodes,
        "seed": seed,
        f"{name}_mean": mean.mean,
        f"{name}_std": mean.std,
        f"{name}_mean_95_interval": [report.finite(mean.low), report.finite(mean.high)],
        f"{name}_min": values.min(),
        f"{name}_max": values.max(),
        plural: values.tolist(),
        "steps": result.steps.tolist(),
        "ended": result.ended.tolist(),
    }


def _spread(result: Evaluation) -> list[tuple[str, str]]:
    _, _, values, digits, *_ = report.measure(result)
    return [
        ("standard deviation", f"{values.std():{digits}}"),
        ("lowest, highest", f"{values.min():{digits}}, {values.max():{digits}}"),
    ]
