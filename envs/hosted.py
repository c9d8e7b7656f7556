"""Gymnasium environments that step the functional ones which Gymnasium does not have itself."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import jax
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.experimental.functional import FuncEnv

from selftuning.envs.acrobot import Acrobot
from selftuning.envs.cartpole import CartPole
from selftuning.envs.continual import Continual
from selftuning.envs.functional import is_truncated, steps_at_once
from selftuning.envs.masks import MASK
from selftuning.envs.mountain_car import MountainCar
from selftuning.envs.switching_mdp import SwitchingMDP
from selftuning.envs.two_colors import TwoColors


# Not gymnasium.envs.functional_jax_env.FunctionalJaxEnv: it steps without jit, a hundred times
# slower, and its observations are JAX arrays, which `check_env` does not take.
class HostedEnv(gym.Env):
    """A functional environment behind `reset` and `step`.

    Subclasses name it, and are registered with Gymnasium; `run.py` steps what they name inside jit.
    Settings are those of its constructor.
    """

    functional: ClassVar[Callable[..., FuncEnv]]
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if getattr(cls.functional, "render_image", None) is FuncEnv.render_image:  # not drawn
            cls.metadata = {"render_modes": []}

    def __init__(self, render_mode: str | None = None, **settings: Any):
        self.env = _shared(self.functional, **settings)
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space
        self.render_mode = render_mode
        self.state: Any = None
        self._key: jax.Array | None = None
        # There only if the functional environment has masks, as others look for it.
        mask = getattr(self.env, "action_mask", None)
        if mask is not None:
            self.action_masks = lambda: np.array(mask(self.state))

    @property
    def lifetime(self) -> Any:
        """What knows when its levels change, if it has any (`envs.lives`)."""
        return getattr(self.env, "lifetime", self.env)

    def beginning(self, begins: int) -> HostedEnv:
        """This environment, whose life begins after so many of its own steps."""
        self.env, self.state = _later(self.env, begins), None
        return self

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """As `gymnasium.Env.reset`; all that is drawn until the next seed follows from this one."""
        super().reset(seed=seed)
        if seed is not None or self._key is None:
            self._key = jax.random.key(int(self.np_random.integers(2**32, dtype=np.uint32)))
        before = None if seed is not None else self.state
        self._key, self.state, observation = _reset(self.env, self._key, before)
        return jax.tree.map(np.array, observation), self._info()

    def step(self, action: Any):
        """As `gymnasium.Env.step`; a time limit is the wrapper's."""
        self._key, self.state, *results = _step(self.env, self._key, self.state, action)
        observation, reward, terminated, truncated = results
        seen = jax.tree.map(np.array, observation)
        return seen, float(reward), bool(terminated), bool(truncated), self._info()

    def _info(self) -> dict[str, Any]:
        return {MASK: self.action_masks()} if hasattr(self.env, "action_mask") else {}

    def render(self) -> Any:
        """An image [height, width, 3] uint8 in the render mode "rgb_array"."""
        if self.render_mode != "rgb_array":
            return None
        return self.env.render_image(self.state, None)[1]


_OF_GYMNASIUM = ("gymnasium.envs.phys2d.", "gymnasium.envs.tabular.")


class TwoColorsEnv(HostedEnv):
    """`envs.two_colors.TwoColors`."""

    functional = TwoColors


class SwitchingMDPEnv(HostedEnv):
    """`envs.switching_mdp.SwitchingMDP`."""

    functional = SwitchingMDP


class ContinualCartPoleEnv(HostedEnv):
    """CartPole that changes over a life (`envs.continual.Continual`)."""

    functional = staticmethod(lambda **settings: Continual(CartPole(), **settings))
    metadata = {"render_modes": []}  # noqa: RUF012


class ContinualAcrobotEnv(HostedEnv):
    """Acrobot that changes over a life."""

    functional = staticmethod(lambda **settings: Continual(Acrobot(), **settings))
    metadata = {"render_modes": []}  # noqa: RUF012


class ContinualMountainCarEnv(HostedEnv):
    """MountainCar that changes over a life."""

    functional = staticmethod(lambda **settings: Continual(MountainCar(), **settings))
    metadata = {"render_modes": []}  # noqa: RUF012


def functional_env(spec: EnvSpec) -> Callable[[], FuncEnv] | None:
    """What makes the functional environment that `spec` hosts; None if it hosts none.

    It does if it is registered with a subclass of `HostedEnv`, or with the name of one whose
    module has been imported: who registers it has done so.
    """
    hosted: Any = spec.entry_point
    if isinstance(hosted, str) and hosted.startswith(_OF_GYMNASIUM):
        # Functional environments of Gymnasium's own, behind a class of its own.
        try:
            make: Any = load_env_creator(hosted)
        except ImportError:  # some need flax; the host says so when it makes one
            return None
        return lambda: make(**spec.kwargs).func_env
    if isinstance(hosted, str):
        module, _, name = hosted.partition(":")
        hosted = getattr(sys.modules.get(module), name, None)
    if not (isinstance(hosted, type) and issubclass(hosted, HostedEnv)):
        return None
    return functools.partial(hosted.functional, **spec.kwargs)


@functools.cache
def _shared(functional: Callable[..., FuncEnv], **settings: Any) -> FuncEnv:
    """The same object for the same settings: what is compiled for it serves all copies."""
    return functional(**settings)


@functools.cache
def _later(env: Any, begins: int) -> FuncEnv:
    return env.beginning(begins)  # one for all copies, as above


@functools.partial(jax.jit, static_argnums=0)
def _reset(env: FuncEnv, key: jax.Array, before: Any) -> tuple[jax.Array, Any, jax.Array]:
    key, start_key = jax.random.split(key)
    if steps_at_once(env):
        return key, *env.reset(start_key)
    state = env.initial(start_key)
    if before is not None and hasattr(env, "carry_over"):
        state = env.carry_over(state, before)
    return key, state, env.observation(state, start_key)


@functools.partial(jax.jit, static_argnums=0)
def _step(env: FuncEnv, key: jax.Array, state: Any, action: Any) -> tuple[Any, ...]:
    key, step_key = jax.random.split(key)
    if steps_at_once(env):
        return key, *env.step(step_key, state, action)
    successor = env.transition(state, action, step_key)
    observation = env.observation(successor, step_key)
    reward = env.reward(state, action, successor, step_key)
    ends = env.terminal(successor, step_key), is_truncated(env, successor)
    return key, successor, observation, reward, *ends
