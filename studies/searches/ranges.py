"""Ranges that hyperparameters are searched in, and the scales on which they are drawn and moved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from selftuning.configs import extensions
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from selftuning.configs.validate import domain

Scale = Literal["log", "one_minus", "odds", "linear"]

# Quantities of the kind of a discount: what matters of them is how far they are from 1.
_DISCOUNT_LIKE = ("gamma", "lambda", "momentum")
# What tuning moves on the scale of its log-odds has two ends that it may be close to.
_OF_EXTENSIONS: Mapping[extensions.Scale, Scale] = {
    "log": "log",
    "unit": "odds",
    "linear": "linear",
}


class Range(NamedTuple):
    """Values that a search may give to a hyperparameter, both ends included.

    Attributes:
      low: smallest one; above 0 for "log" and "odds".
      high: largest one; below 1 for "one_minus" and "odds".
      scale: what is drawn uniformly, and what a factor adds its logarithm to: the logarithm of
        the value ("log"), of its distance from 1 ("one_minus") or of its odds ("odds"), or the
        value itself in units of the range ("linear").
    """

    low: float
    high: float
    scale: Scale


Ranges = Mapping[str, Range]


def ranges_of(settings: RunSettings) -> dict[str, Range]:
    """What tuning may do, as ranges: hyperparameters that are tuned, within their bounds."""
    own = extensions.load(settings.extensions)
    scales: dict[str, Scale] = dict.fromkeys(_DISCOUNT_LIKE, "one_minus")
    scales |= {name: _OF_EXTENSIONS[one.scale] for name, one in own.items()}
    return {
        name: Range(spec.low, spec.high, scales.get(name, "log"))
        for name, spec in settings.in_use.items()
        if spec.tuned
    }


def check_ranges(settings: RunSettings, ranges: Ranges) -> None:
    """Raises ConfigError for the first range that cannot be searched."""
    for name, (low, high, scale) in ranges.items():
        _require(name in settings.in_use, "ranges", name, f"one of {', '.join(settings.in_use)}")
        least, most = domain(name, settings.extensions)
        text = f"{low:g}:{high:g}"
        _require(scale in get_args(Scale), f"scale of {name}", scale, " | ".join(get_args(Scale)))
        _require(low < high, f"range of {name}", text, "LOW:HIGH with LOW below HIGH")
        inside = least <= low and high <= most and math.isfinite(high - low)
        _require(inside, f"range of {name}", text, f"finite and within {least:g}:{most:g}")
        if scale in ("log", "odds"):
            _require(low > 0, f"range of {name}", text, f"above 0 on the scale {scale}")
        if scale in ("one_minus", "odds"):
            _require(high < 1, f"range of {name}", text, f"below 1 on the scale {scale}")


def position(space: Range, values: jax.Array | float) -> jax.Array:
    """Where values are on the scale of a range, any real numbers; `at` is its inverse."""
    x = jnp.asarray(values, float)
    if space.scale == "log":
        return jnp.log(x)
    if space.scale == "one_minus":
        return jnp.log(1.0 - x)
    if space.scale == "odds":
        return jnp.log(x) - jnp.log(1.0 - x)
    return (x - space.low) / (space.high - space.low)


def at(space: Range, positions: jax.Array | float) -> jax.Array:
    """The values at positions on the scale of a range, clipped to its ends."""
    z = jnp.asarray(positions, float)
    if space.scale == "log":
        x = jnp.exp(z)
    elif space.scale == "one_minus":
        x = 1.0 - jnp.exp(z)
    elif space.scale == "odds":
        x = jax.nn.sigmoid(z)
    else:
        x = space.low + z * (space.high - space.low)
    return jnp.clip(x, space.low, space.high)


def ends(space: Range) -> tuple[jax.Array, jax.Array]:
    """The least and the largest position in a range."""
    both = position(space, jnp.array([space.low, space.high], float))
    return both.min(), both.max()


def draw(key: jax.Array, space: Range, shape: tuple[int, ...]) -> jax.Array:
    """Values that are uniform on the scale of a range."""
    low, high = ends(space)
    return at(space, jax.random.uniform(key, shape, minval=low, maxval=high))


def perturb(values: jax.Array, factor: jax.Array | float, space: Range) -> jax.Array:
    """Values moved by the logarithm of a factor on the scale of a range, and clipped to its ends.

    That multiplies by the factor the value, its distance from 1 or its odds; of a linear range it
    adds a part, a sixth or so for 1.2.
    """
    return at(space, position(space, values) + jnp.log(factor))


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise ConfigError(f"{name}: {value} is not allowed; it must be {allowed}")
