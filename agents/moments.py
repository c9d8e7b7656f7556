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


def of_some(samples: jax.Array, where: jax.Array) -> Moments:
    """Moments of those samples [N, *shape] for which it holds, [N], of at least one."""
    number = jnp.sum(where, dtype=samples.dtype)
    chosen = where.reshape(-1, *(1,) * (samples.ndim - 1))
    mean = jnp.sum(jnp.where(chosen, samples, 0.0), 0) / number
    square = jnp.where(chosen, jnp.square(samples - mean), 0.0)
    return Moments(number, mean, jnp.sum(square, 0) / number)


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


def varied(moments: Moments) -> jax.Array:
    """Which elements have varied, bool [*shape]; a constant differs from its mean by rounding."""
    rounding = jnp.square(1e-6 * moments.mean) + jnp.finfo(moments.mean.dtype).tiny
    return moments.variance > rounding


def beyond(of: Moments, known: Moments) -> jax.Array:
    """How far samples lie outside of where the known ones are, in nats, each element [*shape].

        (r - 1 - log r) / 2 where r > 1, else 0    r = mean (x - known mean)^2 / known variance

    That is KL(N(m, r v) || N(m, v)), m and v the known mean and variance. Samples that are crowded
    together inside are not beyond anything. It does not depend on the units of elements, nor on
    where they have their zero. An element that has never varied says nothing.
    """
    tells = varied(known)
    square = of.variance + jnp.square(of.mean - known.mean)
    ratio = jnp.where(tells, square / jnp.where(tells, known.variance, 1.0), 1.0)
    ratio = jnp.maximum(ratio, 1.0)
    return 0.5 * (ratio - 1.0 - jnp.log(ratio))
