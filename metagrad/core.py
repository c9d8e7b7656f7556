"""The single-task engine: learn, and learn the hyperparameters of learning, on one stream.

`inner_step` moves the parameters with the current hyperparameters and returns a record of
what it did. `meta_step` asks an objective how good the result of K such steps is, pulls the
answer back through their records, and moves the hyperparameters. Convex problems and
agents run this same code and differ in their `Problem` alone.

The derivative of K updates is computed step by step in mixed mode (forward over reverse,
Kemaev et al. 2025). With cotangent u on the result, one update
    theta' = phi(grad loss(theta; eta), theta; eta)
needs v = (d phi / d gradient)^T u, an element-wise product, and the derivative with respect
to theta and eta of the scalar <grad loss(theta; eta), v>, which is a *forward* derivative of
the loss along v. Nothing is replayed: parameters, rule state and gradient of every step
are in its record. For the first of the K steps only d/d eta is needed, so with K = 1 there
is no second backward pass through the model at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metagrad import hyperparams as hp
from metagrad.targets import Objective, Problem
from metagrad.trust_region import TrustRegion, cut, shorten
from metagrad.trust_region import advance as make_advance
from metagrad.update_rules import InnerState, UpdateRule

PyTree = Any


class LearnerState(NamedTuple):
    """Everything that learning changes."""

    inner: InnerState
    values: hp.Values
    meta_optimizer: optax.OptState


class Step(NamedTuple):
    """Record of one inner step: all that its derivative needs.

    Attributes:
      before: parameters and rule state that it started from.
      raw: raw values of the tuned hyperparameters it was made with.
      gradient: of the inner loss, like the parameters.
      batch: its data.
      scale: the part of the step that the trust region left, 1 without one, a scalar.
    """

    before: InnerState
    raw: dict[str, PyTree]
    gradient: PyTree
    batch: PyTree
    scale: jax.Array


class MetaLearner(NamedTuple):
    """Pure functions; `start` of `init` are traced values, so starts can be vmapped.

    Attributes:
      init: (params, start values by name) -> LearnerState.
      inner_step: (state, batch) -> (state, Step).
      meta_gradient: (values, steps, end, validation) -> (gradient by name, diagnostics).
        `steps` are K consecutive records, leaves [K, ...]; `end` is the inner state after
        them; `validation` is data that they have not seen, leaves [V, ...].
      meta_step: (state, steps, end, validation) -> (state, diagnostics).
      hyperparams: state -> values by name, on the scale of use.
    """

    init: Callable[[PyTree, Mapping[str, PyTree]], LearnerState]
    inner_step: Callable[[LearnerState, PyTree], tuple[LearnerState, Step]]
    meta_gradient: Callable[..., tuple[dict[str, PyTree], dict[str, jax.Array]]]
    meta_step: Callable[..., tuple[LearnerState, dict[str, jax.Array]]]
    hyperparams: Callable[[LearnerState], dict[str, PyTree]]


def meta_learner(
    problem: Problem,
    rule: UpdateRule,
    space: hp.Space,
    objective: Objective,
    meta_optimizer: optax.GradientTransformation,
    trust_region: TrustRegion | None = None,
) -> MetaLearner:
    """Builds the engine for one problem.

    Args:
      problem: inner loss, outer loss and match.
      rule: moves the parameters.
      space: the hyperparameters that loss and rule read, by name.
      objective: see `metagrad.targets`.
      meta_optimizer: moves the raw tuned hyperparameters along the meta-gradient.
      trust_region: bounds single updates, and lowers a tuned learning rate that leaves it.
    """
    advance = make_advance(rule, trust_region)

    def init(params, start):
        values = hp.init(space, start)
        inner = InnerState(params, rule.init(params))
        return LearnerState(inner, values, meta_optimizer.init(values.raw))

    def hyperparams(state):
        return hp.constrain(space, state.values)

    def inner_step(state, batch):
        used = hyperparams(state)
        params = state.inner.params
        gradient = jax.grad(problem.inner_loss)(params, params, used, batch)
        inner, scale = advance(gradient, state.inner, used, batch)
        values = state.values
        if trust_region is not None:
            values = cut(trust_region, space, values, scale)
        step = Step(state.inner, state.values.raw, gradient, batch, scale)
        return state._replace(inner=inner, values=values), step

    def pull_back(cotangent, step, fixed, through_params):
        """Cotangent of the inner state after a step to those before it and of raw values."""

        def used(raw):
            return hp.constrain(space, hp.Values(raw, fixed))

        def update(inner, raw, gradient):
            new = InnerState(*rule.update(gradient, inner.rule, inner.params, used(raw)))
            return new if trust_region is None else shorten(inner, new, step.scale)

        def slope(raw, params, direction):
            def loss(moving):
                return problem.inner_loss(moving, params, used(raw), step.batch)

            return jax.jvp(loss, (params,), (direction,))[1]

        _, pull = jax.vjp(update, step.before, step.raw, step.gradient)
        to_inner, to_raw, direction = pull(cotangent)
        if not through_params:
            by_loss = jax.grad(slope)(step.raw, step.before.params, direction)
            return None, jax.tree.map(jnp.add, to_raw, by_loss)
        by_loss, to_params = jax.grad(slope, (0, 1))(step.raw, step.before.params, direction)
        params = jax.tree.map(jnp.add, to_inner.params, to_params)
        return to_inner._replace(params=params), jax.tree.map(jnp.add, to_raw, by_loss)

    def meta_gradient(values, steps, end, validation):
        def judge(params):
            today = hp.constrain(space, values)
            return objective(problem, advance, end._replace(params=params), today, validation)

        to_params, info = jax.grad(judge, has_aux=True)(end.params)
        cotangent = InnerState(to_params, jax.tree.map(_zero_cotangent, end.rule))
        first, rest = (jax.tree.map(lambda x, s=s: x[s], steps) for s in (0, slice(1, None)))
        later = None
        if rest.scale.shape[0]:

            def backward(cotangent, step):
                return pull_back(cotangent, step, values.fixed, through_params=True)

            cotangent, later = jax.lax.scan(backward, cotangent, rest, reverse=True)
        _, gradient = pull_back(cotangent, first, values.fixed, through_params=False)
        if later is not None:
            gradient = jax.tree.map(lambda g, x: g + jnp.sum(x, 0), gradient, later)
        return gradient, info

    def meta_step(state, steps, end, validation):
        gradient, info = meta_gradient(state.values, steps, end, validation)
        updates, optimizer = meta_optimizer.update(gradient, state.meta_optimizer, state.values.raw)
        raw = hp.project(space, optax.apply_updates(state.values.raw, updates))
        info = info | {f"meta_gradient/{name}": g for name, g in gradient.items()}
        return LearnerState(state.inner, state.values._replace(raw=raw), optimizer), info

    return MetaLearner(init, inner_step, meta_gradient, meta_step, hyperparams)


def _zero_cotangent(x):
    """Zero of the tangent type of x: float0 for integers, as jax.vjp expects."""
    if jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)
