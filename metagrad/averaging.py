"""Iterate averaging: a point where the gradient is taken, behind the point that is moved."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from selftuning.metagrad import schedules

PyTree = Any


class Average(NamedTuple):
    """A weighted average under way.

    Attributes:
      steps: points seen, a scalar.
      weight: alpha_{1:t}, the sum of their weights, a scalar.
      mean: xbar_t, like a point.
    """

    steps: jax.Array
    weight: jax.Array
    mean: PyTree


def init(start: PyTree) -> Average:
    """An average of nothing yet; its mean is `start`, which has no weight in it."""
    return Average(jnp.zeros((), jnp.int32), jnp.zeros((), schedules.real()), start)


def update(
    average: Average,
    point: PyTree,
    weights: schedules.Schedule = schedules.constant,
    decay: float | jax.Array = 1.0,
) -> Average:
    """Takes in x_t: xbar_t = (1 - rho_t) xbar_{t-1} + rho_t x_t.

    rho_t = alpha_t / weight_t and weight_t = decay weight_{t-1} + alpha_t. With `decay` 1 all
    points count with their weights. With `decay` < 1 and alpha = 1 it is an exponential
    average, corrected for its start as Adam's moments are; with 0 it is the last point.
    """
    t = average.steps + 1
    alpha = weights(t)
    total = decay * average.weight + alpha
    rho = alpha / total
    mean = jax.tree.map(lambda m, x: (m + rho * (x - m)).astype(m.dtype), average.mean, point)
    return Average(t, total.astype(average.weight.dtype), mean)


class AveragedState(NamedTuple):
    """State of `averaged`.

    Attributes:
      steps, weight: as in `Average`.
      point: w_t, what the learner moves, like the parameters.
      learner: its state.
    """

    steps: jax.Array
    weight: jax.Array
    point: PyTree
    learner: optax.OptState


def averaged(
    learner: optax.GradientTransformation,
    weights: schedules.Schedule = schedules.constant,
    decay: float | jax.Array = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """The parameters are the average of the points that `learner` plays.

    Gradients are those at the average. With AO-FTRL as learner this is the convex form of
    arXiv 2301.03236 for phi(x, w) = w: momentum, and with a hint acceleration.

    Args:
      learner: moves w_t along the gradients at xbar_t.
      weights: alpha_t, t = 1, 2, ...; the first point is the initial parameters.
      decay: of the weights of past points, see `update`.
    """
    learner = optax.with_extra_args_support(learner)

    def init_averaged(params):
        first = update(init(params), params, weights)
        # A buffer of its own: a step can be given the parameters and this to overwrite.
        point = jax.tree.map(jnp.copy, params)
        return AveragedState(first.steps, first.weight, point, learner.init(params))

    def update_averaged(gradients, state, params=None, **extra):
        if params is None:
            raise ValueError("averaging needs the parameters: update(gradients, state, params)")
        moves, learner_state = learner.update(gradients, state.learner, state.point, **extra)
        point = optax.apply_updates(state.point, moves)
        before = Average(state.steps, state.weight, params)
        average = update(before, point, weights, decay)
        updates = jax.tree.map(lambda new, old: new - old, average.mean, params)
        return updates, AveragedState(average.steps, average.weight, point, learner_state)

    return optax.GradientTransformationExtraArgs(init_averaged, update_averaged)
