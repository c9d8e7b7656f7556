"""A bound on how far one update may move what is learned, which makes step sizes safe to tune.

A step size is the one hyperparameter that can destroy everything within a few updates, before
any meta-gradient has been seen. So the update itself is measured, and shortened if it goes
too far:

    params' = params + c (phi(params) - params)    c = min(1, sqrt(limit / change))

with `change` a divergence between before and after that grows with the square of a small
step, so that c makes it about `limit`. A tuned learning rate is told: it is multiplied by c^power.
Meta-gradients hold c constant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from selftuning.metagrad import hyperparams as hp
from selftuning.metagrad.update_rules import InnerState, UpdateRule

PyTree = Any

LEARNING_RATE = "learning_rate"


class TrustRegion(NamedTuple):
    """What is bounded, and how.

    Attributes:
      change: (params before, params after, batch) -> scalar >= 0, a divergence.
      limit: on `change`, of one update.
      power: of c, by which a tuned learning rate is multiplied: 0 leaves it, 1 sets it to what
        was allowed to the step, which after a few steps is the least that noise allowed.
    """

    change: Callable[[PyTree, PyTree, PyTree], jax.Array]
    limit: float
    power: float = 0.25


# (gradients, state, hyperparams, batch) -> (state, c)
Advance = Callable[[PyTree, InnerState, dict[str, PyTree], PyTree], tuple[InnerState, jax.Array]]


def advance(rule: UpdateRule, region: TrustRegion | None) -> Advance:
    """One update of a rule, inside the trust region if there is one."""

    def move(gradients, state, hyperparams, batch):
        new = InnerState(*rule.update(gradients, state.rule, state.params, hyperparams))
        if region is None:
            return new, jnp.ones(())
        change = region.change(state.params, new.params, batch)
        too_far = change > region.limit  # NaN is not: it goes on, to be seen
        scale = jnp.where(too_far, jnp.sqrt(region.limit / jnp.where(too_far, change, 1.0)), 1.0)
        scale = jax.lax.stop_gradient(scale)
        return shorten(state, new, scale), scale

    return move


def shorten(before: InnerState, after: InnerState, scale: jax.Array) -> InnerState:
    """The part `scale` of the way from one to the other; the rule's state goes all the way."""
    params = jax.tree.map(
        lambda old, new: old + scale.astype(old.dtype) * (new - old), before.params, after.params
    )
    return after._replace(params=params)


def cut(region: TrustRegion, space: hp.Space, values: hp.Values, scale: jax.Array) -> hp.Values:
    """Passes the cut of an update on to the learning rate, if that is tuned."""
    if LEARNING_RATE not in values.raw:
        return values
    bijector = space[LEARNING_RATE].bijector

    def lower(raw):
        # A step that was not shortened leaves the value as it is, to the last bit.
        lowered = bijector.inverse(bijector.forward(raw) * scale**region.power)
        return jnp.where(scale < 1, lowered, raw)

    lowered = {LEARNING_RATE: jax.tree.map(lower, values.raw[LEARNING_RATE])}
    return values._replace(raw=values.raw | hp.project(space, lowered))
