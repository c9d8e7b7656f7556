"""What members of a search are compared by, where nobody says it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from selftuning.agents.self_tuning import SelfTuningAgent
from selftuning.configs.searches import Fitness
from selftuning.envs.task import GraphTask
from selftuning.training.evaluation import HORIZON


def fitness_of(task: GraphTask, agent: SelfTuningAgent) -> Fitness:
    """The "return" of a task whose episodes end, or else the "reward".

    They do if it has a time limit. Where it has none an untrained agent acts for as many steps as
    an evaluation waits for an end.
    """
    if task.spec.max_episode_steps is not None:
        return "return"
    return "return" if bool(jax.jit(_ends(task, agent))(jax.random.PRNGKey(0))) else "reward"


def _ends(task: GraphTask, agent: SelfTuningAgent):
    """Returns (key) -> whether an episode ends in time, []."""

    def ends(key):
        key, key_agent, key_task = jax.random.split(key, 3)
        params = agent.params(agent.init(key_agent))
        state, observation = task.init(key_task)

        def waiting(carry):
            step, _, _, ended = carry
            return (step < HORIZON) & ~ended

        def advance(carry):
            step, state, seen, _ = carry
            action, _ = agent.act(params, seen, jax.random.fold_in(key, step))
            state, timestep = task.step(state, agent.to_task(action))
            ended = timestep.episode_end
            seen = agent.follow(params, seen, timestep.observation, ended)
            return step + 1, state, seen, ended.any()

        carry = 0, state, agent.begin(observation), jnp.asarray(False)
        return jax.lax.while_loop(waiting, advance, carry)[3]

    return ends
