"""Collectors: T steps of B environments as one trajectory, in-graph or from the host."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from selftuning.agents.memory import memory_of, observation_of
from selftuning.agents.self_tuning import SelfTuningAgent
from selftuning.agents.trajectory import Trajectory
from selftuning.envs.task import GraphTask, HostTask, TaskSpec


def _trajectory(
    spec: TaskSpec, acted: tuple[Any, Any, Any], timestep: Any, memory: Any
) -> Trajectory:
    reward = timestep.reward
    return Trajectory(
        *acted,
        reward.clip(-1, 1) if spec.clip_rewards else reward,
        timestep.discount,
        timestep.truncated,
        timestep.next_observation,
        memory,
    )


def collect_in_graph(task: GraphTask, agent: SelfTuningAgent, length: int):
    """Returns a pure function of (params, env_state, seen, key); `seen` is what is acted on.

    It scans `length` steps and returns (env_state, seen, trajectory, timesteps); the last two are
    [T, B].
    """

    def collect(params, env_state, seen, key):
        def step(carry, key):
            env_state, seen = carry
            action, log_prob = agent.act(params, seen, key)
            env_state, timestep = task.step(env_state, agent.to_task(action))
            following = agent.follow(params, seen, timestep.observation, timestep.episode_end)
            return (env_state, following), ((observation_of(seen), action, log_prob), timestep)

        carry, (acted, timesteps) = jax.lax.scan(
            step, (env_state, seen), jax.random.split(key, length)
        )
        return *carry, _trajectory(task.spec, acted, timesteps, memory_of(seen)), timesteps

    return collect


def collect_on_host(task: HostTask, agent: SelfTuningAgent, length: int):
    """Returns (params, seen, key) -> (seen, trajectory, timesteps), in NumPy.

    Environments are stepped from Python; the agent should be `self_tuning.compiled`.
    """
    split = jax.jit(lambda key: jax.random.split(key, length))

    def collect(params, seen, key):
        rows, memory = [], jax.tree.map(np.asarray, memory_of(seen))
        for step_key in np.asarray(split(key)):
            action, log_prob = (np.asarray(x) for x in agent.act(params, seen, step_key))
            timestep = task.step(agent.to_task(action))
            rows.append(((observation_of(seen), action, log_prob), timestep))
            seen = agent.follow(params, seen, timestep.observation, timestep.episode_end)
        acted, timesteps = jax.tree.map(lambda *x: np.stack(x), *rows)
        return seen, _trajectory(task.spec, acted, timesteps, memory), timesteps

    return collect
