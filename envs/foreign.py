"""In-graph environments of other libraries: `gymnax:Breakout-MinAtar`, `jumanji:Snake-v1`.

A library needs one function here, from the name of an environment to a `Foreign`: its spaces, and
its `reset` and `step` without resets of its own. Libraries are imported when they are named.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.envs.answers import created
from selftuning.envs.hosted import HostedEnv

_NEVER = 2**30  # steps; limits are the task's, which tells truncation from termination
_BRAX_LIMIT = 1000  # steps of an episode, the default of its own training
_FEW = 32  # values of a number that is taken for a name, and not for a quantity


class Foreign(FuncEnv):
    """An environment that is stepped at once, in place of five functions of its state.

    Attributes:
      observation_space: of one array, or a `Dict` of arrays.
      action_space: of the actions.
      reset: key -> (state, observation).
      step: (key, state, action) -> (state, observation, reward, terminated, truncated).
      max_episode_steps: its time limit, if the task is to apply it.
      action_mask: state -> numbers above 0 where an action is allowed; left out without masks.
    """

    def __init__(
        self,
        observation_space: gym.Space,
        action_space: gym.Space,
        reset: Callable[[jax.Array], tuple[Any, Any]],
        step: Callable[[jax.Array, Any, Any], tuple[Any, ...]],
        max_episode_steps: int | None = None,
        action_mask: Callable[[Any], jax.Array] | None = None,
    ):
        super().__init__()
        self.observation_space, self.action_space = observation_space, action_space
        self.reset, self.step = _quiet(reset), _quiet(step)
        self.max_episode_steps = max_episode_steps
        if action_mask is not None:
            self.action_mask = action_mask


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without warnings of what a later JAX refuses, which its authors are to heed."""

    @functools.wraps(function)
    def quiet(*args: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return function(*args)

    return quiet


def is_foreign(name: str) -> bool:
    """Whether an id is one of a library here."""
    return name.partition(":")[0] in _LIBRARIES and ":" in name


def register(name: str) -> str:
    """Registers `library:Name` with Gymnasium, and returns the id that it has there.

    Raises:
      ConfigError: if the library is not installed, has no such environment, or cannot make it.
    """
    library, _, bare_name = name.partition(":")
    env_id = f"{library}/{bare_name}"
    if env_id in gym.registry:
        return env_id
    make, known = _LIBRARIES[library]
    try:
        module = importlib.import_module(library)
    except ImportError as error:
        raise ConfigError(
            f'env: {name!r} needs another package: pip install "selftuning[{library}]" ({error})'
        ) from error
    if bare_name not in (names := list(known(module))):
        close = difflib.get_close_matches(bare_name, names, n=3)
        raise not_allowed("env", repr(name), f"one of {library}'s: {', '.join(close or names)}")

    class Named(HostedEnv):
        """An environment of another library, stepped from Python where that is asked for."""

        metadata = {"render_modes": []}  # noqa: RUF012
        functional = staticmethod(lambda **settings: make(module, bare_name, **settings))

    with created(name):
        limit = Named.functional().max_episode_steps
    gym.register(env_id, Named, max_episode_steps=limit)
    return env_id


def _brax(module: Any, name: str, **settings: Any) -> Foreign:
    # Not `create`, which adds a time limit and resets of its own.
    env = _brax_envs(module).get_environment(name, **settings)
    observations = spaces.Box(-np.inf, np.inf, (env.observation_size,), np.float32)
    actions = spaces.Box(-1.0, 1.0, (env.action_size,), np.float32)

    def reset(key):
        state = env.reset(key)
        return state, state.obs

    def step(_key, state, action):
        state = env.step(state, action)
        return state, state.obs, state.reward, state.done > 0, False

    return Foreign(observations, actions, reset, step, _BRAX_LIMIT)


def _brax_envs(module: Any) -> Any:
    return importlib.import_module(f"{module.__name__}.envs")


def _gymnax(module: Any, name: str, **settings: Any) -> Foreign:
    env, params = module.make(name, **settings)
    limit = getattr(params, "max_steps_in_episode", None)
    if limit is not None:
        params = params.replace(max_steps_in_episode=_NEVER)

    def reset(key):
        observation, state = env.reset_env(key, params)
        return state, observation

    def step(key, state, action):
        # Five values in version 0, and six in version 1, which tells truncation apart.
        observation, state, reward, *ends, _ = env.step_env(key, state, action, params)
        return state, observation, reward, ends[0], ends[1] if len(ends) > 1 else False

    observations = _like_gymnasium(env.observation_space(params))
    return Foreign(observations, _like_gymnasium(env.action_space(params)), reset, step, limit)


def _jumanji(module: Any, name: str, **settings: Any) -> Foreign:
    env = module.make(name, **settings)
    parts: Any = _of_spec(env.observation_spec)
    masked = isinstance(parts, spaces.Dict) and "action_mask" in parts.spaces
    action_space = _of_spec(env.action_spec)
    if masked and isinstance(action_space, spaces.Discrete):
        parts = spaces.Dict({k: x for k, x in parts.items() if k != "action_mask"})
    else:
        masked = False
    single = isinstance(parts, spaces.Dict) and len(parts) == 1

    def seen(observation):
        found = _picked(parts, observation)
        return next(iter(found.values())) if single else found

    def reset(key):
        state, timestep = env.reset(key)
        return (state, _mask(timestep)), seen(timestep.observation)

    def step(_key, state, action):
        state, timestep = env.step(state[0], action)
        last, ended = timestep.step_type == 2, timestep.discount == 0
        observation = seen(timestep.observation)
        return (state, _mask(timestep)), observation, timestep.reward, last & ended, last & ~ended

    def _mask(timestep):
        return timestep.observation.action_mask if masked else ()

    observations = next(iter(parts.values())) if single else parts
    return Foreign(observations, action_space, reset, step, action_mask=_second if masked else None)


def _navix(module: Any, name: str, **settings: Any) -> Foreign:
    env = module.make(name, **settings)
    space = env.observation_space
    codes = int(space.maximum) + 1
    # What is seen are codes of objects, colours and states: names, and no quantities.
    named = len(space.shape) == 3 and codes <= _FEW
    shape = (*space.shape[:-1], space.shape[-1] * codes) if named else space.shape
    top = 1 if named else codes - 1

    def seen(timestep):
        observation = timestep.observation
        return jax.nn.one_hot(observation, codes).reshape(shape) if named else observation

    def reset(key):
        timestep = env.reset(key).replace(info={})
        return timestep, seen(timestep)

    def step(_key, timestep, action):
        # Not `step`, which begins anew at the step after an end.
        timestep = env._step(timestep, action).replace(info={})
        kind = timestep.step_type
        return timestep, seen(timestep), timestep.reward, kind == 2, kind == 1

    observations = spaces.Box(0, top, shape, np.float32)
    actions = spaces.Discrete(int(env.action_space.maximum) + 1)
    return Foreign(observations, actions, reset, step)


def _pgx(module: Any, name: str, **settings: Any) -> Foreign:
    env = module.make(name, **settings)
    if env.num_players != 1:
        raise not_allowed("env", repr(f"pgx:{name}"), "a game of one player")
    dtype = jax.eval_shape(env.init, jax.random.PRNGKey(0)).observation.dtype
    shape = env.observation_shape
    low, high = (0.0, 1.0) if np.dtype(dtype) == bool else (-np.inf, np.inf)
    observations = spaces.Box(low, high, shape, np.float32)

    def reset(key):
        state = env.init(key)
        return state, state.observation

    def step(key, state, action):
        state = env.step(state, action, key)
        return state, state.observation, state.rewards[0], state.terminated, state.truncated

    return Foreign(observations, spaces.Discrete(env.num_actions), reset, step)


def _second(state: Any) -> Any:
    return state[1]


def _like_gymnasium(space: Any) -> gym.Space:
    """A space of a library that has Gymnasium's names for them."""
    match type(space).__name__:
        case "Discrete":
            return spaces.Discrete(int(space.n))
        case "Box":
            low, high = (np.broadcast_to(x, space.shape) for x in (space.low, space.high))
            return spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
        case "Dict":
            return spaces.Dict({k: _like_gymnasium(x) for k, x in space.spaces.items()})
    raise ConfigError(f"env: the space {space} is not supported")


def _of_spec(spec: Any) -> gym.Space:
    """The space of a specification in the manner of dm_env."""
    if hasattr(spec, "num_values"):
        values = np.asarray(spec.num_values)
        if values.ndim:
            return spaces.MultiDiscrete(values)
        if values <= _FEW:
            return spaces.Discrete(int(values))
        return spaces.Box(0, int(values) - 1, (), np.int32)
    if not hasattr(spec, "dtype"):
        return spaces.Dict({k: _of_spec(x) for k, x in spec._specs.items()})
    shape, is_float = tuple(spec.shape), np.dtype(spec.dtype).kind == "f"
    dtype: Any = np.float32 if is_float else np.int32
    limits = (-np.inf, np.inf) if is_float else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    low, high = getattr(spec, "minimum", limits[0]), getattr(spec, "maximum", limits[1])
    low, high = (np.broadcast_to(np.asarray(x).astype(dtype), shape) for x in (low, high))
    return spaces.Box(low, high, dtype=dtype)


def _picked(space: gym.Space, value: Any) -> Any:
    """The parts of a structure that are in a space."""
    if not isinstance(space, spaces.Dict):
        return value
    return {key: _picked(part, getattr(value, key)) for key, part in space.items()}


# By library: what makes an environment, and the names of those that there are.
_LIBRARIES: dict[str, tuple[Callable[..., Foreign], Callable[[Any], Any]]] = {
    "brax": (_brax, lambda module: sorted(_brax_envs(module)._envs)),
    "gymnax": (_gymnax, lambda module: module.registered_envs),
    "jumanji": (_jumanji, lambda module: module.registered_environments()),
    "navix": (_navix, lambda module: module.registry()),
    "pgx": (_pgx, lambda module: module.available_envs()),
}
