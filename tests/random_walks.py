"""Random actions in in-graph environments, and all that came of them."""

from typing import Any

import jax
import numpy as np

from selftuning.envs.functional import graph_task


def random_walk(env: Any, num_envs: int, num_steps: int, limit: int | None = None) -> Any:
    """States before the steps, actions and timesteps, each [T, B]."""
    task = graph_task(env, num_envs, max_episode_steps=limit)

    def run(key: jax.Array) -> Any:
        actions = jax.random.randint(key, (num_steps, num_envs), 0, env.action_space.n)

        def body(state: Any, action: jax.Array) -> Any:
            successor, timestep = task.step(state, action)
            return successor, (state.env, timestep)

        _, (states, timesteps) = jax.lax.scan(body, task.init(key)[0], actions)
        return states, actions, timesteps

    return jax.tree.map(np.asarray, jax.jit(run)(jax.random.key(0)))
