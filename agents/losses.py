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


def normalize(advantage: Array, eps: float = 1e-8) -> Array:
    """Divides by the standard deviation over all axes; the mean is left where it is."""
    return advantage * jax.lax.rsqrt(jnp.var(advantage) + eps)


def policy_gradient_loss(log_prob_tm1: Array, advantage_tm1: Array) -> Array:
    """-log pi(a) * advantage, averaged over [T]; differentiable in the advantage.

    Equals `rlax.policy_gradient_loss(..., use_stop_gradient=False)` for a categorical policy.
    """
    chex.assert_equal_shape([log_prob_tm1, advantage_tm1])
    return -jnp.mean(log_prob_tm1 * advantage_tm1)
