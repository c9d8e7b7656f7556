"""Convex sets that online learners keep their meta-parameters in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

PyTree = Any


class Constraint(NamedTuple):
    """A closed convex set W.

    Attributes:
      project: pytree -> the nearest point of W, Euclidean.
      separable: whether W is a product of intervals. Then its projection is
        coordinate-wise clipping, and the same in every diagonal norm.
    """

    project: Callable[[PyTree], PyTree]
    separable: bool


def unconstrained() -> Constraint:
    """All of space."""
    return Constraint(lambda w: w, True)


def box(lower: PyTree, upper: PyTree) -> Constraint:
    """Lower <= w <= upper, bounds either scalars or pytrees like w."""

    def like(w, bound):
        return jax.tree.map(lambda x: jnp.asarray(bound, x.dtype), w)

    def project(w):
        low = like(w, lower) if jnp.isscalar(lower) else lower
        high = like(w, upper) if jnp.isscalar(upper) else upper
        return optax.projections.projection_box(w, low, high)

    return Constraint(project, True)


def non_negative() -> Constraint:
    """Every coordinate w_i >= 0."""
    return Constraint(optax.projections.projection_non_negative, True)


def ball(radius: float | jax.Array) -> Constraint:
    """Euclidean norm of the whole pytree <= radius, around the origin.

    Raises:
      ValueError: if a static `radius` is not positive.
    """
    if isinstance(radius, int | float) and not radius > 0:
        raise ValueError(f"radius of a ball = {radius}: must be positive")

    def project(w):
        # optax's projection squares the radius, which overflows half precision.
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(wide(x))) for x in jax.tree.leaves(w)))
        factor = jnp.where(norm > radius, radius / jnp.where(norm > radius, norm, 1.0), 1.0)
        return jax.tree.map(lambda x: (factor * wide(x)).astype(x.dtype), w)

    return Constraint(project, False)


def wide(x: jax.Array) -> jax.Array:
    """The array in float32 at least, so that sums over it do not overflow or stall."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
