"""Batched environments by name: `envpool:CartPole-v1` of EnvPool, `ale:Pong` of ale-py.

A library needs an entry here: what it has, what arguments that takes, and a `Batch` of it.
Libraries are imported when they are named.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from selftuning.configs.errors import ConfigError, not_allowed, require
from selftuning.configs.settings import EnvSettings
from selftuning.envs.answers import created
from selftuning.envs.batched import NEVER, Batch, batched_task
from selftuning.envs.task import HostTask

_MANY = 150  # names, which nobody reads in an error
_SIZES = ("img_height", "img_width", "stack_num", "frameskip", "frame_skip")  # 0 ends the process
# Arguments that the task gives itself, and what they must be.
_OF_THE_TASK = {
    **dict.fromkeys(("num_envs", "batch_size", "max_num_players"), "left to num_envs"),
    **dict.fromkeys(("seed", "env_seed"), "left to seed"),
    **dict.fromkeys(("autoreset_mode", "gym_reset_return_info"), "left out"),
    **dict.fromkeys(("reward_clip", "reward_clipping"), "left to clip_rewards"),
    # A lost life would end an episode, and returns would not be those of games.
    **dict.fromkeys(("episodic_life", "life_loss_info"), "left out: an episode is a whole game"),
}


class _Library(NamedTuple):
    package: str  # a module
    extra: str  # that installs it
    names: Callable[[Any], list[str]]  # of a package
    defaults: Callable[[Any, str], dict[str, Any]]  # (package, name) -> arguments
    limit: Callable[[dict[str, Any]], int]  # arguments -> steps of an episode
    make: Callable[[Any, str, int, dict[str, Any]], Batch]  # (package, name, B, arguments)


def is_batched(name: str) -> bool:
    """Whether an id is one of a library here."""
    return name.partition(":")[0] in _LIBRARIES and ":" in name


def resolve(name: str) -> str:
    """The full name of an environment, whose version may be left out.

    Raises:
      ConfigError: if the library is not installed, or has no such environment.
    """
    prefix, _, bare_name = name.partition(":")
    library = _LIBRARIES[prefix]
    try:
        names = library.names(importlib.import_module(library.package))
        missing = "" if names else f"{library.package} lacks what it needs itself"
    except ImportError as error:
        names, missing = [], str(error)
    if missing:
        extra = f'pip install "selftuning[{library.extra}]"'
        raise ConfigError(f"env: {name!r} needs another package: {extra} ({missing})")
    if bare_name in names:
        return name
    versions = (re.fullmatch(re.escape(bare_name) + r"-v(\d+)", known) for known in names)
    newest = max(filter(None, versions), key=lambda found: int(found[1]), default=None)
    if newest is not None:
        return f"{prefix}:{newest[0]}"
    lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(bare_name.lower(), lower, n=3)
    if not close and len(names) > _MANY:
        close = difflib.get_close_matches(bare_name.lower(), lower, n=3, cutoff=0.0)
    allowed = ", ".join(lower[known] for known in close or lower)
    raise not_allowed("env", repr(name), f"one of {prefix}'s: {allowed}")


def specification(name: str) -> EnvSpec:
    """What Gymnasium would know of an environment if it were registered there.

    Raises:
      ConfigError: as `resolve`.
    """
    name = resolve(name)
    library, _, _, arguments = _found(name)
    limit = library.limit(arguments)
    return EnvSpec(
        name,
        reward_threshold=arguments.get("reward_threshold"),
        max_episode_steps=limit if 0 < limit < NEVER else None,
    )


def make(name: str, num_envs: int, options: EnvSettings) -> HostTask:
    """B environments of a library, stepped in one call.

    EnvPool takes no seeds later, so that `reset` makes its environments anew.

    Args:
      name: library:Name.
      num_envs: B.
      options: arguments, time limit, sticky actions and clipped rewards.

    Raises:
      ConfigError: as `resolve` and `batched_task`, and for wrappers, stacked frames and arguments
        that cannot be had.
    """
    name = resolve(name)
    library, package, bare_name, defaults = _found(name)
    settings = _checked(name, options, defaults)
    arguments = defaults | settings
    limit = options.max_episode_steps or library.limit(arguments)

    def batch(count: int) -> Batch:
        with warnings.catch_warnings():  # bounds of float64 are rounded
            warnings.simplefilter("ignore")
            return library.make(package, bare_name, count, settings)

    limited = limit if 0 < limit < NEVER else None
    return batched_task(name, batch, num_envs, options, limited, arguments.get("reward_threshold"))


def _found(name: str) -> tuple[_Library, Any, str, dict[str, Any]]:
    """(library, its package, name in it, arguments by default) of what has been resolved."""
    prefix, _, bare_name = name.partition(":")
    library = _LIBRARIES[prefix]
    package = importlib.import_module(library.package)
    with created(name):
        return library, package, bare_name, library.defaults(package, bare_name)


def _checked(name: str, options: EnvSettings, defaults: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an environment, if all that is asked of it can be done."""
    alone = f"for {name}, whose environments are stepped together"
    require(not options.wrappers, "wrapper", ", ".join(options.wrappers), f"left out {alone}")
    require(options.frame_stack == 1, "frame_stack", options.frame_stack, f"1 {alone}")
    settings = dict(options.env_kwargs)
    for key, value in options.env_kwargs.items():
        field, default = f"env_kwargs of {key}", defaults.get(key)
        require(key not in _OF_THE_TASK, field, repr(value), _OF_THE_TASK.get(key, ""))
        if key not in defaults:
            names = [known for known in defaults if known not in _OF_THE_TASK]
            close = difflib.get_close_matches(key, names, n=3) or names
            raise not_allowed("env_kwargs", repr(key), f"one of {name}'s: {', '.join(close)}")
        # Libraries answer what they do not like with all of their signature, or not at all.
        if isinstance(default, float) and type(value) is int:
            settings[key] = float(value)
        elif isinstance(default, tuple | list) and isinstance(value, list):
            settings[key] = type(default)(value)
        else:
            kind = type(default)
            require(type(value) is kind, field, repr(value), f"of type {kind.__name__}")
        require(key not in _SIZES or value > 0, field, value, "above 0")
    return settings


