"""A `HostTask` from environments of another library that are stepped together, in one call.

The task has a time limit of its own and begins single environments anew. No library is trusted
with the end of an episode. EnvPool cannot tell an end by itself in the last step from truncation,
and its own resets cost a step. ale-py leaves out the newest image where it truncates a game.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from selftuning.configs.errors import ConfigError, FailedEnvironmentError
from selftuning.configs.settings import EnvSettings
from selftuning.envs.answers import BadAnswerError, close, created, rewards, told, unfit
from selftuning.envs.functional import check_positive
from selftuning.envs.spaces import agent_spaces, shape, start_of, to_agent
from selftuning.envs.task import HostTask, TaskSpec, Timestep

NEVER = 2**30  # steps


class Batch(NamedTuple):
    """B environments that are stepped together, and begin anew only when they are told to.

    Observations are arrays or dictionaries of arrays with a leading axis.
    """

    observation_space: gym.Space  # of one of them
    action_space: gym.Space  # of one of them
    reset: Callable[[np.ndarray], Any]  # seeds [B] int32, from 0 -> observations [B, ...]
    # actions [B, ...] -> (observations [B, ...], rewards, terminated, truncated [B])
    step: Callable[[np.ndarray], tuple[Any, ...]]
    restart: Callable[[np.ndarray], Any]  # which ones [E] -> their first observations [E, ...]
    close: Callable[[], None]


def batched_task(
    env_id: str,
    make: Callable[[int], Batch],
    num_envs: int,
    options: EnvSettings,
    max_episode_steps: int | None,
    reward_threshold: float | None,
) -> HostTask:
    """B environments as a task, with same-step auto-reset.

    `reset(seed)` seeds all that the environments draw from then on, each with a seed of its own.

    Args:
      env_id: their name.
      make: number of environments -> these. They may be made when they are reset.
      num_envs: B.
      options: sticky actions and clipped rewards are done here, all else by `make`.
      max_episode_steps: after which an episode is truncated, if it has not ended by itself.
      reward_threshold: of the task.

    Raises:
      ConfigError: the environment cannot be made, a space is not supported, or `num_envs` is
        below 1.
      FailedEnvironmentError: in `reset` and `step`, if the library raises an error.
    """
    check_positive("num_envs", num_envs)
    with created(env_id, options.env_kwargs):
        probe = make(1)
        observation_space, action_space = agent_spaces(env_id, probe)
        probe.reset(np.zeros(1, np.int32))  # what cannot be made fails here, and before anything
        probe.close()
        batch = make(num_envs)
    see, act = _seen(batch.observation_space), _sent(batch.action_space)
    sticky, limit = _Sticky(options.sticky_actions), max_episode_steps or NEVER
    counted, total, steps = np.zeros(num_envs, np.int32), np.zeros(num_envs), 0

    def failed(said: str) -> FailedEnvironmentError:
        return FailedEnvironmentError(f"{env_id}, step {steps:,} of each: {said}")

    def check(observation: np.ndarray, reward: Any) -> np.ndarray:
        if observation.shape != (num_envs, *shape(observation_space)):
            raise BadAnswerError(f"observations of shape {observation.shape}")
        if (found := unfit(observation_space, observation)) is not None:
            raise BadAnswerError(f"environment {found[0]} of {num_envs}: {found[1]}")
        return rewards(reward, num_envs)

    def reset(seed: int) -> np.ndarray:
        nonlocal counted, total, steps
        counted, total, steps = np.zeros(num_envs, np.int32), np.zeros(num_envs), 0
        sticky.reset(seed)
        seeds = np.random.SeedSequence(seed).generate_state(num_envs)
        with _errors(failed):
            observation = see(batch.reset((seeds >> 1).astype(np.int32)))  # without a sign
            check(observation, np.zeros(num_envs))
            return observation

    def step(action: np.ndarray) -> Timestep:
        nonlocal counted, total, steps
        steps += 1
        action = sticky.taken(np.asarray(action), counted > 0)
        with _errors(failed):
            seen, reward, terminated, truncated = batch.step(act(action))
            next_observation = observation = see(seen)
            reward = check(next_observation, reward)
        length, returns = counted + np.int32(1), total + reward
        terminated = np.array(terminated, bool)
        truncated = (np.asarray(truncated) | (length >= limit)) & ~terminated
        if (ends := terminated | truncated).any():
            observation, which = next_observation.copy(), np.flatnonzero(ends)
            with _errors(failed):
                observation[which] = see(batch.restart(which))
                check(observation, reward)
        counted, total = np.where(ends, np.int32(0), length), np.where(ends, 0.0, returns)
        return Timestep(
            observation=observation,
            next_observation=next_observation,
            reward=np.array(reward, np.float32),
            discount=1.0 - terminated.astype(np.float32),
            truncated=truncated,
            episode_end=ends,
            episode_return=returns,
            episode_length=length,
        )

    spec = TaskSpec(
        env_id=env_id,
        observation_space=observation_space,
        action_space=action_space,
        max_episode_steps=max_episode_steps,
        reward_threshold=reward_threshold,
        backend="host",
        own_spaces=(batch.observation_space, batch.action_space),
        clip_rewards=options.clip_rewards,
    )
    return HostTask(spec, num_envs, reset, step, lambda: close(batch))


class _Sticky:
    """Actions that are repeated with a probability, as Gymnasium's `StickyAction` does it."""

    def __init__(self, probability: float):
        self._probability = probability

    def reset(self, seed: int) -> None:
        self._random, self._last = np.random.default_rng([seed, 1]), np.zeros(())

    def taken(self, action: np.ndarray, has_last: np.ndarray) -> np.ndarray:
        """Actions [B, ...], some of which are the one before, where the episode has had one."""
        if self._probability:
            repeat = has_last & (self._random.random(len(action)) < self._probability)
            action = action.copy()
            if repeat.any():
                action[repeat] = self._last[repeat]
            self._last = action
        return action


def _seen(space: gym.Space) -> Callable[[Any], np.ndarray]:
    """The function from observations [B, ...] of a space to what agents see, a new array."""
    if not isinstance(space, spaces.Dict):
        return to_agent(space)

    def flat(part: gym.Space, values: Any) -> np.ndarray:
        if isinstance(part, spaces.Dict):
            return np.concatenate([flat(p, values[key]) for key, p in part.items()], axis=1)
        if isinstance(part, spaces.Box):
            return np.asarray(values, np.float32).reshape(len(values), -1)
        rows: list[Any] = [spaces.flatten(part, value) for value in values]
        return np.array(rows, np.float32)

    return lambda values: flat(space, values)


def _sent(space: gym.Space) -> Callable[[np.ndarray], np.ndarray]:
    """The function from actions [B, ...] of an agent to those of a space."""
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        low, high = space.low, space.high
        return lambda action: np.clip(
            np.asarray(action, space.dtype).reshape(-1, *shape(space)), low, high
        )
    start = space.low if isinstance(space, spaces.Box) else start_of(space)
    return lambda action: (action.reshape(-1, *shape(space)) + start).astype(space.dtype)


@contextmanager
def _errors(named: Callable[[str], Exception]) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise named(told(error)) from error
