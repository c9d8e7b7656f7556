"""Evaluation of a run directory: `run.py eval RUN`."""

from __future__ import annotations

from pathlib import Path

import jax
from rich.console import Console

from agents import self_tuning
from configs.settings import RunSettings
from envs import registry
from envs.task import HostTask
from training import checkpoints, evaluation, report, run_directory


def evaluate_run(run: Path, settings: RunSettings, video: bool, console: Console) -> Path:
    """Evaluates the greedy agent of a run, prints the result and writes it beside the others.

    Args:
      run: run directory.
      settings: of the run; `eval_episodes` and `seed` may differ. With the same ones the
        episodes are those of its summary.
      video: whether to write an animation of one episode too.
      console: to print on.

    Returns:
      The file that was written, RUN/eval-N.json.

    Raises:
      ConfigError: if the checkpoint is missing, damaged or of another agent.
    """
    task = registry.make(settings.env, 1, settings.backend)
    if isinstance(task, HostTask):
        task.close()
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    template = jax.eval_shape(agent.init, jax.random.PRNGKey(0))
    state, env_steps = checkpoints.load(checkpoints.path_in(run), template)
    params = agent.params(state)

    animation = []
    if video:  # first, since an environment that cannot be drawn is an error
        path = run_directory.next_free(run / run_directory.VIDEOS, "episode", ".gif")
        total = evaluation.record(settings.env, agent, params, path, settings.seed)
        animation = [("animation", f"{path} (return {total:.1f})")]
    returns = evaluation.evaluate(
        settings.env,
        task.spec.backend,
        agent,
        params,
        settings.eval_episodes,
        settings.seed,
    )
    result = evaluation.summarise(returns)
    output = run_directory.next_free(run, "eval", ".json")
    content = {
        "env_id": task.spec.env_id,
        "env_steps": env_steps,
        "episodes": result.episodes,
        "seed": settings.seed,
        "return_mean": result.mean,
        "return_std": result.std,
        "return_mean_95_interval": [report.finite(result.low), report.finite(result.high)],
        "return_min": returns.min(),
        "return_max": returns.max(),
        "returns": returns.tolist(),
    }
    report.write_json(output, content)
    rows = [
        ("evaluation return", report.describe(result)),
        ("standard deviation", f"{result.std:.1f}"),
        ("lowest, highest", f"{returns.min():.1f}, {returns.max():.1f}"),
        ("written", str(output)),
        *animation,
    ]
    report.print_rows(console, rows)
    return output