def _envpool(package: Any, name: str, num_envs: int, settings: dict[str, Any]) -> Batch:
    # The limit is the task's. Only of MiniGrid do rewards depend on it.
    if package.registration.registry.specs[name][0] != "envpool.minigrid":
        settings = settings | {"max_episode_steps": NEVER}
    spec = package.make_spec(name, num_envs=num_envs, **settings)
    pool: Any = None

    def reset(seeds: np.ndarray) -> Any:
        nonlocal pool
        pool = None  # threads of the last one end before others begin
        pool = package.make_gymnasium(name, num_envs=num_envs, seed=seeds.tolist(), **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pool.reset()[0]

    def close() -> None:
        nonlocal pool
        pool = None

    return Batch(
        _unbounded(spec.gymnasium_observation_space),
        spec.gymnasium_action_space,
        reset,
        lambda action: pool.step(action)[:4],
        lambda which: pool.reset(which.astype(np.int32))[0],
        close,
    )


def _unbounded(space: Any) -> Any:
    """A space whose numbers have no bounds where EnvPool has written limits of their type."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _unbounded(part) for key, part in space.items()})
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f":
        return space
    limits, dtype = np.finfo(space.dtype), space.dtype.type
    low = np.where(space.low == limits.tiny, -np.inf, space.low).astype(dtype)
    high = np.where(space.high == limits.max, np.inf, space.high).astype(dtype)
    return spaces.Box(low, high, dtype=dtype)


def _ale(package: Any, name: str, num_envs: int, settings: dict[str, Any]) -> Batch:
    own = {"max_num_frames_per_episode": NEVER, "reward_clipping": False}  # both are the task's
    env = _vector_env()(_games(package)[name], num_envs, **settings | own)

    def restart(which: np.ndarray) -> np.ndarray:
        mask = np.isin(np.arange(num_envs), which)
        return env.reset(options={"reset_mask": mask})[0][which]

    return Batch(
        env.single_observation_space,
        env.single_action_space,
        lambda seeds: env.reset(seed=seeds)[0],
        lambda action: env.step(action)[:4],
        restart,
        env.close,
    )


def _vector_env() -> Any:
    return importlib.import_module("ale_py.vector_env").AtariVectorEnv


def _ale_arguments(package: Any, name: str) -> dict[str, Any]:
    parameters = inspect.signature(_vector_env()).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def _games(package: Any) -> dict[str, str]:
    """Games, by what they are called in ids of Gymnasium."""
    gym.register_envs(package)
    known = (spec for spec in gym.registry.values() if spec.namespace == "ALE")
    return {spec.name: spec.kwargs["game"] for spec in known}


_LIBRARIES = {
    "ale": _Library(
        "ale_py",
        "atari",
        lambda package: list(_games(package)),
        _ale_arguments,
        lambda arguments: arguments["max_num_frames_per_episode"] // arguments["frameskip"],
        _ale,
    ),
    "envpool": _Library(
        "envpool",
        "envpool",
        lambda package: package.list_all_envs(),
        lambda package, name: package.make_spec(name).config._asdict(),
        lambda arguments: arguments["max_episode_steps"],
        _envpool,
    ),
}
