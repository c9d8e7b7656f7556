"""Online learners of meta-parameters w, as optax transformations over any pytree.

At each step t = 1, 2, ... a learner has played w_t, receives the meta-gradient g_t, and
chooses w_{t+1} in a convex set W. The updates that it returns are w_{t+1} - w_t, so that
`optax.apply_updates` gives w_{t+1} (up to the rounding of that sum). All learners need
`params` in `update`, and take there the extra argument `hint=`: a prediction of the next
meta-gradient, like the gradients, which those that are not optimistic ignore.

    learner = online.ao_ftrl(0.1, weights=schedules.linear, constraint=constraints.box(0.0, 1.0))
    updates, state = learner.update(gradients, state, w, hint=gradients)

`hints.with_hint` makes a prediction from past gradients on the way, so that an optimistic
learner can stand wherever an optimiser that knows of no hints can.

Learning rates may be numbers, one for a tensor or an element each, or functions of t, which
counts from 1; weights are functions of t. What is summed up over time is kept in float32 at
least.

Equations: Optimistic Meta-Gradients (Flennerhag et al., arXiv 2301.03236), whose name for
adaptive optimistic follow-the-regularised-leader is AO-FTRL; there the regulariser is
centred at zero, here at w_1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from selftuning.metagrad import constraints, schedules
from selftuning.metagrad.schedules import Rate, Schedule

PyTree = Any


class OgdState(NamedTuple):
    """State of `ogd`: steps made, a scalar."""

    steps: jax.Array


def ogd(
    learning_rate: Rate,
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
        steps = schedules.scale(schedules.at(learning_rate, t), gradients)
        moved = jax.tree.map(lambda w, d: (decay * w - d).astype(w.dtype), params, steps)
        return _difference(constraint.project(moved), params), OgdState(t)

    return optax.GradientTransformationExtraArgs(
        lambda params: OgdState(jnp.zeros((), jnp.int32)), update
    )


class FtrlState(NamedTuple):
    """State of `ao_ftrl`, `ftrl` and `adaptive_ao_ftrl`.

    Attributes:
      steps: made so far, a scalar.
      start: w_1, the centre of the regulariser.
      total: sum of alpha_s g_s, like w.
      hint: ghat_t, what the gradient to come was predicted to be, where squares need it, else ().
      squares: sum of (alpha_s (g_s - ghat_s))^2, like w; adaptive only, else ().
    """

    steps: jax.Array
    start: PyTree
    total: PyTree
    hint: PyTree
    squares: PyTree


def ao_ftrl(
    learning_rate: Rate,
    *,
    weights: Schedule = schedules.constant,
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
      weights: alpha_t, a function of t = 1, 2, ...; see `metagrad.schedules`.
      constraint: the set W.
    """
    return _leader(learning_rate, weights, constraint, adaptive=False, optimistic=True)


