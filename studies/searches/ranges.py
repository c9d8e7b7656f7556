"""Ranges that hyperparameters are searched in, and the scales on which they are drawn and moved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp

from selftuning.agents import scales
from selftuning.configs import extensions
from selftuning.configs.errors import require
from selftuning.configs.hyperparameters import Scale
from selftuning.configs.settings import RunSettings
from selftuning.metagrad.hyperparams import Bijector


class Range(NamedTuple):
    """Values that a search may give to a hyperparameter, both ends included.

    Attributes:
      low: smallest one; above 0 for "log" and "unit".
      high: largest one; below 1 for "unit".
      scale: what is drawn uniformly, and what a factor adds its logarithm to: the logarithm of
        the value ("log") or of its odds ("unit"), or the value itself in units of the range
        ("linear").
    """

    low: float
    high: float
    scale: Scale


Ranges = Mapping[str, Range]


def ranges_of(settings: RunSettings) -> dict[str, Range]:
    """What tuning may do, as ranges: hyperparameters that are tuned, within their bounds."""
    known = extensions.definitions(settings.extensions)
    return {
        name: Range(spec.low, spec.high, known[name].scale)
        for name, spec in settings.in_use.items()
        if spec.tuned
    }


def check_ranges(settings: RunSettings, ranges: Ranges) -> None:
    """Raises ConfigError for the first range that cannot be searched."""
    known = extensions.definitions(settings.extensions)
    for name, (low, high, scale) in ranges.items():
        require(name in settings.in_use, "ranges", name, f"one of {', '.join(settings.in_use)}")
        least, most = known[name].domain
        text = f"{low:g}:{high:g}"
        require(scale in get_args(Scale), f"scale of {name}", scale, " | ".join(get_args(Scale)))
        require(low < high, f"range of {name}", text, "LOW:HIGH with LOW below HIGH")
        inside = least <= low and high <= most and math.isfinite(high - low)
        require(inside, f"range of {name}", text, f"finite and within {least:g}:{most:g}")
        if scale != "linear":
            require(low > 0, f"range of {name}", text, f"above 0 on the scale {scale}")
        if scale == "unit":
            require(high < 1, f"range of {name}", text, f"below 1 on the scale {scale}")


def position(space: Range, values: jax.Array | float) -> jax.Array:
    """Where values are on the scale of a range, any real numbers; `at` is its inverse."""
    return _moving(space).inverse(jnp.asarray(values, float))


def at(space: Range, positions: jax.Array | float) -> jax.Array:
    """The values at positions on the scale of a range, clipped to its ends."""
    x = _moving(space).forward(jnp.asarray(positions, float))
    return jnp.clip(x, space.low, space.high)


def _moving(space: Range) -> Bijector:
    return scales.of_scale(space.scale, space.high - space.low)


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

    That multiplies the value or its odds by the factor; of a linear range it adds a part, a sixth
    or so for 1.2.
    """
    return at(space, position(space, values) + jnp.log(factor))
