"""TRAC: a scale for all that was learned, itself learned without a step size.

TRAC (Muppidi et al., "Fast TRAC", NeurIPS 2024) lets any rule walk, and decides at each step how
much of its way from the initial parameters counts:

    theta_t = theta_ref + S_t (base_t - theta_ref)

S_t >= 0 is a meta-parameter, and it is learned by online convex optimisation on the same stream:
the derivative of the loss in it is h_t = <gradient_t, base_t - theta_ref>, which is all that the
`tuner` sees. It grows while the rule goes downhill, and where a task changes, so that the way no
longer pays, it falls back towards the initial parameters, which can learn (loss of plasticity).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from selftuning.metagrad import constraints
from selftuning.metagrad.special import erfi
from selftuning.metagrad.update_rules import UpdateRule

PyTree = Any

DISCOUNTS = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
_ERFI = 0.9534382692512611  # erfi(1 / sqrt(2))


class TunerState(NamedTuple):
    """State of `tuner`, for n discounts.

    Attributes:
      start: w_1, like w.
      sums: discounted sums of -h, like w with a leading axis [n].
      squares: sums of h^2, discounted twice, likewise.
    """

    start: PyTree
    sums: PyTree
    squares: PyTree


def tuner(
    discounts: Sequence[float] = DISCOUNTS,
    first: float = 1e-8,
    eps: float = 1e-8,
    constraint: constraints.Constraint | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The discounted tuner of Zhang & Cutkosky, an online learner as those of `metagrad.online`.

    It has no learning rate. Each number of w is learned by itself, and is the sum of what one
    learner for each discount b plays:

        w_{t+1} = Proj_W( w_1 + sum_b first / erfi(1/sqrt(2)) erfi(sigma_t / (sqrt(2 v_t) + eps)) )
        sigma_t = b sigma_{t-1} - h_t        v_t = b^2 v_{t-1} + h_t^2

    While gradients agree, w leaves w_1 exponentially fast from steps as small as `first`. Where
    they are noise, sigma^2 is about v, and w stays within a few times `first`.

    Args:
      discounts: b of each learner.
      first: size of what a learner plays when sigma^2 = v.
      eps: below which gradients count as none.
      constraint: the set W.
    """
    constraint = constraint or constraints.unconstrained()

    def init(params):
        params = jax.tree.map(_wide, params)
        zeros = jax.tree.map(lambda w: jnp.zeros((len(discounts), *w.shape), w.dtype), params)
        # Not zero, so that the first plays are positive without any gradient, as published.
        return TunerState(params, jax.tree.map(lambda z: z + eps, zeros), zeros)

    def update(gradients, state, params=None, **extra):
        del extra
        if params is None:
            raise ValueError("the tuner needs what it plays: update(gradients, state, params)")
        sums = jax.tree.map(lambda s, h: _by(discounts, s) * s - h, state.sums, gradients)
        squares = jax.tree.map(
            lambda v, h: _by(discounts, v) ** 2 * v + jnp.square(h), state.squares, gradients
        )
        state = TunerState(state.start, sums, squares)
        played = constraint.project(plays(state, first, eps))
        return jax.tree.map(lambda w, old: (w - old).astype(old.dtype), played, params), state

    return optax.GradientTransformationExtraArgs(init, update)


def plays(state: TunerState, first: float = 1e-8, eps: float = 1e-8) -> PyTree:
    """What a tuner in this state plays, before it is projected; its state alone decides."""

    def total(start, sums, squares):
        ratio = sums / (jnp.sqrt(2.0) * _root(squares) + eps)
        return start + first / _ERFI * jnp.sum(erfi(ratio), 0)

    return jax.tree.map(total, state.start, state.sums, state.squares)


class TracState(NamedTuple):
    """State of `trac`: of its rule, theta_ref, and of the tuner of S, a scalar."""

    rule: PyTree
    reference: PyTree
    tuner: TunerState


def trac(
    rule: UpdateRule,
    discounts: Sequence[float] = DISCOUNTS,
    first: float = 1e-8,
    eps: float = 1e-8,
) -> UpdateRule:
    """TRAC around a rule; reads what the rule reads.

    As the authors publish it, the way of the rule is not remembered. It is read off the parameters,
    base_t - theta_ref = (theta_t - theta_ref) / (S_t + eps), so that it holds whatever shortened
    an update. This has a price while S is small: in float32 the parameters cannot show a way of
    less than a rounding. And where S is zero the way is lost, h_t is zero, and what the tuner has
    summed up has to fade before anything moves again.

    Args:
      rule: that walks, in the paper Adam.
      discounts: of the `tuner`.
      first: of the tuner.
      eps: of the tuner, and added to S where the way is divided by it.
    """
    # The tuner's own value is a difference of numbers that may differ by orders of magnitude, so
    # that S is read from its state, and not summed up.
    learner = tuner(discounts, first, eps)

    def scale_of(state):
        return jnp.maximum(plays(state, first, eps), 0.0)

    def init(params):
        dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
        reference = jax.tree.map(jnp.copy, params)  # a buffer of its own
        return TracState(rule.init(params), reference, learner.init(jnp.zeros((), dtype)))

    def update(gradients, state, params, hyperparams):
        moved, after = rule.update(gradients, state.rule, params, hyperparams)
        scale = scale_of(state.tuner)
        way = jax.tree.map(
            lambda now, ref: (now - ref).astype(scale.dtype) / (scale + eps),
            params,
            state.reference,
        )
        h = sum(map(jnp.vdot, *map(jax.tree.leaves, (gradients, way))), jnp.zeros_like(scale))
        _, tuned = learner.update(h, state.tuner, scale)
        scale = scale_of(tuned)
        params = jax.tree.map(
            lambda ref, way, new, now: ref + (scale * (way + (new - now))).astype(ref.dtype),
            state.reference,
            way,
            moved,
            params,
        )
        return params, TracState(after, state.reference, tuned)

    return UpdateRule(init, update)


def _wide(x: jax.Array) -> jax.Array:
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))


def _by(discounts: Sequence[float], like: jax.Array) -> jax.Array:
    """The discounts along the leading axis of an array."""
    return jnp.asarray(np.reshape(discounts, (-1,) + (1,) * (like.ndim - 1)), like.dtype)


def _root(x: jax.Array) -> jax.Array:
    """sqrt(x); zero, and with zero derivative, where x is zero."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)
