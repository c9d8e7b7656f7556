"""Online learners of meta-parameters w, as optax transformations over any pytree.

At each step t = 1, 2, ... a learner has played w_t, receives the meta-gradient g_t, and
chooses w_{t+1} in a convex set W. The updates that it returns are w_{t+1} - w_t, so that
`optax.apply_updates` gives w_{t+1} (up to the rounding of that sum). All learners need
`params` in `update`, and take there the extra argument `hint=`: a prediction of the next
meta-gradient, like the gradients, which those that are not optimistic ignore.

    learner = online.ao_ftrl(0.1, weights=online.linear, constraint=constraints.box(0.0, 1.0))
    updates, state = learner.update(gradients, state, w, hint=gradients)

`with_hint` makes a prediction from past gradients on the way, so that an optimistic
learner can stand wherever an optimiser that knows of no hints can.

Learning rates and weights may be functions of t, which counts from 1. What is summed up
over time is kept in float32 at least.

Equations: Optimistic Meta-Gradients (Flennerhag et al., arXiv 2301.03236), whose name for
adaptive optimistic follow-the-regularised-leader is AO-FTRL; there the regulariser is
centred at zero, here at w_1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metagrad import constraints

PyTree = Any
Schedule = Callable[[jax.Array], jax.Array]
ScalarOrSchedule = float | jax.Array | Schedule


def constant(t: jax.Array) -> jax.Array:
    """Weights alpha_t = 1."""
    return jnp.ones_like(t, _real())


def linear(t: jax.Array) -> jax.Array:
    """Weights alpha_t = t."""
    return t.astype(_real())


class OgdState(NamedTuple):
    """State of `ogd`: steps made, a scalar."""

    steps: jax.Array


def ogd(
    learning_rate: ScalarOrSchedule,
    *,
    decay: float | jax.Array = 1.0,
    constraint: constraints.Constraint | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Projected online gradient descent (Zinkevich 2003).

        w_{t+1} = Proj_W( decay w_t - beta_t g_t )

    With the update rule x_t = x_{t-1} + w_t, `decay` is the decay of classical momentum.
    """
    constraint = constraint or constraints.unconstrained()

    def update(gradients, state, params=None, **extra):
        del extra
        _require(params)
        t = state.steps + 1
        beta = _at(learning_rate, t)
        moved = jax.tree.map(lambda w, g: (decay * w - beta * g).astype(w.dtype), params, gradients)
        return _difference(constraint.project(moved), params), OgdState(t)

    return optax.GradientTransformationExtraArgs(
        lambda params: OgdState(jnp.zeros((), jnp.int32)), update
    )


class FtrlState(NamedTuple):
    """State of `ao_ftrl` and `ftrl`.

    Attributes:
      steps: made so far, a scalar.
      start: w_1, the centre of the regulariser.
      total: sum of alpha_s g_s, like w.
    """

    steps: jax.Array
    start: PyTree
    total: PyTree


