"""The content of summary.json: what a run came to."""

from __future__ import annotations

from typing import Any

from selftuning.agents.self_tuning import AgentState, SelfTuningAgent
from selftuning.training import evaluation
from selftuning.training.divergence import all_finite
from selftuning.training.evaluation import Evaluation
from selftuning.training.metrics import SMALL_WINDOW, WINDOW
from selftuning.training.recorder import Recorder


def summary_of(
    recorder: Recorder,
    functions: SelfTuningAgent,
    state: AgentState,
    result: Evaluation | None,
    seconds: float,
    best: dict[str, Any] | None = None,
    finished: bool = False,
    agent_env_steps: int | None = None,
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
      finished: whether all steps were done, and the agent was evaluated.
      agent_env_steps: that the agent was trained for; None for those of the run.
      **times: more of them by name.
    """
    settings, spec, returns = recorder.settings, recorder.spec, result and result.returns
    solved, reached = (recorder.episodes.reached(n) for n in (WINDOW, SMALL_WINDOW))
    evaluated = None if returns is None else evaluation.summarise(returns)
    return {
        "env_id": spec.env_id,
        "meta": settings.tuning.method,
        "seed": settings.seed,
        "env_steps": recorder.env_steps,
        "agent_env_steps": recorder.env_steps if agent_env_steps is None else agent_env_steps,
        **{name: round(value, 3) for name, value in times.items()},
        "steps_per_second": round(recorder.env_steps / seconds, 1) if seconds else None,
        "last_100_return": recorder.episodes.last_mean,
        "last_100_episodes": min(recorder.episodes.count, WINDOW),
        "last_100_length": recorder.episodes.last_length,
        "reward_per_step": recorder.rewards.last_mean,
        "total_reward": recorder.rewards.total,
        "eval_return_mean": evaluated and evaluated.mean,
        "eval_return_std": evaluated and evaluated.std,
        "eval_reward_per_step": result and result.reward_per_step,
        "best": best,
        "reward_threshold": spec.reward_threshold,
        "solved_at_env_steps": solved and solved.at,
        "solved_window_env_steps": solved and solved.steps,
        "reached_at_env_steps": reached and reached.at,
        "greedy_reached_at_env_steps": recorder.greedy_reached_at,
        "hyperparameters": recorder.hyperparameters(functions.hyperparameters(state)),
        "diverged": recorder.fault is not None or not bool(all_finite(functions.params(state))),
        "not_finite": None if recorder.fault is None else str(recorder.fault),
        "backend": spec.backend,
        "finished": finished,
    }
