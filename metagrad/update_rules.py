"""Update rules phi: (gradients, state, params, hyperparams) -> params.

The parameters that a rule is to learn online (its step size, say) are no attributes of
the rule: they are read from `hyperparams` at every update, so that they can be traced,
differentiated and tuned. All rules are safe to differentiate at a zero gradient.

A `learning_rate` is a scalar, or has one number for a tensor or an element each (see
`metagrad.schedules`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from selftuning.metagrad import averaging, online, schedules

PyTree = Any
Hyperparams = Mapping[str, PyTree]


class InnerState(NamedTuple):
    """What the inner problem moves: parameters and the state of their update rule."""

    params: PyTree
    rule: PyTree


class UpdateRule(NamedTuple):
    """A pair of pure functions.

    Attributes:
      init: params -> state.
      update: (gradients, state, params, hyperparams) -> (params, state).
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[[PyTree, PyTree, PyTree, Hyperparams], tuple[PyTree, PyTree]]


def preconditioned(direction: optax.GradientTransformation) -> UpdateRule:
    """Params - learning_rate * direction(gradients); reads `learning_rate`."""
    return _preconditioned(lambda hyperparams: direction)


def sgd() -> UpdateRule:
    """Gradient descent; reads `learning_rate`."""
    return preconditioned(optax.identity())


def momentum() -> UpdateRule:
    """Classical momentum, `optax.sgd(momentum=...)`; reads `learning_rate`, `momentum`."""
    return _preconditioned(lambda hyperparams: optax.trace(hyperparams["momentum"]))


def adagrad(initial_square: float = 0.0) -> UpdateRule:
    """AdaGrad (Duchi et al. 2011); reads `learning_rate`.

    With a learning rate an element, learned online: meta-learned AdaGrad.
    """
    return preconditioned(optax.scale_by_rss(initial_square, eps=1e-16))


def rms(decay: float = 0.99, eps: float = 1e-8) -> UpdateRule:
    """RMSProp without momentum; reads `learning_rate`.

    `eps` stands inside the root, which keeps its derivative finite at zero.
    """
    return preconditioned(_scale_by_rms(decay, eps))


def adam(b2: float = 0.999, eps: float = 1e-8, eps_root: float = 1e-16) -> UpdateRule:
    """Adam, whose b1 is `momentum`; reads `learning_rate`, `momentum`.

    `eps_root` > 0, or its derivative at a zero gradient is NaN.
    """
    return _preconditioned(
        lambda hyperparams: optax.scale_by_adam(hyperparams["momentum"], b2, eps, eps_root)
    )


class AcceleratedState(NamedTuple):
    """State of `accelerated`: of the preconditioner, and of averaging with its learner."""

    direction: optax.OptState
    averaged: averaging.AveragedState


def accelerated(direction: optax.GradientTransformation | None = None) -> UpdateRule:
    """Averaging and a hint, the accelerated convex form of arXiv 2301.03236, as an optimiser.

        w_{t+1}    = w_t - learning_rate (d_t + hint_weight (d_t - d_{t-1}))
        xbar_{t+1} = xbar_t + rho_t (w_{t+1} - xbar_t)        rho_t -> 1 - momentum

    with d_t the direction at xbar_t, which are the parameters. Reads `learning_rate`,
    `momentum` (decay of the average), `hint_weight` (of the last direction as a prediction
    of the next). With a constant rho = 1 - momentum and hint_weight = momentum, the steps
    from xbar_t to xbar_{t+1} are those of Nesterov's method with step size
    rho * learning_rate. Momentum 0 leaves the optimistic gradient method.

    The learner of w is mirror descent (`online.omega`) and not AO-FTRL: the two go the same
    path at constant learning rates, but AO-FTRL would apply a tuned one to all of the past.

    Args:
      direction: preconditioner of the gradients; by default that of `rms`.
    """
    direction = _scale_by_rms(0.99, 1e-8) if direction is None else direction

    def averaged(learning_rate, momentum, hint_weight):
        learner = online.omega(learning_rate, optimism=hint_weight, decay=0.0)
        return averaging.averaged(learner, decay=momentum)

    def init(params):
        return AcceleratedState(direction.init(params), averaged(0.0, 0.0, 0.0).init(params))

    def update(gradients, state, params, hyperparams):
        step, direction_state = direction.update(gradients, state.direction, params)
        names = ("learning_rate", "momentum", "hint_weight")
        moving = averaged(*(hyperparams[name] for name in names))
        updates, averaged_state = moving.update(step, state.averaged, params)
        params = optax.apply_updates(params, updates)
        return params, AcceleratedState(direction_state, averaged_state)

    return UpdateRule(init, update)


