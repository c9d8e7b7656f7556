"""Update rules phi: (gradients, state, params, hyperparams) -> params.

The parameters that a rule is to learn online (its step size, say) are no attributes of
the rule: they are read from `hyperparams` at every update, so that they can be traced,
differentiated and tuned. All rules are safe to differentiate at a zero gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

PyTree = Any
Hyperparams = Mapping[str, PyTree]


class UpdateRule(NamedTuple):
    """A pair of pure functions.

    Attributes:
      init: params -> state.
      update: (gradients, state, params, hyperparams) -> (params, state).
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[[PyTree, PyTree, PyTree, Hyperparams], tuple[PyTree, PyTree]]


def preconditioned(direction: optax.GradientTransformation) -> UpdateRule:
    """Params - learning_rate * direction(gradients); reads `learning_rate` (scalar)."""

    def update(gradients, state, params, hyperparams):
        step, state = direction.update(gradients, state, params)
        lr = hyperparams["learning_rate"]
        return jax.tree.map(lambda p, d: p - (lr * d).astype(p.dtype), params, step), state

    return UpdateRule(direction.init, update)


def sgd() -> UpdateRule:
    """Gradient descent."""
    return preconditioned(optax.identity())


def momentum(decay: float = 0.9) -> UpdateRule:
    """Classical momentum, the path of `optax.sgd(learning_rate, momentum=decay)`."""
    return preconditioned(optax.trace(decay))


def rms(decay: float = 0.99, eps: float = 1e-8) -> UpdateRule:
    """RMSProp without momentum; `eps` inside the root keeps its derivative finite at zero."""
    return preconditioned(optax.scale_by_rms(decay, eps, eps_in_sqrt=True))


def adam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 1e-16
) -> UpdateRule:
    """Adam; `eps_root` > 0, or its derivative at a zero gradient is NaN."""
    return preconditioned(optax.scale_by_adam(b1, b2, eps, eps_root))


def clip_by_global_norm(rule: UpdateRule, max_norm: float) -> UpdateRule:
    """Clips gradients to a global norm before `rule` sees them.

    Unlike `optax.clip_by_global_norm`, its derivative at an all-zero gradient is finite.
    """

    def update(gradients, state, params, hyperparams):
        square = sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradients))
        clipped = square > max_norm**2
        scale = jnp.where(clipped, max_norm * jax.lax.rsqrt(jnp.where(clipped, square, 1.0)), 1.0)
        gradients = jax.tree.map(lambda g: g * scale.astype(g.dtype), gradients)
        return rule.update(gradients, state, params, hyperparams)

    return UpdateRule(rule.init, update)
