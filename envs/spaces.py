"""Which Gymnasium spaces are supported, and how agents see them.

Agents see fewer kinds of space than Gymnasium has. Observations are one array: floats
are float32, integers int32 (uint8 images and int8 bits keep their type), and `Dict` or
`Tuple` is flattened to one float32 vector. Actions are one number or have one axis.
Discrete values count from 0 whatever the `start` of the environment's own space.
`agent_spaces` gives these views; a `TaskSpec` holds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from selftuning.configs.errors import ConfigError
from selftuning.envs.answers import BadAnswerError, array, as_type, close, unfit
from selftuning.envs.masks import MASK, has_mask

OBSERVATIONS = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of these"
ACTIONS = "Discrete, MultiDiscrete, MultiBinary, and Box of floats or of a few whole numbers"
_MOST_NUMBERS = 10**8  # in one observation or action, where a discrete one has one a value
_MOST_VALUES = 1000  # of a whole number that is chosen as one of them


class SpacesOnly(NamedTuple):
    """What an environment is to `agent_spaces`."""

    observation_space: gym.Space
    action_space: gym.Space


def agent_spaces(env_id: str, env: Any) -> tuple[gym.Space, gym.Space]:
    """Observation and action space of `env` as agents see them.

    Args:
      env_id: name of the environment, for the error message.
      env: anything with an `observation_space` and an `action_space`.

    Raises:
      ConfigError: a space is not supported.
    """
    _check_size(env_id, "observation", env.observation_space)
    _check_size(env_id, "action", env.action_space)
    observation = _observation_view(env.observation_space, composite=True)
    if observation is None:
        raise ConfigError(
            f"env: {env_id!r} has the observation space {env.observation_space}, "
            f"which is not supported; supported: {OBSERVATIONS}{_hint(env.observation_space)}"
        )
    action = _action_view(env.action_space)
    if action is None:
        raise ConfigError(
            f"env: {env_id!r} has the action space {env.action_space}, "
            f"which is not supported; supported: {ACTIONS}"
        )
    if isinstance(observation, Composite) and has_mask(env.observation_space, env.action_space):
        # It is the one part of its name at the top, of which Gymnasium has sorted the names.
        names = list(env.observation_space.spaces)
        before = [env.observation_space[name] for name in names[: names.index(MASK)]]
        start = sum(spaces.flatdim(part) for part in before)
        observation.mask = start, start + math.prod(env.observation_space[MASK].shape)
    return observation, action


def _check_size(env_id: str, what: str, space: gym.Space) -> None:
    """Refuses spaces of no numbers, or of so many that their bounds alone fill a memory."""
    try:
        size = spaces.flatdim(space) if isinstance(space, gym.Space) else 1
    except (NotImplementedError, ValueError):  # it has no size, and is not supported
        return
    if not 0 < size <= _MOST_NUMBERS:
        raise ConfigError(
            f"env: {env_id!r} has an {what} space of {size:,} numbers; "
            f"there must be between 1 and {_MOST_NUMBERS:,}"
        )


def _hint(space: gym.Space) -> str:
    """What to do about the part of a space that is text, if there is one."""
    for name, part in space.items() if isinstance(space, spaces.Dict) else [("", space)]:
        if isinstance(part, spaces.Text):
            what = f"{name!r} is text" if name else "text"
            return f" ({what}: leave it out, or make numbers of it, with --wrapper module:Name)"
    return ""


def _observation_view(space: gym.Space, composite: bool) -> gym.Space | None:
    """The space that agents see in place of `space`, or None if it is not supported."""
    match space:
        case spaces.Box():
            return _box(space, array_dtype(space))
        case spaces.Discrete():
            return spaces.Discrete(int(space.n), dtype=np.int32)
        case spaces.MultiDiscrete():
            return spaces.MultiDiscrete(space.nvec, dtype=np.int32)
        case spaces.MultiBinary():
            return spaces.MultiBinary(space.n)
        case spaces.Dict() | spaces.Tuple() if composite and _is_flattenable(space):
            flat = spaces.flatten_space(space)
            assert isinstance(flat, spaces.Box)
            flat = _box(flat, np.dtype(np.float32))
            return Composite(flat.low, flat.high, tuple(_leaves(space)))
    return None


class Composite(spaces.Box):
    """A `Dict` or `Tuple` as one vector, which knows what it is made of.

    Attributes:
      parts: spaces of the numbers in it, in their order: `Box` or `MultiBinary` of any shape. What
        is discrete is a vector of zeros and a one there.
      mask: (start, stop) of the numbers that say which actions are allowed, if there are any.
    """

    mask: tuple[int, int] | None = None

    def __init__(self, low: np.ndarray, high: np.ndarray, parts: tuple[gym.Space, ...]):
        """Bounds of all numbers [N], and the parts that they belong to."""
        super().__init__(low, high, dtype=np.float32)
        self.parts = parts


def _leaves(space: gym.Space) -> Iterator[gym.Space]:
    """The parts of a composite space in the order in which Gymnasium flattens it."""
    match space:
        case spaces.Dict():
            for part in space.spaces.values():
                yield from _leaves(part)
        case spaces.Tuple():
            for part in space.spaces:
                yield from _leaves(part)
        case spaces.Box() | spaces.MultiBinary():
            yield space
        case _:
            yield spaces.flatten_space(space)


def _is_flattenable(space: gym.Space) -> bool:
    match space:
        case spaces.Dict():
            return bool(space.spaces) and all(map(_is_flattenable, space.spaces.values()))
        case spaces.Tuple():
            return bool(space.spaces) and all(map(_is_flattenable, space.spaces))
    return _observation_view(space, composite=False) is not None


def _action_view(space: gym.Space) -> gym.Space | None:
    """The space of actions that agents have in place of `space`: one number, or one axis."""
    match space:
        case spaces.Discrete():
            return spaces.Discrete(int(space.n), dtype=np.int32)
        case spaces.MultiDiscrete():
            return spaces.MultiDiscrete(space.nvec.reshape(-1), dtype=np.int32)
        case spaces.MultiBinary():
            return spaces.MultiBinary(math.prod(space.shape))
        case spaces.Box() if np.issubdtype(space.dtype, np.floating):
            return spaces.flatten_space(_box(space, np.dtype(np.float32)))
        case spaces.Box() if np.all(_values(space) <= _MOST_VALUES):
            return spaces.MultiDiscrete(_values(space).reshape(-1), dtype=np.int32)
    return None


def _values(space: spaces.Box) -> np.ndarray:
    """How many whole numbers there are between the bounds of each part."""
    return space.high.astype(np.int64) - space.low.astype(np.int64) + 1


def _box(space: spaces.Box, dtype: np.dtype) -> spaces.Box:
    """The space with another type; bounds that it cannot hold become its widest ones."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        bounds = (np.clip(bound, limits.min, limits.max) for bound in (space.low, space.high))
        low, high = (bound.astype(dtype) for bound in bounds)
    else:
        with np.errstate(over="ignore"):
            low, high = space.low.astype(dtype), space.high.astype(dtype)
    return spaces.Box(low, high, dtype=dtype.type)


