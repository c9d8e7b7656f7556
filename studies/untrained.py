"""What an agent gets before it has learned: where normalised scores begin.

Its actions are drawn from its policy, as in training. They are about as good as random ones, since
policies begin close to uniform, and where actions are masked they are allowed ones.
"""

from __future__ import annotations

from dataclasses import replace

import jax

from selftuning.agents import self_tuning
from selftuning.configs import studies
from selftuning.configs.settings import RunSettings
from selftuning.configs.studies import StudySettings
from selftuning.studies.known import Known
from selftuning.training import evaluation

EPISODES = 20


def asked(study: StudySettings, known: Known) -> Known:
    """What is known of a study of several environments, with what an untrained agent gets there.

    Nothing is asked of environments whose anchors the study says.
    """
    if not study.tasks:
        return known
    found: dict[str, Known] = {}
    for task in studies.on_each(study):
        name, there = task.run.env, known.on(task.run.env)
        begun = {} if name in study.anchors else scores(replace(task.run, env=there.env))
        found[name] = replace(there, extensions={}, untrained=begun)
    first = found.pop(study.run.env)
    return replace(first, extensions=known.extensions, tasks=found)


def scores(settings: RunSettings) -> dict[str, float | None]:
    """Mean over episodes of the return, None if none ends, and of the reward a step."""
    env, options = settings.env, settings.environment
    with evaluation.task_for(env, settings.backend, EPISODES, options) as task:
        spaces = task.spec.observation_space, task.spec.action_space
        agent = self_tuning.make(*spaces, settings)
        params = agent.params(agent.init(jax.random.PRNGKey(settings.seed)))
        found = evaluation.on_task(task, agent, params, EPISODES, settings.seed, stochastic=True)
    mean = None if found.returns is None else float(found.returns.mean())
    return {"return": mean, "reward": found.reward_per_step}
