"""One part of a user's own of each kind, as a user would write them."""

import haiku as hk
import jax
import jax.numpy as jnp

import selftuning as st
from selftuning.metagrad import update_rules

pull = st.hyperparameter("pull", start=0.02, low=1e-4, high=0.5, of="update_rule")


@st.loss_term(start=0.1, low=1e-4, high=1.0)
def calm(seen):
    return seen.policy.kl_divergence(seen.next_policy)


@st.torso
def residual(observation):
    x = hk.Linear(6)(observation)
    return x + jax.nn.relu(hk.Linear(6)(x))


@st.update_rule
def decayed():
    """Gradient descent that pulls the parameters to zero."""

    def update(gradients, state, params, hyperparams):
        rate, decay = hyperparams["learning_rate"], hyperparams["pull"]
        return jax.tree.map(lambda p, g: p - rate * (g + decay * p), params, gradients), state

    return update_rules.UpdateRule(lambda params: (), update)


@st.outer_objective
def returns_alone(seen):
    chosen = seen.policy.log_prob(seen.trajectory.action)
    return -jnp.mean(chosen * seen.advantage)
