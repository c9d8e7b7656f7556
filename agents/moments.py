"""Running mean and variance, of all samples so far or of the latest ones."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Moments(NamedTuple):
    """Mean and variance of samples so far.

    Attributes:
      number: of the samples, up to the length of the memory, a scalar.
      mean: of each element, [*shape].
      variance: likewise.
    """

    number: jax.Array
    mean: jax.Array
    variance: jax.Array


def nothing(of_shape: tuple[int, ...]) -> Moments:
    """Moments of no samples."""
    return Moments(jnp.zeros(()), jnp.zeros(of_shape), jnp.ones(of_shape))


def with_samples(moments: Moments, samples: jax.Array, memory: float = math.inf) -> Moments:
    """Moments with samples [N, *shape] (Chan et al. 1979).

    Each sample counts alike until there are `memory` of them. From then on the past fades, as in
    an exponential average over so many. A finite memory costs nothing at first, for that reason.
    """
    added = float(samples.shape[0])
    mean = jnp.mean(samples, 0)
    variance = jnp.mean(jnp.square(samples - mean), 0)
    number = jnp.minimum(moments.number + added, max(memory, added))
    weight = added / number
    difference = mean - moments.mean
    return Moments(
        number,
        moments.mean + weight * difference,
        (1 - weight) * moments.variance
        + weight * variance
        + weight * (1 - weight) * jnp.square(difference),
    )


def divergence(of: Moments, known: Moments) -> jax.Array:
    """KL(of || known) of normal distributions with these moments, each element by itself [*shape].

    It does not depend on the units of elements, nor on where they have their zero. An element that
    has been constant, but for rounding, has none, whatever it is now.
    """
    rounding = jnp.square(1e-6 * known.mean) + jnp.finfo(known.mean.dtype).tiny
    varied = known.variance > rounding
    before, after = jnp.where(varied, known.variance, 1.0), of.variance + rounding
    moved = jnp.square(of.mean - known.mean)
    apart = 0.5 * (jnp.log(before / after) + (after + moved) / before - 1.0)
    return jnp.where(varied, apart, 0.0)