def array_dtype(space: gym.Space) -> np.dtype:
    """Type of the observation arrays of `space`: what JAX makes of it without 64 bit."""
    dtype = np.dtype(space.dtype)
    is_small = dtype.itemsize <= 2 and dtype.kind in "biu"
    if is_small and isinstance(space, spaces.Box | spaces.MultiBinary):
        return dtype
    if dtype.kind in "iu" and isinstance(space, spaces.Box):
        # Where int32 might wrap around, float32 is only rounded.
        limits = np.iinfo(np.int32)
        if space.low.min() < limits.min or space.high.max() > limits.max:
            return np.dtype(np.float32)
    return np.dtype(np.float32 if dtype.kind == "f" else np.int32)


def shape(space: gym.Space) -> tuple[int, ...]:
    """Shape of one element of an array-valued space."""
    assert space.shape is not None
    return space.shape


def start_of(space: gym.Space) -> Any:
    """First value of a (multi-)discrete space: an integer, an array, or 0 for other spaces."""
    return getattr(space, "start", 0)


def graph_observation(space: gym.Space, observation: Any) -> jnp.ndarray:
    """One observation of a functional environment as agents see it, with the space's shape."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        # Dicts have a part for each key, and tuples one for each number.
        pairs = space.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        parts = [(part, observation[key]) for key, part in pairs]
        return jnp.concatenate([graph_flat(part, graph_observation(part, x)) for part, x in parts])
    observation = jnp.asarray(observation)
    if observation.size != math.prod(shape(space)):
        of = f"shape {observation.shape}, not {space.shape}"
        raise BadAnswerError(f"an observation of {of}")
    if np.any(start_of(space) != 0):
        observation = observation - start_of(space)
    return observation.astype(array_dtype(space)).reshape(space.shape)


def graph_flat(space: gym.Space, observation: jnp.ndarray) -> jnp.ndarray:
    """One such observation as `gymnasium.spaces.flatten` makes a vector of it, float32."""
    if isinstance(space, spaces.Discrete):
        sizes = [int(space.n)]
    elif isinstance(space, spaces.MultiDiscrete):
        sizes = [int(n) for n in space.nvec.reshape(-1)]
    else:
        return observation.reshape(-1).astype(jnp.float32)
    each = zip(observation.reshape(-1), sizes, strict=True)
    return jnp.concatenate([jax.nn.one_hot(x, n, dtype=jnp.float32) for x, n in each])


def graph_action(space: gym.Space, action: Any) -> jnp.ndarray:
    """One action of an agent as the functional environment expects it."""
    if isinstance(space, spaces.Discrete):
        return action + space.start if space.start != 0 else action
    action = jnp.reshape(action, space.shape)
    if isinstance(space, spaces.Box) and space.dtype.kind in "iu":
        return (action + space.low).astype(space.dtype)
    if isinstance(space, spaces.Box):
        return jnp.clip(action, space.low, space.high).astype(array_dtype(space))
    return (action + start_of(space)).astype(array_dtype(space))


def to_agent(space: gym.Space) -> Callable[[Any], np.ndarray]:
    """Returns the function from an observation of a space to what agents see, a new array.

    It raises `BadAnswerError` for what is no array of numbers, or of numbers that the type of the
    space does not have. Shapes are those that it is given; those of parts are checked.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        pairs = space.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        parts = [(key, _to_vector(part)) for key, part in pairs]

        def joined(observation: Any) -> np.ndarray:
            if isinstance(space, spaces.Tuple) and len(observation) != len(parts):
                raise BadAnswerError(
                    f"an observation of {len(observation)} parts, not {len(parts)}"
                )
            return np.concatenate([see(observation[key]) for key, see in parts])

        return joined
    dtype, start = array_dtype(space), start_of(space)
    if isinstance(space, spaces.Discrete):

        def counted(observation: Any) -> np.ndarray:
            if isinstance(observation, int | np.integer):  # a third of the time of the rest
                return np.array(int(observation) - int(start), dtype)
            return as_type(array(observation) - start, dtype)

        return counted
    if np.any(start != 0):
        return lambda observation: as_type(array(observation) - start, dtype)
    return lambda observation: as_type(array(observation), dtype)


