"""Weights and step sizes: as functions of the step t = 1, 2, ..., and for a part of a pytree each.

A step size is a number, or a pytree that the structure of what it scales begins with (one
entry a tensor, say); its leaves broadcast against the arrays there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Schedule = Callable[[jax.Array], jax.Array]
PyTree = Any
Rate = PyTree | Schedule


def constant(t: jax.Array) -> jax.Array:
    """Weights alpha_t = 1."""
    return jnp.ones_like(t, real())


def linear(t: jax.Array) -> jax.Array:
    """Weights alpha_t = t."""
    return t.astype(real())


def at(value: Rate, t: jax.Array) -> Any:
    """The value of a schedule at step t, or what is no schedule as it is."""
    return value(t) if callable(value) else value


def scale(rate: PyTree, tree: PyTree) -> PyTree:
    """Rate * tree."""
    return jax.tree.map(lambda r, part: jax.tree.map(lambda x: r * x, part), rate, tree)


def real() -> Any:
    """The widest float that is enabled."""
    return jnp.zeros(()).dtype
