"""Environments that are given as objects in Python, under an id like all others."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from gymnasium.experimental.functional import FuncEnv

from selftuning.configs import modules
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.envs import answers, lives
from selftuning.envs.continual import living
from selftuning.envs.hosted import HostedEnv

NAMESPACE = "given"  # of their ids, which mean something in this process alone

_NUMBER = re.compile(r"\.\d+(?=-v0$)")  # tells objects apart that are described alike

_ITS_OWN = object()  # where a life begins that nobody has said another step of
_MOST = 1000  # elements of a list that are looked at

_given: list[tuple[Any, str]] = []  # objects and their ids


def register(env: Any) -> str:
    """Registers an environment with Gymnasium for this process, and returns its id.

    The same object has one id, however often it is given.

    Args:
      env: a function or class that makes a `gymnasium.Env` and takes no arguments that it needs, or
        a functional environment, which is stepped inside jit.

    Raises:
      ConfigError: if it is neither. An environment itself is no way to have several of it.
    """
    if isinstance(env, gym.Env):
        raise not_allowed(
            "env", env, "a function that makes such environments, as lambda: MyEnv() does"
        )
    if isinstance(env, type) and issubclass(env, FuncEnv):
        raise not_allowed("env", env.__name__, f"an object of that class: {env.__name__}()")
    if not (isinstance(env, FuncEnv) or callable(env)):
        raise not_allowed(
            "env",
            repr(env),
            "a Gymnasium id, a function that makes a gymnasium.Env, a FuncEnv or a task",
        )
    for known, env_id in _given:
        if known is env:
            return env_id
    env_id = _free_id(env)
    if isinstance(env, FuncEnv):
        gym.register(env_id, _hosted(env))
        lives.remember(env_id, env)
    else:
        make = _maker(env)
        probe = make()
        life = living(probe)
        if life is not None:
            make = _living(make)
            lives.remember(env_id, life)
        limit = probe.spec.max_episode_steps if probe.spec else None
        threshold = probe.spec.reward_threshold if probe.spec else None
        answers.close(probe)
        gym.register(env_id, make, threshold, max_episode_steps=limit)
    _given.append((env, env_id))
    return env_id


def _hosted(env: FuncEnv) -> type[HostedEnv]:
    class Given(HostedEnv):
        """A functional environment of the user's."""

        functional = staticmethod(_functional(env))

    if type(env).render_image is FuncEnv.render_image:  # it cannot be drawn
        Given.metadata = {"render_modes": []}
    return Given


def _functional(env: Any) -> Callable[..., FuncEnv]:
    """What gives the environment, told where it begins if it lives."""

    def from_a_step(begins: Any = _ITS_OWN) -> FuncEnv:
        return env if begins is _ITS_OWN else env.beginning(begins)

    def as_it_is() -> FuncEnv:
        return env

    return from_a_step if hasattr(env, "beginning") else as_it_is


def _maker(make: Callable[..., gym.Env]) -> Callable[..., gym.Env]:
    """The function, told to draw images where that is wanted and it takes the argument."""

    def maker(render_mode: str | None = None) -> gym.Env:
        try:
            env = make() if render_mode is None else make(render_mode=render_mode)
        except Exception as error:
            where = modules.said(error, make)
            raise ConfigError(f"env: {_name(make)}: {type(error).__name__}: {where}") from error
        if not isinstance(env, gym.Env):
            raise ConfigError(f"env: {_name(make)} has made {env!r}, which is no gymnasium.Env")
        return env

    return maker


def _living(make: Callable[..., gym.Env]) -> Callable[..., gym.Env]:
    """The function, which is told where in its life an environment begins."""

    def maker(render_mode: str | None = None, begins: Any = _ITS_OWN) -> gym.Env:
        env = make(render_mode)
        if begins is not _ITS_OWN:
            living(env).beginning(begins)
        return env

    return maker


def same(one: str, other: str) -> bool:
    """Whether two ids mean the same environment as far as ids can tell, in whatever process."""
    ours = one.startswith(f"{NAMESPACE}/") and other.startswith(f"{NAMESPACE}/")
    return one == other or (ours and _NUMBER.sub("", one) == _NUMBER.sub("", other))


def _free_id(env: Any) -> str:
    """An id with what is known of the object: one that has other settings has another id."""
    name = "".join(letter if letter.isalnum() else "_" for letter in _name(env)).strip("_")
    digest = hashlib.sha256(_described(env).encode()).hexdigest()[:8]
    stem, number = f"{NAMESPACE}/{name or 'env'}-{digest}", 1
    while f"{stem}{'' if number == 1 else f'.{number}'}-v0" in gym.registry:
        number += 1
    return f"{stem}{'' if number == 1 else f'.{number}'}-v0"


def _described(value: Any, depth: int = 6) -> str:
    """Numbers, texts and arrays in an object and in its attributes; of the rest what it is."""
    if isinstance(value, (bool, int, float, str, bytes, type(None), gym.Space)):
        return repr(value)
    if isinstance(value, (np.ndarray, jax.Array)):
        array = np.asarray(value)
        return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    inside: Iterable[tuple[Any, Any]]
    if isinstance(value, (list, tuple)):
        inside = enumerate(value[:_MOST])
    elif isinstance(value, Mapping):
        inside = value.items()
    elif isinstance(value, type) or callable(value) or not hasattr(value, "__dict__"):
        return f"{kind} {getattr(value, '__qualname__', '')}"
    else:
        inside = vars(value).items()
    if not depth:
        return kind
    return f"{kind}({', '.join(f'{key}={_described(x, depth - 1)}' for key, x in inside)})"


def _name(env: Any) -> str:
    return getattr(env, "__name__", None) or type(env).__name__
