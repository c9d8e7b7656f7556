"""Distances between a student and its target.

Each takes (target, student); gradients flow to the student alone. An agent builds the
`match` of its `metagrad.targets.Problem` from these.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def squared(target: PyTree, student: PyTree) -> jax.Array:
    """Half the squared Euclidean distance between two pytrees of equal structure."""
    target = jax.lax.stop_gradient(target)
    parts = jax.tree.map(lambda z, x: jnp.sum(jnp.square(x - z)), target, student)
    return 0.5 * jax.tree.reduce(jnp.add, parts)


def kl(target: Any, student: Any) -> jax.Array:
    """KL(target || student) of two distrax distributions, averaged over their batch."""
    target = jax.lax.stop_gradient(target)
    return jnp.mean(target.kl_divergence(student))
