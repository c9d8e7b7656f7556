"""A `HostTask` from any Gymnasium id, whose environments are stepped one after the other."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from selftuning.configs.errors import ConfigError, FailedEnvironmentError
from selftuning.configs.settings import EnvSettings
from selftuning.envs import answers, kept, single
from selftuning.envs.answers import BadAnswerError
from selftuning.envs.functional import check_positive
from selftuning.envs.masks import MASK, is_possible
from selftuning.envs.spaces import agent_spaces, shape, to_agent, to_env
from selftuning.envs.task import HostTask, Keep, TaskSpec, Timestep

Busy = Callable[[int, int], None]  # (number of an environment, its step)


# Not gymnasium.vector.SyncVectorEnv: it merges the infos of all environments at every step, which
# nobody reads, costs a third of its time, and fails where they differ in shape.
def host_task(
    env: str | EnvSpec,
    num_envs: int,
    options: EnvSettings | None = None,
    part: range | None = None,
    of: int | None = None,
    busy: Busy | None = None,
) -> HostTask:
    """B environments of one Gymnasium id, stepped one after the other in this process.

    `reset(seed)` seeds all that the environments draw from then on, each environment
    with a seed of its own. `step` returns new arrays; where no episode ends,
    `next_observation` and `observation` are the same one.

    Args:
      env: a registered id or its specification (a deprecated id warns, its
        specification does not).
      num_envs: B.
      options: what is asked of the environments beyond their id.
      part: their numbers, where they are B of more environments; all of them if None.
      of: how many these are.
      busy: told before each step and reset of an environment.

    Raises:
      ConfigError: the environment cannot be created, a space is not supported, or
        `num_envs` is below 1.
    """
    check_positive("num_envs", num_envs)
    options, part, of = options or EnvSettings(), part or range(num_envs), of or num_envs
    spec = single.specification(gym.spec(env) if isinstance(env, str) else env, options)
    envs = _made(spec, num_envs, options, busy and partial(busy, part.start, 0))
    one = envs[0].env
    observation_space, action_space = agent_spaces(spec.id, one)
    members = [
        _Member(each, observation_space, f"environment {i} of {of}", busy and partial(busy, i))
        for i, each in zip(part, envs, strict=True)
    ]
    counted = np.zeros(num_envs, np.int32)

    def check(seen: np.ndarray, method: str) -> None:
        if (found := answers.unfit(observation_space, seen)) is not None:
            i, said = found
            raise members[i].failed(BadAnswerError(said), method)

    def reset(seed: int) -> np.ndarray:
        nonlocal counted
        # Seeds seed, seed + 1, ... would give neighbouring seeds most episodes in common.
        seeds = np.random.SeedSequence(seed).generate_state(of)[part.start : part.stop]
        counted = np.zeros(num_envs, np.int32)
        # Environments that draw from the generators of a process find these seeded too.
        random.seed(int(seeds[0]))
        np.random.seed(seeds)  # noqa: NPY002
        observation = np.array([one.reset(int(s)) for one, s in zip(members, seeds, strict=True)])
        check(observation, "reset")
        return observation

    def step(action: np.ndarray) -> Timestep:
        nonlocal counted
        rows = [one.step(each) for one, each in zip(members, np.asarray(action), strict=True)]
        successor, start, reward, terminated, truncated, returns = zip(*rows, strict=True)
        next_observation = observation = np.array(successor)
        check(next_observation, "step")
        end_at = np.array(terminated) | np.array(truncated)
        if end_at.any():
            observation = next_observation.copy()
            for i in np.flatnonzero(end_at):
                observation[i] = start[i]
            check(observation, "reset")
        length = counted + np.int32(1)
        counted = np.where(end_at, np.int32(0), length)
        return Timestep(
            observation=observation,
            next_observation=next_observation,
            reward=np.array(reward, np.float32),
            discount=1.0 - np.array(terminated, np.float32),
            truncated=np.array(truncated) & ~np.array(terminated),
            episode_end=end_at,
            episode_return=np.array(returns, np.float64),
            episode_length=length,
        )

    def close() -> None:
        for each in envs:
            answers.close(each.env)

    task_spec = TaskSpec(
        env_id=spec.id,
        observation_space=observation_space,
        action_space=action_space,
        max_episode_steps=spec.max_episode_steps,
        reward_threshold=spec.reward_threshold,
        backend="host",
        own_spaces=(one.observation_space, one.action_space),
        clip_rewards=options.clip_rewards,
    )

    def state() -> bytes:
        beside = counted, [(one.own, one.steps) for one in members]
        return kept.to_bytes([each.env for each in envs], beside)

    def restore(content: bytes) -> None:
        nonlocal counted
        made, (counted, others) = kept.from_bytes(content, [each.env for each in envs])
        for i, (env, (own, steps)) in enumerate(zip(made, others, strict=True)):
            envs[i] = single.Made(env, own)
            members[i].take(envs[i], steps)

    return HostTask(task_spec, num_envs, reset, step, close, Keep(state, restore))


class _Member:
    """One environment, as agents see it, which begins anew in the step that ends an episode."""

    def __init__(
        self, made: single.Made, seen: gym.Space, name: str, busy: Callable[[int], None] | None
    ):
        self._env, self.own = made
        self._see, self._act = to_agent(self._env.observation_space), to_env(self._env.action_space)
        self._shape, self._name, self.steps = shape(seen), name, 0
        self._ignores_masks, self._busy = is_possible(self._env), busy

    def take(self, made: single.Made, steps: int) -> None:
        """Goes on with an environment that was kept after so many steps."""
        (self._env, self.own), self.steps = made, steps

    def reset(self, seed: int) -> np.ndarray:
        # Some environments draw from their own spaces.
        self._env.unwrapped.action_space.seed(seed)
        self._env.unwrapped.observation_space.seed(seed)
        self.steps = 0
        return self._begin(seed)

    def step(self, action: Any) -> tuple[Any, ...]:
        """(successor, first observation of the next episode, reward, ends..., return so far)."""
        self.steps += 1
        if self._busy is not None:
            self._busy(self.steps)
        try:
            result = answers.stepped(self._env.step(self._act(action)))
            observation, reward, terminated, truncated, info = result
            successor = self._checked(observation, info)
            total = self._total(info) if terminated or truncated else self.own.episode_return
        except (Exception, SystemExit) as error:  # some simulators exit
            raise self.failed(error, "step") from error
        start = self._begin(None) if terminated or truncated else None
        return successor, start, reward, terminated, truncated, total

    def _total(self, info: Mapping[str, Any]) -> float:
        # A wrapper of the user's may know better what an episode is.
        if isinstance(info.get("episode"), dict) and "r" in info["episode"]:
            return answers.number("an episode's return", info["episode"]["r"])
        return self.own.episode_return

    def _begin(self, seed: int | None) -> np.ndarray:
        if self._busy is not None:
            self._busy(self.steps)
        try:
            return self._checked(*answers.begun(self._env.reset(seed=seed)))
        except (Exception, SystemExit) as error:  # some simulators exit
            raise self.failed(error, "reset") from error

    def failed(self, error: BaseException, method: str) -> FailedEnvironmentError:
        """What the environment has done in one of its methods, in one line."""
        return answers.failed(f"{self._name}, its step {self.steps:,}", error, self._env, method)

    def _checked(self, observation: Any, info: Mapping[str, Any]) -> np.ndarray:
        if self._ignores_masks and info and info.get(MASK) is not None:
            how = "--wrapper selftuning.envs.masks:ActionMask"
            what = 'info["action_mask"], which was not there at first'
            raise BadAnswerError(f"{what}; {how} reads it")
        seen = self._see(observation)
        if seen.shape != self._shape:
            raise BadAnswerError(f"an observation of shape {seen.shape}, not {self._shape}")
        return seen


def _made(
    spec: EnvSpec, num_envs: int, options: EnvSettings, busy: Callable[[], None] | None
) -> list[single.Made]:
    envs: list[single.Made] = []
    try:
        for _ in range(num_envs):
            envs.append(single.make(spec, options))
            agent_spaces(spec.id, envs[-1].env)
    except ConfigError:
        for each in envs:
            answers.close(each.env)
        raise
    return single.with_masks(envs, spec, options, busy)
