"""Torsos: what a network makes of an observation before its last layer, chosen from the space.

An observation is one array. It is a picture, a choice or a vector, or has such parts (a `Dict` or a
`Tuple`). Pictures go through convolutions, everything else is put side by side in a vector; dense
layers take both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from selftuning.agents.convolution import Conv2D
from selftuning.configs.errors import not_allowed
from selftuning.configs.own_parts import Part
from selftuning.configs.settings import AgentSettings
from selftuning.envs.spaces import Composite, shape

Function = Callable[[jax.Array], jax.Array]

# Two axes of bytes are a gray picture from this size on; below they are a table.
_LEAST_GRAY = 16


class Convolutions(NamedTuple):
    """Layers, (channels, kernel, stride) each, for pictures with no side below `side`."""

    side: int
    padding: str
    layers: tuple[tuple[int, int, int], ...]


# Each leaves something of every picture that it is for.
CONVOLUTIONS = (
    Convolutions(36, "VALID", ((32, 8, 4), (64, 4, 2), (64, 3, 1))),  # Mnih et al. (2015)
    Convolutions(16, "VALID", ((32, 4, 2), (64, 3, 2))),
    Convolutions(1, "SAME", ((16, 3, 1),)),  # Young and Tian (2019), whose pictures are 10 x 10
)
# Version 0.2 took pictures of any size for large ones, and only bytes for pictures.
_BEFORE = Convolutions(1, "SAME", CONVOLUTIONS[0].layers)


class Picture(NamedTuple):
    """How the axes of an observation make a picture.

    Attributes:
      order: of the axes, as height, width and those that are channels together.
      shape: (height, width, channels).
    """

    order: tuple[int, ...]
    shape: tuple[int, int, int]


def picture(space: gym.Space, torso: str = "auto") -> Picture | None:
    """How observations of a space are looked at as pictures, or None if they are none.

    A picture has three axes, numbers of any type, or bits. The first axis holds the channels if
    only the other two are equal, or if no two neighbours are equal and it is smaller than the last.
    Otherwise the last axis does. Bytes may also have two axes, which is a gray picture if both are
    at least 16, or four: a stack of pictures, all channels of which go side by side.

    Args:
      space: as agents see it.
      torso: "conv" takes two axes of any size and type for a gray picture; "nature" is the rule of
        version 0.2, three axes of bytes with channels last; "mlp" sees no pictures.
    """
    if torso == "mlp" or not isinstance(space, gym.spaces.Box | gym.spaces.MultiBinary):
        return None
    axes, is_bytes = shape(space), space.dtype == np.uint8
    if torso == "nature":
        return _ordered(axes, (0, 1, 2)) if len(axes) == 3 and is_bytes else None
    if len(axes) == 2 and (torso == "conv" or (is_bytes and min(axes) >= _LEAST_GRAY)):
        return Picture((0, 1), (*axes, 1))
    if len(axes) == 4 and (torso == "conv" or is_bytes):
        height, width, channels = _sides(*axes[1:])
        return _ordered(axes, (1 + height, 1 + width, 0, 1 + channels))
    return _ordered(axes, _sides(*axes)) if len(axes) == 3 else None


def _ordered(axes: tuple[int, ...], order: tuple[int, ...]) -> Picture:
    height, width = (axes[axis] for axis in order[:2])
    return Picture(order, (height, width, math.prod(axes[axis] for axis in order[2:])))


def _sides(first: int, middle: int, last: int) -> tuple[int, int, int]:
    """Which of three axes are height, width and channels."""
    channels_first = middle == last if middle in (first, last) else first < last
    return (1, 2, 0) if channels_first and first != middle else (0, 1, 2)


class Encoder(NamedTuple):
    """The convolutions of a task, for several networks.

    Attributes:
      init: (key, observations) -> parameters.
      apply: (parameters, observations [..., *obs]) -> features [..., F].
      features: their space: what networks behind it see in place of observations.
    """

    init: Callable[..., Any]
    apply: Callable[[Any, jax.Array], jax.Array]
    features: Composite


def encoder_for(observation_space: gym.Space, settings: AgentSettings) -> Encoder | None:
    """What is before the dense layers, as a network of its own; None if nothing is a picture.

    Args:
      observation_space: of the task.
      settings: of the layers.
    """
    parts, sees = _parts(observation_space), settings.torso
    if not any(picture(part, sees) for part, _ in parts):
        return None
    side_by_side = _side_by_side(parts, sees)
    mask = observation_space.mask if isinstance(observation_space, Composite) else None

    def encoded(observation):
        x = side_by_side(observation)
        return x if mask is None else jnp.concatenate([x, observation[..., slice(*mask)]], -1)

    network = hk.without_apply_rng(hk.transform(encoded))
    example = np.zeros((1, *shape(observation_space)), observation_space.dtype)
    made = jax.eval_shape(network.init, jax.random.PRNGKey(0), example)
    size = jax.eval_shape(network.apply, made, example).shape[-1]
    allowed = 0 if mask is None else mask[1] - mask[0]
    bound = np.full(size, np.inf, np.float32)
    spaces: list[gym.Space] = [gym.spaces.Box(-np.inf, np.inf, (size - allowed,))]
    spaces += [gym.spaces.MultiBinary(allowed)] if allowed else []
    features = Composite(-bound, bound, tuple(spaces))
    features.mask = None if mask is None else (size - allowed, size)
    return Encoder(network.init, network.apply, features)


def torso_for(
    observation_space: gym.Space, settings: AgentSettings, own: Part | None = None
) -> Function:
    """Observations [..., *obs] to features [..., F], to be called inside `hk.transform`.

    Args:
      observation_space: of the task.
      settings: of the layers.
      own: the user's function, in place of what the settings say.

    Raises:
      ConfigError: if there is to be a convolution where nothing is a picture.
    """
    if own is not None:
        return _checked(own, len(shape(observation_space)))
    parts, sees = _parts(observation_space), settings.torso
    if sees == "conv" and not any(picture(part, sees) for part, _ in parts):
        allowed = f"auto | mlp for observations {observation_space}"
        raise not_allowed("agent.torso", sees, allowed)
    side_by_side = _side_by_side(parts, sees)
    activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[settings.activation]

    def torso(observation):
        dense = hk.nets.MLP(settings.hidden, activation=activation, activate_final=True)
        return dense(side_by_side(observation))

    return torso


def _side_by_side(parts: list[tuple[gym.Space, slice | None]], sees: str) -> Function:
    """All parts of an observation in one vector, pictures after their convolutions."""
    encoders = [(_encoder(part, sees), shape(part), where) for part, where in parts]

    def encoded(observation):
        each = [
            encode(observation if where is None else _shaped(observation[..., where], last))
            for encode, last, where in encoders
        ]
        return jnp.concatenate(each, -1)

    return encoded


def _parts(space: gym.Space) -> list[tuple[gym.Space, slice | None]]:
    """The parts of an observation that features are made of, and where in it they are."""
    if not isinstance(space, Composite):
        return [(space, None)]
    ends = np.cumsum([0, *(math.prod(shape(part)) for part in space.parts)]).tolist()
    places = [slice(*ends[i : i + 2]) for i in range(len(space.parts))]
    each = zip(space.parts, places, strict=True)
    return [(part, at) for part, at in each if (at.start, at.stop) != space.mask]


def measured(space: gym.Space, torso: str = "auto") -> np.ndarray:
    """Which elements of observations are numbers of any size, bool [*obs].

    The others are pixels, whose bounds say what is bright, or choices, bits and masks.
    """
    found = np.zeros(shape(space), bool)
    for part, where in _parts(space):
        is_picture = picture(part) or picture(part, torso)
        if isinstance(part, gym.spaces.Box) and not is_picture:
            found[... if where is None else where] = True
    return found


def _shaped(x: jax.Array, last: tuple[int, ...]) -> jax.Array:
    return x.reshape(*x.shape[:-1], *last)


def _checked(own: Part, rank: int) -> Function:
    def torso(observation):
        features = own(observation, convert=jnp.asarray)
        batch = observation.shape[: observation.ndim - rank]
        found = jnp.shape(features)
        if len(found) != len(batch) + 1 or found[:-1] != batch:
            wanted = f"({', '.join(map(str, batch))}, F), the features of each observation"
            raise not_allowed(f"extensions: torso {own.name}", f"shape {found}", wanted)
        return features

    return torso


def _encoder(space: gym.Space, sees: str) -> Function:
    """Observations [..., *obs] as float vectors [..., F]. `float` is JAX's default precision."""
    if isinstance(space, gym.spaces.Discrete):
        return lambda x: jax.nn.one_hot(x - int(space.start), int(space.n))
    if isinstance(space, gym.spaces.MultiDiscrete):
        return _one_hots(space)
    seen, rank, size = picture(space, sees), len(shape(space)), math.prod(shape(space))
    if seen is None:
        # Bytes of a picture are scaled for dense layers too.
        scaled = _brightness(space) if sees == "mlp" and picture(space) else None
        scaled = scaled or (lambda x: x.astype(float))
        return lambda x: scaled(x).reshape(*x.shape[: x.ndim - rank], size)
    brightness = _brightness(space)
    small = min(seen.shape[:2])
    layers = next(each for each in CONVOLUTIONS if small >= each.side)
    layers = _BEFORE if sees == "nature" else layers

    def encode(x):
        batch = x.shape[: x.ndim - rank]
        x = brightness(x).reshape(-1, *shape(space))
        x = jnp.transpose(x, (0, *(1 + axis for axis in seen.order)))
        x = x.reshape(-1, *seen.shape)
        for channels, kernel, stride in layers.layers:
            x = jax.nn.relu(Conv2D(channels, kernel, stride, layers.padding)(x))
        return x.reshape(*batch, -1)

    return encode