# Rules of which the algorithms of convex optimisation are special cases (`metagrad.convex`).


def point() -> UpdateRule:
    """phi(x, w) = w: the rule returns w["point"], whatever the gradient.

    In the convex form, AO-FTRL then is heavy ball, or with a hint Nesterov's method up to
    a vanishing term.
    """
    return UpdateRule(lambda params: (), lambda g, s, params, w: (w["point"], s))


def increment(gradient_step: float | jax.Array = 0.0) -> UpdateRule:
    """phi(x, w) = x + w - gradient_step grad f(x), with w["increment"] like x.

    In practice and with `online.ogd(beta, decay=mu)` this is classical momentum, with a
    gradient step quasi-hyperbolic momentum (Ma & Yarats 2019).
    """

    def update(gradients, state, params, w):
        moved = jax.tree.map(
            lambda x, d, g: x + d - gradient_step * g, params, w["increment"], gradients
        )
        return moved, state

    return UpdateRule(lambda params: (), update)


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


class FromStartState(NamedTuple):
    """State of `l2_init`: that of its rule, and the initial parameters."""

    rule: PyTree
    start: PyTree


def l2_init(rule: UpdateRule) -> UpdateRule:
    """Pulls parameters towards their start, as if l2_init/2 ||theta - theta_0||^2 were in the loss.

    L2 Init (Kumar et al. 2023): what is of no use to a task goes back to where it was random, which
    keeps it able to learn the next one. Reads `l2_init` and what `rule` reads.
    """

    def init(params):
        # Every array is its own buffer: a step can be given the parameters and this to overwrite.
        return FromStartState(rule.init(params), jax.tree.map(jnp.copy, params))

    def update(gradients, state, params, hyperparams):
        weight = hyperparams["l2_init"]
        gradients = jax.tree.map(
            lambda g, now, start: g + (weight * (now - start)).astype(g.dtype),
            gradients,
            params,
            state.start,
        )
        params, after = rule.update(gradients, state.rule, params, hyperparams)
        return params, FromStartState(after, state.start)

    return UpdateRule(init, update)


class AnnealedState(NamedTuple):
    """State of `annealed`: that of its rule, and the number of updates so far, int32."""

    rule: PyTree
    updates: jax.Array


def share_left(done: jax.Array, updates: int) -> jax.Array:
    """The part of a learning rate that is left after so many of all updates."""
    return jnp.maximum(1.0 - done / updates, 0.0)


def annealed(rule: UpdateRule, updates: int) -> UpdateRule:
    """Lets the learning rate that `rule` reads fall linearly, to 0 after so many updates."""

    def init(params):
        return AnnealedState(rule.init(params), jnp.zeros((), jnp.int32))

    def update(gradients, state, params, hyperparams):
        left = share_left(state.updates, updates)
        rate = jax.tree.map(lambda rate: left * rate, hyperparams["learning_rate"])
        now = {**hyperparams, "learning_rate": rate}
        params, after = rule.update(gradients, state.rule, params, now)
        return params, AnnealedState(after, state.updates + 1)

    return UpdateRule(init, update)


def _scale_by_rms(decay: float, eps: float) -> optax.GradientTransformation:
    return optax.scale_by_rms(decay, eps, eps_in_sqrt=True)


def _preconditioned(
    direction: Callable[[Hyperparams], optax.GradientTransformation],
) -> UpdateRule:
    def init(params):
        return direction({"momentum": 0.0}).init(params)  # states do not depend on it

    def update(gradients, state, params, hyperparams):
        step, new = direction(hyperparams).update(gradients, state, params)
        # Traced decays are float32 and would widen a state of less.
        state = jax.tree.map(lambda n, old: n.astype(old.dtype), new, state)
        scaled = schedules.scale(hyperparams["learning_rate"], step)
        return jax.tree.map(lambda p, d: p - d.astype(p.dtype), params, scaled), state

    return UpdateRule(init, update)
