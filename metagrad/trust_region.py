"""A bound on how far one update may move what is learned, which makes step sizes safe to tune.

A step size is the one hyperparameter that can destroy everything within a few updates, before
any meta-gradient has been seen. So the update itself is measured, and shortened if it goes
too far:

    params' = params + c (phi(params) - params)    c = min(1, sqrt(limit / change))

with `change` a divergence between before and after that grows with the square of a small
step, so that c makes it about `limit`. A tuned learning rate is told: it is multiplied by c^power.
Meta-gradients hold c constant.

Steps are noisy, and a rate that is cut by the longest of them and by nothing raised again only
falls. With `repay`, cuts are a debt. The rate that is used is the one that its start and all
meta-gradients have made, divided by exp(debt):

    debt' = debt - power log c                 if the update was shortened (c < 1)
    debt' = max(debt - repay, 0)               if it was not

This is dual ascent on a constraint on the mean of log(1/c), the debt its multiplier. Its moves add
up: over any stretch where something is owed, power * sum log(1/c) - repay * (updates inside) is
the change of the debt, which is bounded where the debt is. So it rests, whatever the noise, where
updates are shortened just so often and so much that

    power E[log(1/c)] = repay P(c = 1)

and if the rate that meta-gradients ask for shortens them by less than that, at no debt. Neither the
size of noise nor the depth of past cuts moves that point; a debt d is repaid in d / repay updates.
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
      repay: by how much an update inside the region raises the logarithm of a tuned learning rate
        that is owed a cut; 0 repays nothing.
    """

    change: Callable[[PyTree, PyTree, PyTree], jax.Array]
    limit: float
    power: float = 0.25
    repay: float = 0.0


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


def no_debt(region: TrustRegion | None, values: hp.Values) -> PyTree:
    """What a learning rate is owed at first: zeros like its raw value, or () if never repaid."""
    if region is None or not _repays(region, values):
        return ()
    return jax.tree.map(jnp.zeros_like, values.raw[LEARNING_RATE])


def settle(
    region: TrustRegion, space: hp.Space, values: hp.Values, debt: PyTree, scale: jax.Array
) -> tuple[hp.Values, PyTree]:
    """Passes the cut of an update on to a tuned learning rate, or repays some of earlier cuts.

    Args:
      region: says how much.
      space: of the hyperparameters.
      values: before it.
      debt: logarithms of the cuts that are owed, as of `no_debt`.
      scale: the part of the update that was left.

    Returns:
      Values and debt after it.
    """
    if LEARNING_RATE not in values.raw:
        return values, debt
    bijector, before = space[LEARNING_RATE].bijector, values.raw[LEARNING_RATE]
    repays = _repays(region, values)
    owed = debt if repays else jax.tree.map(jnp.zeros_like, before)
    by = jax.tree.map(
        lambda d: jnp.where(scale < 1, region.power * jnp.log(scale), jnp.minimum(d, region.repay)),
        owed,
    )

    def moved(raw, by):
        # A step that was not shortened, and repays nothing, leaves the value to the last bit.
        return jnp.where(by == 0, raw, bijector.inverse(bijector.forward(raw) * jnp.exp(by)))

    def left(owed, by, raw, free, bounded):
        # What the bounds have not let through is neither owed nor repaid.
        through = jnp.log(bijector.forward(bounded)) - jnp.log(bijector.forward(raw))
        return owed - jnp.where(bounded == free, by, through)

    free = jax.tree.map(moved, before, by)
    after = hp.project(space, {LEARNING_RATE: free})
    values = values._replace(raw=values.raw | after)
    if not repays:
        return values, debt
    return values, jax.tree.map(left, debt, by, before, free, after[LEARNING_RATE])


def _repays(region: TrustRegion, values: hp.Values) -> bool:
    return region.repay > 0 and LEARNING_RATE in values.raw
