"""Hyperparameters as data: how a bounded quantity is moved by an unconstrained learner.

A meta-optimiser moves *raw* values in R. A bijector maps them to the scale on which the
quantity is used, and after each update the raw value is projected onto its bounds, so
that a gradient never vanishes merely because a bound is near.

Where the values come from is a `Source`: here the raw values themselves (`scalars`), in
`metagrad.meta_network` a function of the context in which they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

PyTree = Any


class Bijector(NamedTuple):
    """A smooth monotone map from raw values in R to a range, and its inverse."""

    forward: Callable[[jax.Array], jax.Array]
    inverse: Callable[[jax.Array], jax.Array]


IDENTITY = Bijector(lambda x: x, lambda y: y)
UNIT_INTERVAL = Bijector(jax.nn.sigmoid, lambda y: jnp.log(y) - jnp.log1p(-y))
POSITIVE = Bijector(jnp.exp, jnp.log)


def between(low: float, high: float) -> Bijector:
    """R to (low, high) by a sigmoid: for values that no projection keeps inside.

    The inverse of what lies on the bounds or outside is that of a value just inside.
    """
    width = high - low
    return Bijector(
        lambda x: low + width * jax.nn.sigmoid(x),
        lambda y: UNIT_INTERVAL.inverse(jnp.clip((y - low) / width, 1e-6, 1 - 1e-6)),
    )


class Hyperparameter(NamedTuple):
    """What the meta-learner knows of one hyperparameter (static).

    Attributes:
      bijector: raw value to the value that loss and update rule see.
      low, high: bounds on that value; infinite ones do not bind.
      tuned: whether meta-gradients move it.
    """

    bijector: Bijector = IDENTITY
    low: float = -jnp.inf
    high: float = jnp.inf
    tuned: bool = True


class Values(NamedTuple):
    """Values of all hyperparameters: the tuned ones raw, the fixed ones as they are used.

    `raw` is all that the meta-optimiser moves, and has the parameters of a meta-network too.
    """

    raw: dict[str, PyTree]
    fixed: dict[str, PyTree]


Space = Mapping[str, Hyperparameter]


class Source(NamedTuple):
    """Where the values of hyperparameters come from.

    Attributes:
      space: every hyperparameter by name.
      init: (start values on the scale of use by name, key) -> Values; a source that draws
        nothing ignores the key, which may then be None.
      apply: (values, batch) -> values on the scale of use by name, for use with a batch.
    """

    space: Space
    init: Callable[[Mapping[str, PyTree], jax.Array | None], Values]
    apply: Callable[[Values, PyTree], dict[str, PyTree]]


def scalars(space: Space) -> Source:
    """Values that are the same for every batch, however each of them is shaped."""
    return Source(
        space,
        lambda start, key: init(space, start),
        lambda values, batch: constrain(space, values),
    )


def init(space: Space, start: Mapping[str, PyTree]) -> Values:
    """Splits start values (on the scale of use) into raw and fixed ones.

    Args:
      space: every hyperparameter by name.
      start: a value, array or pytree for each name in `space`.

    Returns:
      `Values` with float arrays; their shapes are those of `start`.

    Raises:
      KeyError: if `start` and `space` do not have the same names.
    """
    if set(start) != set(space):
        raise KeyError(f"start values for {sorted(start)}, hyperparameters are {sorted(space)}")
    as_float = {name: jax.tree.map(lambda x: jnp.asarray(x) * 1.0, start[name]) for name in space}
    raw = {
        name: jax.tree.map(spec.bijector.inverse, as_float[name])
        for name, spec in space.items()
        if spec.tuned
    }
    return Values(raw, {name: as_float[name] for name in space if name not in raw})


def constrain(space: Space, values: Values) -> dict[str, PyTree]:
    """Values of all hyperparameters on the scale of use."""
    tuned = {
        name: jax.tree.map(space[name].bijector.forward, raw) for name, raw in values.raw.items()
    }
    return {**values.fixed, **tuned}


def project(space: Space, raw: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Projects raw values onto the bounds of their hyperparameters; others stay as they are."""

    def clip(name: str, x: jax.Array) -> jax.Array:
        spec = space[name]
        low = spec.bijector.inverse(jnp.asarray(spec.low, x.dtype)) if spec.low > -jnp.inf else None
        high = (
            spec.bijector.inverse(jnp.asarray(spec.high, x.dtype)) if spec.high < jnp.inf else None
        )
        return jnp.clip(x, low, high)

    return {
        name: jax.tree.map(lambda x, n=name: clip(n, x), value) if name in space else value
        for name, value in raw.items()
    }
