"""A trained agent that acts: NumPy in and out, and nothing of its training."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import numpy as np
from gymnasium import spaces

from selftuning.agents.memory import Moment
from selftuning.agents.self_tuning import SelfTuningAgent, compiled
from selftuning.configs.errors import not_allowed, require
from selftuning.configs.settings import EnvSettings, RunSettings
from selftuning.envs import lives, masks
from selftuning.envs.spaces import agent_spaces, to_agent, to_env
from selftuning.envs.task import Task
from selftuning.training import devices, evaluation


class State(NamedTuple):
    """What one call of `Agent.act` leaves for the next.

    Attributes:
      key: of the actions that are drawn.
      seen: what was acted on last, with what is remembered; None at the start of an episode.
    """

    key: jax.Array
    seen: Any = None


@dataclass(frozen=True, eq=False)
class Agent:
    """A trained agent.

    ```python
    agent = st.load("runs/CartPole-v1-bmg-seed0-1")
    env = gym.make("CartPole-v1")
    observation, _ = env.reset(seed=0)
    action, state = agent.act(observation)
    ```

    Attributes:
      settings: of the run that trained it.
      observation_space: of its environment.
      action_space: of its environment.
      hyperparameters: values at the end of training by name; with several heads arrays [H].
      env_steps: environment steps that it was trained for.
      functions: the pure functions of the agent, for loops of your own.
      params: all that acting depends on.
      task: that it was trained on, where it is not one that the settings name.
    """

    settings: RunSettings
    observation_space: gym.Space
    action_space: gym.Space
    hyperparameters: Mapping[str, float | np.ndarray]
    env_steps: int
    functions: SelfTuningAgent
    params: Any
    task: Task | None = None

    def __repr__(self) -> str:
        return f"<Agent of {self.settings.env}, trained for {self.env_steps:,} steps>"

    @property
    def environment(self) -> EnvSettings:
        """How its environment is made: a life begins with the level that it learned last."""
        own_steps = self.env_steps // self.settings.num_envs
        return lives.as_last(self.settings.env, self.settings.environment, own_steps)

    def initial_state(self, seed: int = 0) -> State:
        """What `act` needs to begin with.

        Args:
          seed: of the actions that are drawn.
        """
        return State(jax.random.PRNGKey(seed))

    @devices.in_float32()
    def act(
        self,
        observation: Any,
        state: State | None = None,
        *,
        greedy: bool = True,
        action_mask: Any = None,
        episode_start: Any = None,
    ) -> tuple[Any, State]:
        """Chooses an action for an observation, or one for each of a batch.

        Args:
          observation: of the environment's own observation space, or a batch of them as
            `gymnasium.vector` has it: arrays with one more axis in front.
          state: that the call before this one returned; None at the start of an episode.
          greedy: the most probable action, or one that is drawn from the policy.
          action_mask: `info["action_mask"]` of the environment, or what its `action_masks()` says,
            where it has such masks and `observation` has none.
          episode_start: of a batch, [B] bool: whose observation is the first of an episode. There
            an agent with a memory forgets the one before it. None where all go on.

        Returns:
          The action in the environment's own action space (for a batch an array [B, ...]), and the
          state for the next call.

        Raises:
          ConfigError: if the observation does not have the shape that the space says, a mask is
            missing or not expected, or `state` is of another number of observations.
        """
        state = self.initial_state() if state is None else state
        observation = self._with_mask(observation, action_mask)
        observed, single = self._seen(observation)
        agent, key = self._compiled, state.key
        if state.seen is None:
            seen = agent.begin(observed)
        else:
            ended = self._ended(state.seen, len(observed), episode_start)
            seen = agent.follow(self.params, state.seen, observed, ended)
        if greedy:
            actions = agent.mode(self.params, seen)
        else:
            used, key = jax.random.split(key)
            drawn, _ = agent.act(self.params, seen, used)
            actions = self.functions.to_task(np.asarray(drawn))
        chosen = [self._to_env(action) for action in np.asarray(actions)]
        return (chosen[0] if single else np.stack(chosen)), State(key, seen)

    @devices.in_float32()
    def evaluate(
        self, episodes: int | None = None, *, seed: int | None = None, stochastic: bool = False
    ) -> evaluation.Evaluation:
        """Runs episodes in the environment that it was trained in, and of a life in its last level.

        Args:
          episodes: how many; as many as at the end of its run if None.
          seed: of the episodes; that of its run if None, whose episodes these then are.
          stochastic: whether actions are drawn from the policy; else the most probable are taken.

        Raises:
          ConfigError: if the environment cannot be made here, or a number is not allowed.
        """
        episodes = self.settings.eval_episodes if episodes is None else episodes
        seed = self.settings.seed if seed is None else seed
        asked: tuple[tuple[str, Any, int], ...] = (("episodes", episodes, 1), ("seed", seed, 0))
        for name, value, least in asked:
            whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
            allowed = f"a whole number of at least {least}"
            require(whole and value >= least, name, repr(value), allowed)
        if self.task is not None:
            acts = self.functions, self.params
            return evaluation.on_task(self.task, *acts, episodes, seed, stochastic)
        env_id, backend, options = self.settings.env, self.settings.backend, self.environment
        return evaluation.evaluate(
            env_id, backend, self.functions, self.params, episodes, seed, options, stochastic
        )

    def _with_mask(self, observation: Any, mask: Any) -> Any:
        """The observation of the agent's space: `info` may have had the second part of it."""
        space, actions = self.observation_space, self.action_space
        if not masks.has_mask(space, actions):
            if mask is not None:
                raise not_allowed("action_mask", "a mask", "None: the agent was trained without")
            return observation
        if not masks.is_masked(space) or masks.is_beside(observation):
            return observation
        if mask is None:
            raise not_allowed("action_mask", None, 'info["action_mask"] of the environment')
        found, numbers = masks.flat(mask), masks.size(actions)
        if found.shape[-1:] != (numbers,):
            allowed = f"({numbers},), or (B, {numbers}) for a batch"
            raise not_allowed("action_mask", f"shape {found.shape}", allowed)
        return {masks.MASK: found, masks.OBSERVATION: observation}

    def _ended(self, before: Any, count: int, episode_start: Any) -> np.ndarray:
        """Where the episode of `before` has ended [count], for an agent that may remember it."""
        remembers = isinstance(before, Moment)
        if remembers and len(before.observation) != count:
            had = f"of {len(before.observation)} observations"
            raise not_allowed("state", had, f"of {count}, as the observation is, or None")
        ended = np.zeros(count, bool) if episode_start is None else np.atleast_1d(episode_start)
        if ended.shape != (count,):
            raise not_allowed("episode_start", f"shape {ended.shape}", f"({count},)")
        return ended.astype(bool)

    def _seen(self, observation: Any) -> tuple[np.ndarray, bool]:
        """The observation as agents see it, [B, ...], and whether it was a single one."""
        space, view = self.observation_space, self._view
        if isinstance(space, spaces.Dict | spaces.Tuple):
            first, shape = _first_leaf(space, observation)
            if np.shape(first) == shape:
                return self._to_agent(observation)[None], True
            many = gym.vector.utils.batch_space(space, len(first))
            rows = gym.vector.utils.iterate(many, observation)
            return np.stack([self._to_agent(row) for row in rows]), False
        shape = np.shape(observation)
        if shape == view.shape:
            return self._to_agent(observation)[None], True
        if shape[1:] == view.shape and len(shape) == 1 + len(view.shape) and shape[0]:
            return self._to_agent(observation), False
        allowed = f"{view.shape}, or (B, ...) for a batch"
        raise not_allowed("observation", f"shape {shape}", allowed)

    @cached_property
    def _view(self) -> Any:
        both = _Spaces(self.observation_space, self.action_space)
        return agent_spaces(self.settings.env, both)[0]

    @cached_property
    def _to_agent(self):
        return to_agent(self.observation_space)

    @cached_property
    def _to_env(self):
        return to_env(self.action_space)

    @cached_property
    def _compiled(self):
        return compiled(self.functions)


