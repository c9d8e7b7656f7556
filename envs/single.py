"""One Gymnasium environment as settings ask for it: arguments, wrappers, time limit, frames."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces, wrappers
from gymnasium.envs.registration import EnvSpec

from selftuning.configs import modules
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.configs.settings import EnvSettings
from selftuning.envs import answers, masks


class Made(NamedTuple):
    """An environment in its wrappers, and the one of these that counts its own rewards."""

    env: gym.Env
    own: OwnReturn


def specification(spec: EnvSpec, options: EnvSettings) -> EnvSpec:
    """A specification with the arguments and the time limit of the settings."""
    changed = copy.copy(spec)
    changed.kwargs = {**spec.kwargs, **options.env_kwargs}
    changed.max_episode_steps = options.max_episode_steps or spec.max_episode_steps
    return changed


def make(spec: EnvSpec, options: EnvSettings, **kwargs: Any) -> Made:
    """An environment in its wrappers, which do not change what `OwnReturn` in it counts.

    From the inside out: the environment, `answers.Answers`, its time limit, `OwnReturn`, sticky
    actions, the user's wrappers, the view that an environment of MiniGrid needs, stacked frames,
    and the mask of actions, if the environment has a method that tells of one.

    Args:
      spec: from `specification`.
      options: the settings.
      **kwargs: more arguments of the environment.

    Raises:
      ConfigError: if it cannot be made, naming what is wrong.
    """
    with answers.created(spec.id, options.env_kwargs):
        env = gym.make(spec, disable_env_checker=True, **kwargs)
        for name in ("observation_space", "action_space"):
            getattr(env, name)  # which some never set
    env = own = OwnReturn(env)
    answers.around_innermost(own)
    if options.sticky_actions:
        env = wrappers.StickyAction(env, options.sticky_actions)
    for name in options.wrappers:
        env = _wrapped(env, name)
    if _is_minigrid(env.observation_space):
        env = _one_hot_view(env)
    if options.frame_stack > 1:
        env = _stacked(env, options.frame_stack)
    return Made(masks.offered(env), own)


def with_masks(
    envs: list[Made], spec: EnvSpec, options: EnvSettings, busy: Callable[[], None] | None = None
) -> list[Made]:
    """Environments that `make` has made, with masks that only their `info` tells of.

    To find out, one more is made, reset and closed: some environments are no longer the same after
    a reset. `busy` is called before it.
    """
    if masks.is_possible(envs[0].env) and _shows_mask(spec, options, busy):
        return [each._replace(env=masks.ActionMask(each.env)) for each in envs]
    return envs


def _shows_mask(spec: EnvSpec, options: EnvSettings, busy: Callable[[], None] | None) -> bool:
    # What goes wrong here goes wrong where agents act too, and is told there.
    with contextlib.suppress(Exception, SystemExit):
        env = make(spec, options).env
        if busy is not None:
            busy()
        try:
            return env.reset(seed=0)[1].get(masks.MASK) is not None
        finally:
            answers.close(env)
    return False


class OwnReturn(gym.Wrapper):
    """Counts the rewards of the environment itself, whatever wrappers around this make of them.

    Attributes:
      episode_return: their sum since the last reset.
    """

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.episode_return = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """As `gymnasium.Env.reset`."""
        self.episode_return = 0.0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any):
        """As `gymnasium.Env.step`."""
        result = answers.stepped(self.env.step(action))
        self.episode_return += result[1]
        return result


def _wrapped(env: gym.Env, name: str) -> gym.Env:
    module_name, _, attribute = name.rpartition(":")
    wrapper = getattr(modules.imported(module_name, "wrapper"), attribute, None)
    if not callable(wrapper):
        raise not_allowed("wrapper", repr(name), f"a Gymnasium wrapper in {module_name}")
    try:
        wrapped = wrapper(env)
    except Exception as error:
        said = modules.said(error, wrapper)
        raise ConfigError(f"wrapper: {name}: {type(error).__name__}: {said}") from error
    if not isinstance(wrapped, gym.Env):
        raise ConfigError(f"wrapper: {name} has made {wrapped!r}, which is no gymnasium.Env")
    return wrapped


def _is_minigrid(space: gym.Space) -> bool:
    """Whether observations are a grid of codes, with a mission in words."""
    return isinstance(space, spaces.Dict) and {"image", "mission"} <= space.spaces.keys()


def _one_hot_view(env: gym.Env) -> gym.Env:
    """What MiniGrid's agent sees, [7, 7, 20] of zeros and ones.

    Its codes are names of objects, colours and states, and no quantities. It sees the grid from
    where it stands, so that its direction says nothing more. The mission is left out.
    """
    from minigrid.wrappers import ImgObsWrapper, OneHotPartialObsWrapper

    env = ImgObsWrapper(OneHotPartialObsWrapper(env))
    shape = env.observation_space.shape
    assert shape is not None
    seen = spaces.Box(0.0, 1.0, shape, np.float32)
    return wrappers.TransformObservation(env, lambda view: view.astype(np.float32), seen)


def _stacked(env: gym.Env, frames: int) -> gym.Env:
    """The last observations as one; the first of an episode stands for those before it."""
    env = wrappers.FrameStackObservation(env, frames, padding_type="reset")
    space = env.observation_space
    if not isinstance(space, spaces.Box):
        return env  # several discrete values are one multi-discrete value
    low, high = join_frames(space.low, np), join_frames(space.high, np)
    joined = spaces.Box(low, high, dtype=space.dtype)
    return wrappers.TransformObservation(env, lambda stack: join_frames(stack, np), joined)


def join_frames(frames: Any, numpy: Any) -> Any:
    """N observations as one, along the last axis, or the first where that has the channels.

    Args:
      frames: [N, D], gray images [N, H, W], images [N, H, W, C] or [N, C, H, W], ...
      numpy: or jax.numpy.

    Returns:
      [N * D], [H, W, N], [H, W, N * C] or [N * C, H, W].
    """
    shape = frames.shape[1:]
    if len(shape) == 3 and shape[0] < min(shape[1:]):
        return frames.reshape(-1, *shape[1:])
    if len(shape) == 2:
        return numpy.moveaxis(frames, 0, -1)
    return numpy.moveaxis(frames, 0, -2).reshape(*shape[:-1], -1) if shape else frames