def _one_hots(space: gym.spaces.MultiDiscrete) -> Function:
    sizes = [int(n) for n in space.nvec.reshape(-1)]
    starts = [int(s) for s in space.start.reshape(-1)]

    def encode(x):
        x = x.reshape(*x.shape[: x.ndim - len(shape(space))], len(sizes))
        columns = [
            jax.nn.one_hot(x[..., i] - start, n)
            for i, (n, start) in enumerate(zip(sizes, starts, strict=True))
        ]
        return jnp.concatenate(columns, -1)

    return encode


def _brightness(space: gym.Space) -> Function:
    """Pixels scaled from the bounds of the space to [0, 1]; as they are where it has none."""
    if not isinstance(space, gym.spaces.Box):
        return lambda x: x.astype(float)
    low, high = (np.asarray(bound, np.float64) for bound in (space.low, space.high))
    if low.size and (low == low.flat[0]).all() and (high == high.flat[0]).all():
        low, high = low.flat[:1], high.flat[:1]  # one number for all pixels
    known = np.isfinite(low) & np.isfinite(high) & (low < high)
    low, spread = np.where(known, low, 0), np.where(known, high - np.where(known, low, 0), 1)
    if (low == 0).all():
        return lambda x: x.astype(float) / spread
    return lambda x: (x.astype(float) - low) / spread
