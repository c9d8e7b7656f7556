"""Hyperparameters as the output of a small network over the context they are used in.

On a task that changes, no single value is right. A meta-network sees a few numbers that say
how learning goes, and meta-gradients teach it what to answer (Flennerhag et al. 2022;
Luketina et al. 2022). What the context is, the caller says; no gradient flows through it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from selftuning.metagrad import hyperparams as hp

PyTree = Any

NETWORK = "network"  # its parameters, among the raw values


def contextual(
    space: hp.Space,
    context: Callable[[PyTree], jax.Array],
    size: int,
    hidden: Sequence[int] = (32,),
) -> hp.Source:
    """A source that adds the output of a network to the raw value of every tuned hyperparameter.

    The last layer starts at zero and has no bias, so that all start where they are told to: the
    raw value is the bias. As long as no context but zeros is seen, this is exactly
    `hyperparams.scalars`. The sum is not projected: bijectors must have the bounds in them
    (`hyperparams.between`).

    Args:
      space: every hyperparameter by name.
      context: batch -> the context in which it was made, [size].
      size: of the context.
      hidden: widths of the hidden layers, ReLU.
    """

    def network(inputs, outputs):
        features = hk.nets.MLP(hidden, activate_final=True)(inputs)
        return hk.Linear(outputs, with_bias=False, w_init=jnp.zeros)(features)

    net = hk.without_apply_rng(hk.transform(network))

    def init(start, key):
        values = hp.init(space, start)
        if not values.raw:
            return values
        if key is None:
            raise ValueError("key: None; a meta-network draws its weights")
        params = net.init(key, jnp.zeros(size, float), sum(_sizes(values.raw).values()))
        return values._replace(raw=values.raw | {NETWORK: params})

    def apply(values, batch):
        if not values.raw:
            return hp.constrain(space, values)
        # By name: the order of a dictionary is lost wherever JAX takes it apart.
        offsets = {name: values.raw[name] for name in sorted(values.raw) if name != NETWORK}
        sizes = _sizes(offsets)
        inputs = jax.lax.stop_gradient(context(batch)).astype(float)
        output = net.apply(values.raw[NETWORK], inputs, sum(sizes.values()))
        raw, begin = {}, 0
        for name, offset in offsets.items():
            raw[name] = offset + output[begin : begin + sizes[name]].reshape(offset.shape)
            begin += sizes[name]
        return hp.constrain(space, hp.Values(raw, values.fixed))

    return hp.Source(space, init, apply)


def _sizes(raw: dict[str, jax.Array]) -> dict[str, int]:
    return {name: math.prod(x.shape) for name, x in raw.items()}
