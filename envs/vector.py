"""A `HostTask` from any Gymnasium id, through `gymnasium.vector`."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from selftuning.configs.errors import ConfigError
from selftuning.envs.functional import check_positive
from selftuning.envs.spaces import AgentView
from selftuning.envs.task import HostTask, TaskSpec, Timestep


def host_task(env: str | EnvSpec, num_envs: int) -> HostTask:
    """B environments of one Gymnasium id, stepped one after the other in this process.

    `reset(seed)` seeds all that the environments draw from then on, each environment
    with a seed of its own. `step` returns new arrays; where no episode ends,
    `next_observation` and `observation` are the same one.

    Args:
      env: a registered id or its specification (a deprecated id warns, its
        specification does not).
      num_envs: B.

    Raises:
      ConfigError: the environment cannot be created, a space is not supported, or
        `num_envs` is below 1.
    """
    check_positive("num_envs", num_envs)
    spec = gym.spec(env) if isinstance(env, str) else env
    vector_env = _make_vector_env(spec, num_envs)
    # Replaced, never written to: timesteps that were handed out keep their arrays.
    episode_return = np.zeros(num_envs, np.float32)
    episode_length = np.zeros(num_envs, np.int32)

    def reset(seed: int) -> np.ndarray:
        nonlocal episode_return, episode_length
        # Seeds seed, seed + 1, ... would give neighbouring seeds most episodes in common.
        seeds: list[int | None] = [
            int(s) for s in np.random.SeedSequence(seed).generate_state(num_envs)
        ]
        for single_env, single_seed in zip(vector_env.envs, seeds, strict=True):
            # Some environments draw from their own spaces.
            single_env.unwrapped.action_space.seed(single_seed)
            single_env.unwrapped.observation_space.seed(single_seed)
        observation, _ = vector_env.reset(seed=seeds)
        episode_return = np.zeros(num_envs, np.float32)
        episode_length = np.zeros(num_envs, np.int32)
        return observation

    def step(action: np.ndarray) -> Timestep:
        nonlocal episode_return, episode_length
        observation, rewards, terminated, truncated, info = vector_env.step(np.asarray(action))
        reward = rewards.astype(np.float32)
        end = terminated | truncated
        episode_return = episode_return + reward
        episode_length = episode_length + 1
        timestep = Timestep(
            observation=observation,
            next_observation=_successors(observation, end, info),
            reward=reward,
            discount=1.0 - terminated.astype(np.float32),
            truncated=truncated & ~terminated,
            episode_end=end,
            episode_return=episode_return,
            episode_length=episode_length,
        )
        episode_return = np.where(end, np.float32(0), episode_return)
        episode_length = np.where(end, np.int32(0), episode_length)
        return timestep

    task_spec = TaskSpec(
        env_id=spec.id,
        observation_space=vector_env.single_observation_space,
        action_space=vector_env.single_action_space,
        max_episode_steps=spec.max_episode_steps,
        reward_threshold=spec.reward_threshold,
        backend="host",
        own_spaces=_own_spaces(vector_env.envs[0]),
    )
    return HostTask(task_spec, num_envs, reset, step, vector_env.close)


def _make_vector_env(spec: EnvSpec, num_envs: int) -> SyncVectorEnv:
    # The mode is named: without it, an id with a vector entry point (CartPole-v1) gets
    # that one, which spends a step of its own on every reset.
    try:
        vector_env = gym.make_vec(
            spec,
            num_envs,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
            wrappers=(AgentView,),
        )
    except (gym.error.Error, ImportError) as error:
        raise ConfigError(f"env: {spec.id!r} cannot be created: {error}") from error
    assert isinstance(vector_env, SyncVectorEnv)
    return vector_env


def _own_spaces(env: gym.Env) -> tuple[gym.Space, gym.Space]:
    assert isinstance(env, AgentView)
    return env.env.observation_space, env.env.action_space


def _successors(observation: np.ndarray, end: np.ndarray, info: dict) -> np.ndarray:
    """Observations [B, ...] that the step led to: the final ones where an episode ended."""
    if not end.any():
        return observation
    successors = observation.copy()
    for i in np.flatnonzero(end):
        successors[i] = info["final_obs"][i]
    return successors
