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
