"""How a judgement of the student becomes a gradient of the hyperparameters it was made with.

`unrolled` goes back through the records of the K updates. The derivative is computed step by
step in mixed mode (forward over reverse, Kemaev et al. 2025). With cotangent u on the result,
one update
    theta' = phi(grad loss(theta; eta), theta; eta)
needs v = (d phi / d gradient)^T u, an element-wise product, and the derivative with respect
to theta and eta of the scalar <grad loss(theta; eta), v>, which is a *forward* derivative of
the loss along v. Nothing is replayed: parameters, rule state and gradient of every step
are in its record. For the first of the K steps only d/d eta is needed, so with K = 1 there
is no second backward pass through the model at all.

`implicit` asks in place of it how the *minimiser* of the inner loss moves with eta.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg

from selftuning.metagrad.update_rules import InnerState

PyTree = Any


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


class Inner(NamedTuple):
    """The inner problem as a function of raw hyperparameters.

    Attributes:
      loss: (raw, params, frozen, batch) -> scalar.
      update: (raw, before, gradient, step) -> InnerState after it; reads of the record what
        does not depend on the others.
    """

    loss: Callable[[dict[str, PyTree], PyTree, PyTree, PyTree], jax.Array]
    update: Callable[[dict[str, PyTree], InnerState, PyTree, Step], InnerState]


# (inner, cotangent of the parameters at the end, steps [K, ...], inner state at the end)
# -> gradient of the raw values
Differentiation = Callable[[Inner, PyTree, Step, InnerState], dict[str, PyTree]]


def unrolled(horizon_mixing: float = 1.0) -> Differentiation:
    """Backwards through the K updates.

    Args:
      horizon_mixing: m in [0, 1]; the contribution of the i-th last update is weighted by
        m^(i-1). 1 is the derivative of all K, 0 that of the last alone, and between them a
        mixture of all horizons k <= K with weights (1 - m) m^(k-1), as returns are mixed in
        TD(lambda). Long horizons have less bias and more variance (Bonnet et al. 2021).

    Raises:
      ValueError: if `horizon_mixing` is not in [0, 1].
    """
    if not 0 <= horizon_mixing <= 1:
        raise ValueError(f"horizon mixing = {horizon_mixing}: between 0 and 1")

    def differentiate(inner, to_params, steps, end):
        cotangent = InnerState(to_params, jax.tree.map(_zero_cotangent, end.rule))
        first, rest = (jax.tree.map(lambda x, s=s: x[s], steps) for s in (0, slice(1, None)))
        later = None
        if rest.scale.shape[0]:

            def backward(cotangent, step):
                cotangent, to_raw = _pull_back(inner, cotangent, step)
                return jax.tree.map(lambda x: _scaled(x, horizon_mixing), cotangent), to_raw

            cotangent, later = jax.lax.scan(backward, cotangent, rest, reverse=True)
        gradient = _pull_back(inner, cotangent, first, through_params=False)[1]
        if later is not None:
            gradient = jax.tree.map(lambda g, x: g + jnp.sum(x, 0), gradient, later)
        return gradient

    return differentiate


def implicit(damping: float = 1.0, iterations: int = 5) -> Differentiation:
    """As if the student were the minimiser of its last inner loss (Rajeswaran et al. 2019).

    With theta = argmin loss(theta; eta) + damping/2 ||theta - theta_0||^2 the derivative is
        d outer / d eta = - d/d eta <grad loss(theta; eta), (H + damping I)^{-1} grad outer>
    by the implicit function theorem, H the Hessian of the loss at theta; the inverse is
    applied by conjugate gradients. No unroll is kept, and the update rule does not matter: what
    only it reads (a learning rate) has gradient zero.

    Frozen parameters are held constant in H, which is symmetric then. It should be positive
    definite too: `damping` above the size of its most negative eigenvalue makes it so.

    Args:
      damping: of the proximal term, also the least curvature that is believed.
      iterations: of conjugate gradients, at most.
    """

    def differentiate(inner, to_params, steps, end):
        raw, batch = jax.tree.map(lambda x: x[-1], (steps.raw, steps.batch))
        params = end.params

        def slope(raw, direction):
            def loss(moving):
                return inner.loss(raw, moving, params, batch)

            return jax.jvp(loss, (params,), (direction,))[1]

        def damped_hessian(v):
            gradient = jax.grad(lambda moving: inner.loss(raw, moving, params, batch))
            product = jax.jvp(gradient, (params,), (v,))[1]
            return jax.tree.map(lambda h, x: h + damping * x, product, v)

        direction, _ = cg(damped_hessian, to_params, tol=0.0, maxiter=iterations)
        return jax.tree.map(jnp.negative, jax.grad(slope)(raw, direction))

    return differentiate


def _pull_back(inner: Inner, cotangent: InnerState, step: Step, through_params: bool = True):
    """Cotangent of the inner state after a step to those before it and of raw values."""

    def update(before, raw, gradient):
        return inner.update(raw, before, gradient, step)

    def slope(raw, params, direction):
        def loss(moving):
            return inner.loss(raw, moving, params, step.batch)

        return jax.jvp(loss, (params,), (direction,))[1]

    _, pull = jax.vjp(update, step.before, step.raw, step.gradient)
    to_inner, to_raw, direction = pull(cotangent)
    if not through_params:
        by_loss = jax.grad(slope)(step.raw, step.before.params, direction)
        return None, jax.tree.map(jnp.add, to_raw, by_loss)
    by_loss, to_params = jax.grad(slope, (0, 1))(step.raw, step.before.params, direction)
    params = jax.tree.map(jnp.add, to_inner.params, to_params)
    return to_inner._replace(params=params), jax.tree.map(jnp.add, to_raw, by_loss)


def _scaled(cotangent, factor):
    """`factor` times a cotangent; those of integers are empty and stay as they are."""
    return cotangent if cotangent.dtype == jax.dtypes.float0 else factor * cotangent


def _zero_cotangent(x):
    """Zero of the tangent type of x: float0 for integers, as jax.vjp expects."""
    if jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)
