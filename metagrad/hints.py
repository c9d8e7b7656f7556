"""Hints: predictions of the next meta-gradient, which is what optimism is.

Predictors are optax transformations of gradients seen into a prediction of the next one;
`with_hint` puts one before a learner of `metagrad.online`. A bootstrapped target is another
name for a hint: the maps between the two stand below.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import optax

PyTree = Any


def none() -> optax.GradientTransformation:
    """Predicts zero."""
    return optax.set_to_zero()


def last_gradient() -> optax.GradientTransformation:
    """Predicts the last gradient."""
    return optax.identity()


def exponential_average(decay: float = 0.9) -> optax.GradientTransformation:
    """Predicts an exponential average of past gradients, corrected for its start."""
    return optax.ema(decay)


class HintedState(NamedTuple):
    """State of `with_hint`: that of the learner and that of what predicts."""

    learner: optax.OptState
    predictor: optax.OptState


def with_hint(
    learner: optax.GradientTransformation, predictor: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """Gives `learner` the hints of `predictor`; a `hint=` from outside takes precedence.

    Args:
      learner: any learner of `metagrad.online`.
      predictor: gradients -> prediction of the next ones, an optax transformation.
    """
    learner = optax.with_extra_args_support(learner)

    def init(params):
        return HintedState(learner.init(params), predictor.init(params))

    def update(gradients, state, params=None, *, hint=None, **extra):
        prediction, predictor_state = predictor.update(gradients, state.predictor, params)
        hint = prediction if hint is None else hint
        updates, learner_state = learner.update(
            gradients, state.learner, params, hint=hint, **extra
        )
        return updates, HintedState(learner_state, predictor_state)

    return optax.GradientTransformationExtraArgs(init, update)


# Bootstrapped targets and hints are two names of one thing: a learner that makes plain gradient
# steps, w_{t+1} = w_t - beta grad_w ||z_t - phi(xbar_{t-1}, w)||^2 / 2, goes the path of AO-FTRL if
# z_t makes up for the last prediction and adds the next. Predictions are in the space of x here:
# y_{t+1} of grad f(xbar_{t+1}), whose meta-gradient through the update of step t is the hint,
# Dphi_t^T y_{t+1} = ghat_{t+1}. What was predicted before is needed as this update sees it:
# `last`, with Dphi_t^T last = ghat_t. For phi = w that is y_t; for element-wise learning rates it
# is ghat_t / -grad f(xbar_{t-1}).


def target_from_prediction(
    x: PyTree,
    gradient: PyTree,
    prediction: PyTree,
    last: PyTree,
    alpha: float | jax.Array = 1.0,
    next_alpha: float | jax.Array = 1.0,
) -> PyTree:
    """z_t = x_t - ( alpha_t grad f(xbar_t) + alpha_{t+1} y_{t+1} - alpha_t y'_t ).

    Args:
      x: x_t, what the update made.
      gradient: grad f(xbar_t).
      prediction: y_{t+1}, of the next gradient.
      last: y'_t, the prediction of this one.
      alpha: alpha_t.
      next_alpha: alpha_{t+1}.
    """
    return jax.tree.map(
        lambda x, g, y, old: x - (alpha * (g - old) + next_alpha * y), x, gradient, prediction, last
    )


def prediction_from_target(
    x: PyTree,
    gradient: PyTree,
    target: PyTree,
    last: PyTree,
    alpha: float | jax.Array = 1.0,
    next_alpha: float | jax.Array = 1.0,
) -> PyTree:
    """y_{t+1} that a target stands for: the inverse of `target_from_prediction`."""
    return jax.tree.map(
        lambda x, g, z, old: (x - z - alpha * (g - old)) / next_alpha, x, gradient, target, last
    )


def implied_optimism(x: PyTree, gradient: PyTree, target: PyTree) -> PyTree:
    """What a target asks for beyond the gradient: y = (x_t - z_t) - grad f(x_t)."""
    return jax.tree.map(lambda x, g, z: x - z - g, x, gradient, target)