def ftrl(
    learning_rate: Rate,
    *,
    weights: Schedule = schedules.constant,
    constraint: constraints.Constraint | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Follow-the-regularised-leader: `ao_ftrl` that is deaf to hints."""
    return _leader(learning_rate, weights, constraint, adaptive=False, optimistic=False)


def adaptive_ao_ftrl(
    learning_rate: Rate,
    *,
    weights: Schedule = schedules.constant,
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

    Args:
      learning_rate: beta_t, a number or a function of t = 1, 2, ...
      weights: alpha_t, a function of t = 1, 2, ...
      constraint: the set W; its coordinates must be independent.
      initial_square: added to the sum of squares.

    Raises:
      ValueError: if the constraint is not separable.
    """
    return _leader(learning_rate, weights, constraint, True, True, initial_square)


def adaptive_ftrl(
    learning_rate: Rate,
    *,
    weights: Schedule = schedules.constant,
    constraint: constraints.Constraint | None = None,
    initial_square: float = 0.0,
    threshold: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """`adaptive_ao_ftrl` that is deaf to hints, and has none to store.

    Without constraint it is dual-averaging AdaGrad (Duchi et al. 2011). Then, with weights of 1,
        w_{t+1} = w_1 - beta_t z_t      z_t = sum_{s<=t} g_s / sqrt( sum_{s<=t} g_s^2 )
    is a statement about evidence. Of gradients that are noise z_t has a standard deviation of 1
    at every t, and w stays about where it was. Of gradients with a mean it grows with sqrt(t).

    Args:
      learning_rate: beta_t, how far one standard deviation of evidence moves w.
      weights: as there.
      constraint: as there.
      initial_square: as there.
      threshold: k >= 0, standard deviations that move nothing: z_t is replaced by
        sign(z_t) max(|z_t| - k, 0). It is the argmin with k <h_t, |w - w_1|> added, the L1
        regulariser of FTRL-Proximal (McMahan 2011) in units of noise.
    """
    return _leader(learning_rate, weights, constraint, True, False, initial_square, threshold)


def _leader(
    learning_rate: Rate,
    weights: Schedule,
    constraint: constraints.Constraint | None,
    adaptive: bool,
    optimistic: bool,
    initial_square: float = 0.0,
    threshold: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    constraint = constraint or constraints.unconstrained()
    if adaptive and not constraint.separable:
        raise ValueError("an adaptive learner supports box and non_negative sets, not a ball")

    def init(params):
        # Every array is its own buffer: a step can be given the parameters and this to overwrite.
        start = jax.tree.map(jnp.copy, params)
        total, hint, squares = (
            jax.tree.map(lambda w, x=x: jnp.full_like(constraints.wide(w), x), params)
            for x in (0.0, 0.0, initial_square)
        )
        return FtrlState(
            jnp.zeros((), jnp.int32),
            start,
            total,
            hint if adaptive and optimistic else (),
            squares if adaptive else (),
        )

    def update(gradients, state, params=None, *, hint=None, **extra):
        del extra
        _require(params)
        t = state.steps + 1
        alpha, beta = weights(t), schedules.at(learning_rate, t)
        total = _add(state.total, alpha, gradients)
        hint = hint if optimistic else None
        squares, kept = state.squares, state.hint
        if adaptive:
            surprise = gradients if not optimistic else _difference(gradients, state.hint)
            squares = jax.tree.map(
                lambda q, d: q + jnp.square(alpha * d).astype(q.dtype), squares, surprise
            )
        if adaptive and optimistic:
            hint = jax.tree.map(jnp.zeros_like, total) if hint is None else hint
            hint = kept = jax.tree.map(_after, squares, hint)
        scaled = total if hint is None else _add(total, weights(t + 1), hint)
        if adaptive:
            scaled = jax.tree.map(lambda s, q: s * _inverse_root(q), scaled, squares)
        if threshold:
            scaled = jax.tree.map(lambda z: z - jnp.clip(z, -threshold, threshold), scaled)
        new = FtrlState(t, state.start, total, kept, squares)
        steps = schedules.scale(beta, scaled)
        moved = jax.tree.map(lambda w, d: (w - d).astype(w.dtype), state.start, steps)
        return _difference(constraint.project(moved), params), new

    return optax.GradientTransformationExtraArgs(init, update)


class OmegaState(NamedTuple):
    """State of `omega`: steps made, and the average m of past gradients, like w."""

    steps: jax.Array
    mean: PyTree


def omega(
    learning_rate: Rate,
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
        mean = jax.tree.map(
            lambda m, g: jnp.where(t == 1, g.astype(m.dtype), m), state.mean, gradients
        )
        ahead = jax.tree.map(lambda g, m: g + optimism * (g - m), gradients, mean)
        steps = schedules.scale(schedules.at(learning_rate, t), ahead)
        moved = jax.tree.map(lambda w, d: (w - d).astype(w.dtype), params, steps)
        mean = jax.tree.map(
            lambda m, g: (decay * m + (1 - decay) * g).astype(m.dtype), mean, gradients
        )
        return _difference(constraint.project(moved), params), OmegaState(t, mean)

    return optax.GradientTransformationExtraArgs(init, update)


def omega_m(
    learning_rate: Rate,
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


def _inverse_root(x: jax.Array) -> jax.Array:
    """1 / sqrt(x); zero, and with zero derivative, where x is zero."""
    return jnp.where(x > 0, jax.lax.rsqrt(jnp.where(x > 0, x, 1.0)), 0.0)


def _after(squares: jax.Array, hint: jax.Array) -> jax.Array:
    """The hint, in the dtype of `squares` and not before these are known.

    The squares are made from the last hint, and the new one is stored in its place. Unless it
    has to wait for the squares, XLA's CPU compiler copies both, on one core. Squares are never
    -inf, but it cannot know; `jax.lax.optimization_barrier` it drops too early to be of use.
    """
    return jnp.where(squares == -jnp.inf, squares, hint.astype(squares.dtype))


def _add(total: PyTree, weight: jax.Array, term: PyTree) -> PyTree:
    return jax.tree.map(lambda s, x: s + (weight * x).astype(s.dtype), total, term)


def _difference(new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda n, o: n - o, new, old)


def _require(params: PyTree | None) -> None:
    if params is None:
        raise ValueError("an online learner needs the parameters: update(gradients, state, params)")