def ao_ftrl(
    learning_rate: ScalarOrSchedule,
    *,
    weights: Schedule = constant,
    constraint: constraints.Constraint | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Optimistic follow-the-regularised-leader (arXiv 2301.03236).

        w_{t+1} = argmin_{w in W}  alpha_{t+1} <ghat_{t+1}, w> + sum_{s<=t} alpha_s <g_s, w>
                                   + ||w - w_1||^2 / (2 beta_t)
                = Proj_W( w_1 - beta_t (sum_{s<=t} alpha_s g_s + alpha_{t+1} ghat_{t+1}) )

    for the objective is a constant plus the squared distance to the unconstrained
    minimiser over 2 beta_t. Without `hint=` the hint is zero.

    Args:
      learning_rate: beta_t, a number or a function of t = 1, 2, ...
      weights: alpha_t, a function of t = 1, 2, ...; see `constant` and `linear`.
      constraint: the set W.
    """
    constraint = constraint or constraints.unconstrained()

    def init(params):
        total = jax.tree.map(lambda w: jnp.zeros_like(constraints.wide(w)), params)
        return FtrlState(jnp.zeros((), jnp.int32), params, total)

    def update(gradients, state, params=None, *, hint=None, **extra):
        del extra
        _require(params)
        t = state.steps + 1
        total = _add(state.total, weights(t), gradients)
        expected = total if hint is None else _add(total, weights(t + 1), hint)
        beta = _at(learning_rate, t)
        leader = jax.tree.map(lambda w, s: (w - beta * s).astype(w.dtype), state.start, expected)
        updates = _difference(constraint.project(leader), params)
        return updates, FtrlState(t, state.start, total)

    return optax.GradientTransformationExtraArgs(init, update)


def ftrl(
    learning_rate: ScalarOrSchedule,
    *,
    weights: Schedule = constant,
    constraint: constraints.Constraint | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Follow-the-regularised-leader: `ao_ftrl` that is deaf to hints."""
    learner = ao_ftrl(learning_rate, weights=weights, constraint=constraint)

    def update(gradients, state, params=None, **extra):
        del extra
        return learner.update(gradients, state, params)

    return optax.GradientTransformationExtraArgs(learner.init, update)


class AdaptiveState(NamedTuple):
    """State of `adaptive_ao_ftrl`.

    Attributes:
      steps, start, total: as in `FtrlState`.
      hint: ghat_t, what the gradient to come was predicted to be.
      squares: sum of (alpha_s (g_s - ghat_s))^2, like w.
    """

    steps: jax.Array
    start: PyTree
    total: PyTree
    hint: PyTree
    squares: PyTree


def adaptive_ao_ftrl(
    learning_rate: ScalarOrSchedule,
    *,
    weights: Schedule = constant,
    constraint: constraints.Constraint | None = None,
    initial_square: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """AO-FTRL with an AdaGrad regulariser: only surprises make it cautious.

        h_t     = sqrt( sum_{s<=t} (alpha_s (g_s - ghat_s))^2 )         per coordinate
        w_{t+1} = argmin_{w in W}  alpha_{t+1} <ghat_{t+1}, w> + sum_{s<=t} alpha_s <g_s, w>
                                   + <h_t, (w - w_1)^2> / (2 beta_t)

    Its argmin is that of each coordinate, clipped, if W is a box or the non-negative
    orthant. On a ball it would be a projection in the norm of h_t, which has no closed
    form: a ball is refused. A coordinate that has never surprised (h_t = 0) stays at w_1,
    and has zero derivatives instead of NaN.

    Without hints and constraint it is dual-averaging AdaGrad (Duchi et al. 2011).

    Args:
      learning_rate: beta_t, a number or a function of t = 1, 2, ...
      weights: alpha_t, a function of t = 1, 2, ...
      constraint: the set W; its coordinates must be independent.
      initial_square: added to the sum of squares.

    Raises:
      ValueError: if the constraint is not separable.
    """
    constraint = constraint or constraints.unconstrained()
    if not constraint.separable:
        raise ValueError("adaptive_ao_ftrl supports box and non_negative sets, not a ball")

    def init(params):
        zeros = jax.tree.map(lambda w: jnp.zeros_like(constraints.wide(w)), params)
        squares = jax.tree.map(lambda z: z + initial_square, zeros)
        return AdaptiveState(jnp.zeros((), jnp.int32), params, zeros, zeros, squares)

    def update(gradients, state, params=None, *, hint=None, **extra):
        del extra
        _require(params)
        t = state.steps + 1
        alpha, beta = weights(t), _at(learning_rate, t)
        total = _add(state.total, alpha, gradients)
        squares = jax.tree.map(
            lambda q, g, m: q + jnp.square(alpha * (g - m)).astype(q.dtype),
            state.squares,
            gradients,
            state.hint,
        )
        hint = jax.tree.map(jnp.zeros_like, total) if hint is None else hint
        hint = jax.tree.map(lambda m, s: m.astype(s.dtype), hint, total)
        expected = _add(total, weights(t + 1), hint)

        def leader(w, s, q):
            step = jnp.where(q > 0, beta * s * jax.lax.rsqrt(jnp.where(q > 0, q, 1.0)), 0.0)
            return (w - step).astype(w.dtype)

        moved = jax.tree.map(leader, state.start, expected, squares)
        updates = _difference(constraint.project(moved), params)
        return updates, AdaptiveState(t, state.start, total, hint, squares)

    return optax.GradientTransformationExtraArgs(init, update)


class OmegaState(NamedTuple):
    """State of `omega`: steps made, and the average m of past gradients, like w."""

    steps: jax.Array
    mean: PyTree


def omega(
    learning_rate: ScalarOrSchedule,
    *,
    optimism: float | jax.Array = 1.0,
    decay: float | jax.Array = 0.9,
    constraint: constraints.Constraint | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Omega: optimism against an average of past gradients (Ramirez et al., arXiv 2306.07905).

        d_t     = g_t + optimism (g_t - m_t)                            m_1 = g_1
        w_{t+1} = Proj_W( w_t - beta_t d_t )
        m_{t+1} = decay m_t + (1 - decay) g_t

    `decay` = 0 is the optimistic gradient method: 2 g_t - g_{t-1}.
    """
    constraint = constraint or constraints.unconstrained()

    def init(params):
        mean = jax.tree.map(lambda w: jnp.zeros_like(constraints.wide(w)), params)
        return OmegaState(jnp.zeros((), jnp.int32), mean)

    def update(gradients, state, params=None, **extra):
        del extra
        _require(params)
        t = state.steps + 1
        beta = _at(learning_rate, t)
        mean = jax.tree.map(
            lambda m, g: jnp.where(t == 1, g.astype(m.dtype), m), state.mean, gradients
        )
        moved = jax.tree.map(
            lambda w, g, m: (w - beta * (g + optimism * (g - m))).astype(w.dtype),
            params,
            gradients,
            mean,
        )
        mean = jax.tree.map(
            lambda m, g: (decay * m + (1 - decay) * g).astype(m.dtype), mean, gradients
        )
        return _difference(constraint.project(moved), params), OmegaState(t, mean)

    return optax.GradientTransformationExtraArgs(init, update)


def omega_m(
    learning_rate: ScalarOrSchedule,
    *,
    optimism: float | jax.Array = 1.0,
    decay: float | jax.Array = 0.9,
    constraint: constraints.Constraint | None = None,
) -> optax.GradientTransformationExtraArgs:
    """OmegaM, Omega with momentum (the same paper).

        d_t = m_{t+1} + optimism (m_{t+1} - m_t)

    which is Omega with optimism (1 - decay) (1 + optimism) - 1.
    """
    same = (1 - decay) * (1 + optimism) - 1
    return omega(learning_rate, optimism=same, decay=decay, constraint=constraint)


# Hints: transformations of gradients seen into a prediction of the next one.


def no_hint() -> optax.GradientTransformation:
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
      learner: any learner of this module.
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


# Iterate averaging.


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


def average_init(start: PyTree) -> Average:
    """An average of nothing yet; its mean is `start`, which has no weight in it."""
    return Average(jnp.zeros((), jnp.int32), jnp.zeros((), _real()), start)


def average_update(average: Average, point: PyTree, weights: Schedule = constant) -> Average:
    """Takes in x_t: xbar_t = (1 - rho_t) xbar_{t-1} + rho_t x_t, rho_t = alpha_t / alpha_{1:t}."""
    t = average.steps + 1
    alpha = weights(t)
    total = average.weight + alpha
    rho = alpha / total
    mean = jax.tree.map(lambda m, x: (m + rho * (x - m)).astype(m.dtype), average.mean, point)
    return Average(t, total, mean)


def _at(value: ScalarOrSchedule, t: jax.Array) -> Any:
    return value(t) if callable(value) else value


def _real() -> Any:
    """The widest float that is enabled."""
    return jnp.zeros(()).dtype


def _add(total: PyTree, weight: jax.Array, term: PyTree) -> PyTree:
    return jax.tree.map(lambda s, x: s + (weight * x).astype(s.dtype), total, term)


def _difference(new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda n, o: n - o, new, old)


def _require(params: PyTree | None) -> None:
    if params is None:
        raise ValueError("an online learner needs the parameters: update(gradients, state, params)")