@dataclass(frozen=True)
class _Spaces:
    observation_space: gym.Space
    action_space: gym.Space


def _first_leaf(space: gym.Space, observation: Any) -> tuple[Any, tuple[int, ...]]:
    """The first array in a composite observation, and the shape of one such."""
    while isinstance(space, spaces.Dict | spaces.Tuple):
        key: Any = next(iter(space.spaces)) if isinstance(space, spaces.Dict) else 0
        space, observation = space[key], observation[key]
    return observation, space.shape or ()


def of_task(
    task: Task,
    settings: RunSettings,
    functions: SelfTuningAgent,
    state: Any,
    env_steps: int,
    *,
    given: bool = False,
) -> Agent:
    """The agent that a training state holds.

    Args:
      task: that it was trained on.
      settings: of its run.
      functions: the agent as pure functions.
      state: of type `agents.self_tuning.AgentState`.
      env_steps: that it was trained for.
      given: whether the task itself was given, and is no environment that the settings name.
    """
    spec = task.spec
    own = spec.own_spaces or (spec.observation_space, spec.action_space)
    values = jax.device_get(functions.hyperparameters(state))
    return Agent(
        settings,
        *own,
        {name: x if np.ndim(x) else float(x) for name, x in values.items()},
        env_steps,
        functions,
        jax.device_get(functions.params(state)),
        task if given else None,
    )
