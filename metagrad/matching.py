"""Distances between a student and its target.

Each takes (target, student); gradients flow to the student alone. An agent builds the
`match` of its `metagrad.targets.Problem` from these.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """KL(target || student) of two distrax distributions, averaged over their batch.

    Its gradient in the student's logits is p_student - p_target. Noise in the target's
    logits is not averaged away there: E[softmax(z + noise)] is closer to uniform than
    softmax(z), so a target made by noisy steps teaches a spread-out policy.
    """
    return jnp.mean(jax.lax.stop_gradient(target).kl_divergence(student))


def reverse_kl(target: Any, student: Any) -> jax.Array:
    """KL(student || target), averaged over the batch.

    Its gradient in the student's logits x is F(x) (x - z), with F the Fisher information
    and z the target's logits. It is linear in z, hence zero-mean noise of the target
    leaves it unbiased (docs/tuning.md).
    """
    return jnp.mean(student.kl_divergence(jax.lax.stop_gradient(target)))


def weighted(weights: Mapping[str, float], distances: Mapping[str, jax.Array]) -> jax.Array:
    """Sum of distances by name, each times its weight; those of weight 0 cost nothing in jit."""
    return sum((w * distances[name] for name, w in weights.items() if w), start=jnp.zeros(()))
