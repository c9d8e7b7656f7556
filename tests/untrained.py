"""Agents that act as they were made, for tests of acting alone."""

import jax

from selftuning.agents import self_tuning
from selftuning.configs.settings import AgentSettings, RunSettings
from selftuning.envs import registry
from selftuning.training import acting
from tests.quick_jit import quick_jit


def untrained(env, **agent):
    """The agent for an environment, before its first step."""
    task = registry.make(env, 1, "host")
    settings = RunSettings(agent=AgentSettings(hidden=(4,), **agent))
    both = task.spec.observation_space, task.spec.action_space
    functions = self_tuning.make(*both, settings)
    state = quick_jit(functions.init)(jax.random.PRNGKey(0))
    return acting.of_task(task, settings, functions, state, 0)
