"""Actor-critic quantities on one trajectory [T]; callers vmap over the batch.

Every hyperparameter is an argument and is differentiated through. Nothing is stopped here:
stopping whole targets, the default of rlax, would make the derivative with respect to
gamma and lambda zero, and stopping values inside them would falsify meta-gradients over
several updates. Callers pass values made from frozen parameters instead.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import rlax

Array = jax.Array


def lambda_returns(
    r_t: Array,
    discount_t: Array,
    truncated_t: Array,
    v_t: Array,
    gamma: Array,
    lambda_: Array,
) -> Array:
    """TD(lambda) targets G_{t-1} = r_t + gamma_t [(1 - lambda_t) v_t + lambda_t G_t].

    With G the advantage G_{t-1} - v_{t-1} is the generalised advantage estimate of
    Schulman et al. (2016). `gamma_t` is 0 where the episode terminated. Where it was
    truncated lambda_t is 0: the return bootstraps from the final observation and does
    not run on into the next episode.

    Args:
      r_t: rewards [T].
      discount_t: 0 on termination, 1 elsewhere [T].
      truncated_t: whether the time limit ended the episode at this step [T], bool.
      v_t: values of the successor observations [T].
      gamma: scalar.
      lambda_: scalar.

    Returns:
      Targets [T] for the values of the observations acted on.
    """
    chex.assert_rank([r_t, discount_t, truncated_t, v_t, gamma, lambda_], [1, 1, 1, 1, 0, 0])
    lambda_t = jnp.where(truncated_t, 0.0, lambda_)
    return rlax.lambda_returns(r_t, gamma * discount_t, v_t, lambda_t)


def _on_policy(rho: Array) -> Array:
    """Whether a weight is 1 or more, but for the rounding of a probability computed twice."""
    return rho > 1.0 - jnp.finfo(rho.dtype).eps ** 0.7  # 1.4e-5, and 1e-11 in float64


def leaky_vtrace(
    r_t: Array,
    discount_t: Array,
    truncated_t: Array,
    v_tm1: Array,
    v_t: Array,
    rho_tm1: Array,
    gamma: Array,
    lambda_: Array,
    alpha_rho: Array,
    alpha_c: Array,
) -> tuple[Array, Array]:
    """Value targets and advantages off policy: leaky V-trace (Zahavy et al. 2020).

    Importance weights are clipped, but the clipping leaks:
        rho'_t = alpha_rho min(1, rho_t) + (1 - alpha_rho) rho_t
        c_t    = lambda_t (alpha_c min(1, rho_t) + (1 - alpha_c) rho_t)
        G_{t-1} - v_{t-1} = rho'_t (r_t + gamma_t v_t - v_{t-1}) + gamma_t c_t (G_t - v_t)
        A_{t-1} = rho'_t (r_t + gamma_t [(1 - lambda_t) v_t + lambda_t G_t] - v_{t-1})
    With both alphas 1 this is V-trace (Espeholt et al. 2018), with both 0 importance sampling
    without clipping, and on policy `lambda_returns` whatever they are (along a path: v_t of
    a step is v_tm1 of the next). Ends of episodes are
    treated as there. `rlax.leaky_vtrace` has one alpha for both weights.

    Args:
      r_t: rewards [T].
      discount_t: 0 on termination, 1 elsewhere [T].
      truncated_t: whether the time limit ended the episode at this step [T], bool.
      v_tm1: values of the observations acted on [T].
      v_t: values of the successor observations [T].
      rho_tm1: importance weights pi(a) / mu(a) of the actions [T].
      gamma: scalar.
      lambda_: scalar.
      alpha_rho: scalar in [0, 1].
      alpha_c: scalar in [0, 1]; contraction needs alpha_rho >= alpha_c.

    Returns:
      Targets G [T] for the values of the observations acted on, and advantages A [T].
    """
    chex.assert_rank(
        [r_t, discount_t, truncated_t, v_tm1, v_t, rho_tm1, gamma, lambda_, alpha_rho, alpha_c],
        [1] * 6 + [0] * 4,
    )
    # Who acted has a weight of 1, give or take the last bit, and there is the corner: its
    # derivative would be that of one side or the other by chance. The clipped side's it is.
    clipped = jnp.where(_on_policy(rho_tm1), 1.0, rho_tm1)
    gamma_t, lambda_t = gamma * discount_t, jnp.where(truncated_t, 0.0, lambda_)
    rho_t = alpha_rho * clipped + (1.0 - alpha_rho) * rho_tm1
    c_t = lambda_t * (alpha_c * clipped + (1.0 - alpha_c) * rho_tm1)
    delta_t = rho_t * (r_t + gamma_t * v_t - v_tm1)

    def backwards(following, step):
        delta, decay = step
        return (error := delta + decay * following), error

    _, errors = jax.lax.scan(
        backwards, jnp.zeros_like(delta_t[0]), (delta_t, gamma_t * c_t), reverse=True
    )
    # What is learned of G_t beyond v_t; after the last step nothing is.
    beyond = jnp.append(errors[1:], 0.0)
    # At a truncation the next row is of another episode: lambda_t = 0 keeps it out.
    advantage = rho_t * (r_t + gamma_t * (v_t + lambda_t * beyond) - v_tm1)
    return v_tm1 + errors, advantage


def normalize(advantage: Array, noise: float = 1e-4) -> Array:
    """Divides by the standard deviation over all axes; the mean is left where it is.

    Args:
      advantage: of any shape.
      noise: a deviation that says nothing. Advantages much smaller than that stay small. The
        default only keeps from dividing by zero.
    """
    return advantage * jax.lax.rsqrt(jnp.var(advantage) + noise**2)


# How sharp the clip is, in units of the clip range. The slope of the surrogate is that of the
# policy gradient but for exp(-10) at ratio 1, half of it at a corner, a quarter a tenth further on.
_SHARPNESS = 10.0


def clipped_surrogate_loss(ratio: Array, advantage: Array, clip: Array) -> Array:
    """-min(ratio A, clip(ratio, 1 - clip, 1 + clip) A) of PPO with rounded corners, averaged.

    Written for either sign of A with x = sign(A) (ratio - 1) / clip, how far the ratio has gone
    the way that A asks for, in units of the clip range:
        min(...) = A + |A| clip min(x, 1)
    Here min(x, 1) is 1 - softplus(s (1 - x)) / s with sharpness s = 10, whose slope in x is
    sigmoid(s (1 - x)) instead of a step from 1 to 0. PPO's gradient is piecewise constant in
    `clip`, so that its derivative is zero wherever it exists; the rounded one tells from rows
    near a corner what a wider clip would do. With s to infinity this is
    `rlax.clipped_surrogate_pg_loss(..., use_stop_gradient=False)`.

    Args:
      ratio: pi(a) / mu(a) of the policies now and when a was chosen, any shape.
      advantage: A, of that shape.
      clip: scalar above 0.

    Returns:
      Scalar, differentiable in all arguments.
    """
    chex.assert_equal_shape([ratio, advantage])
    x = jnp.sign(advantage) * (ratio - 1.0) / clip
    softly = 1.0 - jax.nn.softplus(_SHARPNESS * (1.0 - x)) / _SHARPNESS
    return -jnp.mean(advantage + jnp.abs(advantage) * clip * softly)


def policy_gradient_loss(log_prob_tm1: Array, advantage_tm1: Array) -> Array:
    """-log pi(a) * advantage, averaged over [T]; differentiable in the advantage.

    Equals `rlax.policy_gradient_loss(..., use_stop_gradient=False)` for a categorical policy.
    """
    chex.assert_equal_shape([log_prob_tm1, advantage_tm1])
    return -jnp.mean(log_prob_tm1 * advantage_tm1)


def explained_variance(value: Array, target: Array) -> Array:
    """1 - Var(target - value) / Var(target), a scalar; NaN where all targets are alike."""
    chex.assert_equal_shape([value, target])
    variance = jnp.var(target)
    left = jnp.var(target - value) / jnp.where(variance > 0, variance, 1.0)
    return jnp.where(variance > 0, 1.0 - left, jnp.nan)
