"""Tasks that change over a life, unseen: a clock, and an environment that depends on it.

After "Continual Gym Control" of TRAC (Muppidi et al. 2024, NeurIPS) and C-CHAIN (Tang et al. 2025,
ICML). The clock counts the steps of one environment and goes on when an episode ends. `Continual`
is around functional environments, `ContinualWrapper` around all others; both do the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.experimental.functional import FuncEnv

from selftuning.configs import suggestions
from selftuning.configs.errors import ConfigError, require
from selftuning.envs import changes
from selftuning.envs.changes import ATTRIBUTES, CHANGES, World
from selftuning.envs.functional import check_count, check_positive, steps_at_once


@dataclass(frozen=True)
class Lifetime:
    """When levels change, and what changes with them.

    Its functions of clock and level take integers and arrays of JAX alike.

    Attributes:
      change: a name in `envs.changes.CHANGES`.
      levels: there are so many.
      switch_every: steps of one environment at each level.
      block: an episode is cut off every so many steps of a level; 0 for never. When the level
        changes, one is cut off in any case.
      change_seed: of all that is drawn for the levels, not of what happens in them.
      cyclic: whether the first level comes after the last. Otherwise that one has no end.
      begins: steps that an environment has lived before its first one: a run that goes on, and an
        evaluation after training, take the life up where it has come to.

    Raises:
      ConfigError: a setting is not allowed.
    """

    change: str = "offset"
    levels: int = 10
    switch_every: int = 20_000
    block: int = 800
    change_seed: int = 0
    cyclic: bool = False
    begins: int = 0

    def __post_init__(self) -> None:
        is_known = isinstance(self.change, str) and self.change in CHANGES
        require(is_known, "change", repr(self.change), " | ".join(CHANGES))
        check_positive("levels", self.levels)
        check_positive("switch_every", self.switch_every)
        for field in ("block", "change_seed", "begins"):
            check_count(field, getattr(self, field))
        require(isinstance(self.cyclic, bool), "cyclic", repr(self.cyclic), "true | false")
        product = f"{self.levels} * {self.switch_every}"
        require(self.steps < 2**31, "levels * switch_every", product, "below 2**31")

    @property
    def steps(self) -> int:
        """Steps of one environment until the last level has had as many as the others."""
        return self.levels * self.switch_every

    @property
    def start(self) -> int:
        """The clock of an environment that has lived for as long as it says."""
        if self.cyclic or self.begins < self.steps:
            return self.begins % self.steps
        last = self.steps - self.switch_every
        return last + (self.begins - last) % self.switch_every

    def tick(self, clock: Any) -> Any:
        """The clock one step later: 0 to `steps` - 1, where the level is a quotient of it."""
        back = self.steps if self.cyclic else self.switch_every
        return clock + 1 - back * (clock + 1 == self.steps)

    def level(self, clock: Any) -> Any:
        """That of an episode which begins now."""
        return clock // self.switch_every

    def is_cut(self, clock: Any, level: Any) -> Any:
        """Whether an episode of some level is cut off when the clock has got to where it is."""
        switched = self.level(clock) != level
        if not self.block:
            return switched
        return switched | (clock % self.switch_every % self.block == 0)

    def drawn_for(self, world: World) -> changes.Change:
        """The change, with all that is drawn for its levels.

        Raises:
          ConfigError: if it cannot be made to such an environment.
        """
        rng = np.random.default_rng(self.change_seed)
        return CHANGES[self.change](world, self.levels, rng)


def lifetime(settings: Mapping[str, Any]) -> Lifetime:
    """The lifetime that some arguments ask for.

    Raises:
      ConfigError: one is not allowed, or there is none of that name.
    """
    known = [field.name for field in fields(Lifetime)]
    for name in settings:
        if name not in known:
            close = suggestions.meant(name, known)
            hint = f"did you mean {close}?" if close else f"they are {', '.join(known)}"
            raise ConfigError(f"{name}: there is no such argument of a life; {hint}")
    return Lifetime(**settings)


class ContinualState(NamedTuple):
    """An environment, and where in its life it is."""

    env: Any  # state of the environment that changes
    clock: jax.Array  # [] int32: `Lifetime.tick` of all steps so far
    level: jax.Array  # [] int32: of this episode


class Continual(FuncEnv):
    """A functional environment that changes over its life.

    The level is that of the start of an episode, and the episode is cut off when it is over. So the
    last observation, which values are bootstrapped from, is of the level of its episode.

    Args:
      env: the environment as it is at level 0. It may have `physics`, names of quantities, the
        factors of which are the `params` of its `transition`.
      **settings: those of `Lifetime`.

    Raises:
      ConfigError: a setting is not allowed, or the environment cannot be changed in this way.
    """

    def __init__(self, env: FuncEnv, **settings: Any):
        super().__init__()
        allowed = "one with initial and transition, or used with ContinualWrapper"
        require(not steps_at_once(env), "env", type(env).__name__, allowed)
        self.env, self.lifetime = env, lifetime(settings)
        quantities, masked = getattr(env, "physics", ()), hasattr(env, "action_mask")
        world = World(env.observation_space, env.action_space, quantities, masked)
        self.change = self.lifetime.drawn_for(world)
        self.observation_space = self.change.observation_space
        self.action_space = env.action_space
        if masked:  # there only if the environment has it, as others look for it
            own: Any = env
            self.action_mask = lambda state: own.action_mask(state.env)
        if hasattr(env, "initial_batch"):
            self.initial_batch = self._initial_batch

    def beginning(self, begins: int) -> Continual:
        """The same life, which begins after so many of its own steps."""
        later = copy.copy(self)
        later.lifetime = replace(self.lifetime, begins=begins)
        own: Any = self.env
        if hasattr(own, "beginning"):  # a life inside of this one
            later.env = own.beginning(begins)
        if hasattr(self, "initial_batch"):
            later.initial_batch = later._initial_batch
        return later

    def initial(self, rng: jax.Array, params: Any = None) -> ContinualState:
        """A start state where a life begins."""
        return self._begun(self.env.initial(rng), ())

    def _initial_batch(self, rng: jax.Array, num: int) -> ContinualState:
        own: Any = self.env
        return self._begun(own.initial_batch(rng, num), (num,))

    def _begun(self, env: Any, shape: tuple[int, ...]) -> ContinualState:
        clock = jnp.full(shape, self.lifetime.start, jnp.int32)
        return ContinualState(env, clock, self.lifetime.level(clock))

    def carry_over(self, start: ContinualState, ended: ContinualState) -> ContinualState:
        """The start of the next episode of a life, at the level that it has come to."""
        own: Any = self.env
        env = own.carry_over(start.env, ended.env) if hasattr(own, "carry_over") else start.env
        return ContinualState(env, ended.clock, self.lifetime.level(ended.clock))

    def transition(
        self, state: ContinualState, action: Any, rng: jax.Array, params: Any = None
    ) -> ContinualState:
        """State after one step, at the level of the episode."""
        factors = self.change.factors
        if factors is not None:
            params = jnp.asarray(factors)[state.level]
        action = self.change.action(action, state.level)
        env = self.env.transition(state.env, action, rng, params)
        return ContinualState(env, self.lifetime.tick(state.clock), state.level)

    def observation(self, state: ContinualState, rng: Any, params: Any = None) -> Any:
        """That of the environment, changed. Clock and level are not in it."""
        return self.change.observation(self.env.observation(state.env, rng), state.level)

    def reward(
        self,
        state: ContinualState,
        action: Any,
        next_state: ContinualState,
        rng: Any,
        params: Any = None,
    ) -> Any:
        """That of the environment for the action that it was given, changed."""
        action = self.change.action(action, state.level)
        reward = self.env.reward(state.env, action, next_state.env, rng)
        return self.change.reward(reward, state.level)

    def terminal(self, state: ContinualState, rng: Any, params: Any = None) -> Any:
        """Whether the environment says so."""
        return self.env.terminal(state.env, rng)

    def truncated(self, state: ContinualState) -> Any:
        """Whether a block or a level is over."""
        own: Any = self.env
        cut = self.lifetime.is_cut(state.clock, state.level)
        return cut | own.truncated(state.env) if hasattr(own, "truncated") else cut


class ContinualWrapper(gym.Wrapper):
    """An environment of Gymnasium that changes over its life, as `Continual` does.

    `reset(seed=...)` begins a new life; `reset()` goes on with this one.

    Args:
      env: the environment as it is at level 0.
      **settings: those of `Lifetime`.

    Raises:
      ConfigError: a setting is not allowed, or the environment cannot be changed in this way.
    """

    def __init__(self, env: gym.Env, **settings: Any):
        super().__init__(env)
        self.lifetime = lifetime(settings)
        attributes = ATTRIBUTES.get(type(env.unwrapped).__name__, {})
        masked = env.has_wrapper_attr("action_mask") or env.has_wrapper_attr("action_masks")
        world = World(env.observation_space, env.action_space, tuple(attributes), masked)
        self.change = self.lifetime.drawn_for(world)
        self.observation_space = self.change.observation_space
        self.clock = self.lifetime.start
        self.level = self.lifetime.level(self.clock)
        # For each quantity the attributes that it scales, as they are at level 0.
        own = env.unwrapped
        self._physics = [{x: getattr(own, x) for x in names} for names in attributes.values()]

    def beginning(self, begins: int) -> ContinualWrapper:
        """This environment, whose life begins after so many of its own steps."""
        inside = living(self.env)
        if inside is not None:
            inside.beginning(begins)
        self.lifetime = replace(self.lifetime, begins=begins)
        self.clock = self.lifetime.start
        self.level = self.lifetime.level(self.clock)
        return self

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """As `gymnasium.Env.reset`."""
        self.clock = self.clock if seed is None else self.lifetime.start
        self.level = self.lifetime.level(self.clock)
        if self.change.factors is not None:
            for factor, at_first in zip(
                self.change.factors[self.level], self._physics, strict=True
            ):
                for name, value in at_first.items():
                    setattr(self.env.unwrapped, name, value * float(factor))
        observation, info = self.env.reset(seed=seed, options=options)
        return self.change.observation(observation, self.level), info

    def step(self, action: Any):
        """As `gymnasium.Env.step`."""
        own_action = self.change.action(action, self.level)
        observation, reward, terminated, truncated, info = self.env.step(own_action)
        self.clock = self.lifetime.tick(self.clock)
        truncated = bool(truncated) or self.lifetime.is_cut(self.clock, self.level)
        seen = self.change.observation(observation, self.level)
        return seen, self.change.reward(reward, self.level), terminated, truncated, info


def living(env: gym.Env) -> Any:
    """The outermost part of an environment that lives and can begin later; None if none does."""
    while isinstance(env, gym.Wrapper) and not isinstance(env, ContinualWrapper):
        env = env.env
    lives = isinstance(env, ContinualWrapper) or hasattr(getattr(env, "env", None), "beginning")
    return env if lives and hasattr(env, "beginning") else None


def continual_lunar_lander(render_mode: str | None = None, **settings: Any) -> gym.Env:
    """LunarLander that changes over its life, without a time limit of its own."""
    env = gym.make("LunarLander-v3", render_mode=render_mode, disable_env_checker=True)
    return ContinualWrapper(env.unwrapped, **settings)
