"""Collectors: T steps of B environments as one trajectory, in-graph or from the host."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from selftuning.agents.self_tuning import SelfTuningAgent
from selftuning.agents.trajectory import Trajectory
from selftuning.envs.task import GraphTask, HostTask, TaskSpec


def _trajectory(
    spec: TaskSpec, observation: Any, action: Any, log_prob: Any, timestep: Any
) -> Trajectory:
    reward = timestep.reward
    return Trajectory(
        observation,
        action,
        log_prob,
        reward.clip(-1, 1) if spec.clip_rewards else reward,
        timestep.discount,
        timestep.truncated,
        timestep.next_observation,
    )


def collect_in_graph(task: GraphTask, agent: SelfTuningAgent, length: int):
    """Returns a pure function of (params, env_state, observation, key).

    It scans `length` steps and returns (env_state, observation, trajectory, timesteps); the
    last two are [T, B].
    """

    def collect(params, env_state, observation, key):
        def step(carry, key):
            env_state, observation = carry
            action, log_prob = agent.act(params, observation, key)
            env_state, timestep = task.step(env_state, agent.to_task(action))
            return (env_state, timestep.observation), (observation, action, log_prob, timestep)

        carry, (observations, actions, log_probs, timesteps) = jax.lax.scan(
            step, (env_state, observation), jax.random.split(key, length)
        )
        return (
            *carry,
            _trajectory(task.spec, observations, actions, log_probs, timesteps),
            timesteps,
        )

    return collect


def collect_on_host(task: HostTask, agent: SelfTuningAgent, length: int):
    """Returns (params, observation, key) -> (observation, trajectory, timesteps), in NumPy.

    Environments are stepped from Python; `agent.act` should be jitted.
    """
    split = jax.jit(lambda key: jax.random.split(key, length))

    def collect(params, observation, key):
        rows = []
        for step_key in np.asarray(split(key)):
            action, log_prob = (np.asarray(x) for x in agent.act(params, observation, step_key))
            timestep = task.step(agent.to_task(action))
            rows.append((observation, action, log_prob, timestep))
            observation = timestep.observation
        observations, actions, log_probs, timesteps = jax.tree.map(lambda *x: np.stack(x), *rows)
        trajectory = _trajectory(task.spec, observations, actions, log_probs, timesteps)
        return observation, trajectory, timesteps

    return collect
