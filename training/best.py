"""Evaluations while a run goes on, and the best agent that they have found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from selftuning.agents.self_tuning import SelfTuningAgent
from selftuning.configs.errors import not_allowed
from selftuning.configs.settings import RunSettings
from selftuning.envs import lives
from selftuning.envs.task import HostTask, Task
from selftuning.training import evaluation, faults
from selftuning.training.acting import Agent
from selftuning.training.evaluation import Evaluation

# Added to the seed of a run for the episodes that choose. With the seed itself, the evaluation at
# the end has others: a chosen agent is not judged by what it was chosen for.
_OTHER_EPISODES = 2**32


class Best:
    """Evaluates an agent every so many environment steps, and keeps the best one.

    Attributes:
      evaluations: environment steps so far -> mean of greedy episodes.
      agent: the best of them; None before the first. Of equal ones the last, which has learned for
        longer.
    """

    def __init__(
        self,
        every: int,
        make: Callable[[Any, int], Agent],
        evaluate: Callable[[Agent, int], Evaluation],
    ):
        """What it does.

        Args:
          every: environment steps from one evaluation to the next; 0 for none at all.
          make: (training state, environment steps) -> agent.
          evaluate: (agent, what is added to the seed) -> episodes.
        """
        self.evaluations: dict[int, float] = {}
        self.agent: Agent | None = None
        self._every, self._make, self._evaluate = every, make, evaluate
        self._due, self._highest = every, -math.inf

    def go_on(self, evaluations: Mapping[int, float], agent: Agent | None) -> None:
        """Knows of the evaluations before, and of the best agent that they have found."""
        self.evaluations.update(evaluations)
        self.agent = agent
        if self._every and evaluations:
            self._due = self._after(max(evaluations))
            self._highest = max(x for x in (-math.inf, *evaluations.values()) if not math.isnan(x))

    def __call__(self, state: Any, env_steps: int) -> bool:
        """Takes the state after a chunk, and evaluates it if it is time to.

        Returns:
          Whether it is the best so far, and to be kept.
        """
        if not self._every or env_steps < self._due:
            return False
        self._due = self._after(env_steps)
        agent = self._make(state, env_steps)
        what = f"evaluation at step {env_steps}"
        found = faults.tried(lambda: self._evaluate(agent, _OTHER_EPISODES), what)
        if found is None:
            return False
        mean = self.evaluations[env_steps] = found.mean
        best = mean >= self._highest  # no agent that is not a number is
        if best:
            self.agent, self._highest = agent, mean
        return best

    def _after(self, env_steps: int) -> int:
        return env_steps - env_steps % self._every + self._every

    def judged(self) -> dict[str, Any] | None:
        """Of summary.json: when the best was found, and how good it is in episodes of the end."""
        if self.agent is None:
            return None
        mean = self._evaluate(self.agent, 0).mean
        return {"env_steps": self.agent.env_steps, "eval_mean": mean}


@contextmanager
def judge(
    settings: RunSettings, functions: SelfTuningAgent, task: Task | None
) -> Iterator[Callable[[Agent, int], Evaluation]]:
    """Yields what evaluates agents of a run, in environments of its own: `evaluate` of `Best`.

    Args:
      settings: of the run.
      functions: the agent.
      task: that was given, where the settings name none.

    Raises:
      ConfigError: if environments are needed and there are no others than those of training.
    """
    if not settings.eval_every:
        yield _never
        return
    if lives.is_life(settings.env):
        allowed = f"0 for {settings.env}: which agent is best depends on the level that it is at"
        raise not_allowed("eval_every", settings.eval_every, allowed)
    if isinstance(task, HostTask):
        allowed = "0 for a task of your own on the host, which training has to itself"
        raise not_allowed("eval_every", settings.eval_every, allowed)
    episodes = settings.eval_episodes
    named = settings.env, settings.backend, episodes, settings.environment
    where: AbstractContextManager[Task]
    where = nullcontext(task) if task is not None else evaluation.task_for(*named)
    with where as there:
        run = evaluation.evaluator(there, functions, episodes)
        yield lambda agent, more: run(agent.params, settings.seed + more)


def _never(agent: Agent, more: int) -> Evaluation:
    raise AssertionError("no evaluation was asked for")