def _to_vector(space: gym.Space) -> Callable[[Any], np.ndarray]:
    """The function from a part of an observation to a vector, as `gymnasium.spaces.flatten`."""
    see = to_agent(space)
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return see
    view = _observation_view(space, composite=False)
    assert view is not None
    counts = np.ravel(view.n if isinstance(view, spaces.Discrete) else getattr(view, "nvec", ()))
    first = np.cumsum(counts) - counts

    def vector(part: Any) -> np.ndarray:
        seen = see(part)
        if seen.shape != shape(space):
            raise BadAnswerError(
                f"a part of an observation of shape {seen.shape}, not {space.shape}"
            )
        if not counts.size:
            return seen.ravel().astype(np.float32)
        if (found := unfit(view, seen[None])) is not None:
            raise BadAnswerError(found[1])
        ones = np.zeros(counts.sum(), np.float32)
        ones[first + seen.ravel()] = 1.0
        return ones

    return vector


def to_env(space: gym.Space) -> Callable[[Any], Any]:
    """Returns the function from an action of an agent to one that is in the space."""
    if isinstance(space, spaces.Discrete):
        return lambda action: space.dtype.type(int(action) + space.start)
    if isinstance(space, spaces.Box) and space.dtype.kind in "iu":
        return lambda action: (np.reshape(action, space.shape) + space.low).astype(space.dtype)
    if isinstance(space, spaces.Box):
        # The bounds are compared in the space's own type: float32 may round across them.
        return lambda action: np.clip(
            np.asarray(action, space.dtype).reshape(space.shape), space.low, space.high
        )
    start = start_of(space)
    return lambda action: (np.reshape(action, shape(space)) + start).astype(space.dtype)


class AgentView(gym.Wrapper):
    """A Gymnasium environment with the spaces that agents see.

    Observations are always new arrays: an environment may overwrite its own with the
    reset that follows an end, and the final observation has to survive that.

    Raises:
      ConfigError: a space is not supported (the wrapped environment is then closed).
    """

    def __init__(self, env: gym.Env):
        """Wraps `env`, which has to have supported spaces."""
        super().__init__(env)
        env_id = env.spec.id if env.spec else type(env.unwrapped).__name__
        try:
            self.observation_space, self.action_space = agent_spaces(env_id, env)
        except ConfigError:
            close(env)
            raise
        self._to_agent = to_agent(env.observation_space)
        self._to_env = to_env(env.action_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """As `gymnasium.Env.reset`."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._to_agent(observation), info

    def step(self, action: Any):
        """As `gymnasium.Env.step`, with an action of the agents' space."""
        observation, reward, terminated, truncated, info = self.env.step(self._to_env(action))
        return self._to_agent(observation), reward, terminated, truncated, info
