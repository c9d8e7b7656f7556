"""Q(lambda) as pure functions: values of actions, explored epsilon-greedily.

Here tuning has nothing to differentiate but epsilon. What a greedy agent does is piecewise
constant in its parameters, so no gradient leads back through its updates; but how far the
behaviour of today is from the greedy policy of L updates later does depend on epsilon
(Bootstrapped Meta-Learning, arXiv 2109.04504, with K = 0). Its minimum is epsilon at
s A / (A - 1), with s the share of observations on which the two will disagree and A the number of
actions.
"""

from __future__ import annotations

import distrax
import gymnasium as gym
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import rlax

from selftuning.agents import losses, torsos
from selftuning.agents.algorithm import Algorithm, packing_of
from selftuning.configs import extensions
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from selftuning.envs.spaces import shape
from selftuning.metagrad.targets import Problem


def make(observation_space: gym.Space, action_space: gym.Space, settings: RunSettings) -> Algorithm:
    """Builds the agent for the spaces of a task; its actor is (parameters, epsilon).

    The loss reads gamma and lambda. The match is the KL of the target's greedy policy from the
    behaviour of the student; gradients flow to epsilon alone.

    Raises:
      ConfigError: if actions are not discrete.
    """
    if not isinstance(action_space, gym.spaces.Discrete):
        raise ConfigError(
            f"agent.algorithm: q_lambda is not allowed for actions {action_space}; "
            "it must be actor_critic"
        )
    torso = torsos.torso_for(
        observation_space, settings.agent, extensions.parts(settings.extensions).get("torso")
    )
    num_actions = int(action_space.n)
    returns = jax.vmap(losses.lambda_returns, (1,) * 4 + (None,) * 2, 1)

    def outputs(observation):
        last = hk.Linear(num_actions, w_init=hk.initializers.VarianceScaling(1e-4))
        return last(torso(observation))

    net = hk.without_apply_rng(hk.transform(outputs))

    def init(key):
        observation = np.zeros((1, *shape(observation_space)), observation_space.dtype)
        return net.init(key, observation)

    packing = packing_of(init)
    unpack = packing.unpack

    def act(actor, observation, key):
        params, epsilon = actor
        behaviour = epsilon_greedy(net.apply(params, observation), epsilon)
        return behaviour.sample_and_log_prob(seed=key)

    def mode(actor, observation):
        return jnp.argmax(net.apply(actor[0], observation), -1)

    def value(params, observation):
        return jnp.max(net.apply(unpack(params), observation), -1)

    def learned(params, frozen, hyperparams, batch):
        """Values [T, B] of the actions that were taken, and what they are to become."""
        trajectory = batch.trajectory
        q_tm1 = net.apply(unpack(params), batch.observation)
        # Peng's Q(lambda): the return goes on through actions that were not greedy.
        target_tm1 = returns(
            batch.reward,
            trajectory.discount,
            trajectory.truncated,
            value(frozen, batch.next_observation),
            hyperparams["gamma"],
            hyperparams["lambda"],
        )
        chosen = jnp.take_along_axis(q_tm1, trajectory.action[..., None], -1)[..., 0]
        return chosen, target_tm1

    def inner_loss(params, frozen, hyperparams, batch):
        chosen, target_tm1 = learned(params, frozen, hyperparams, batch)
        return jnp.mean(rlax.l2_loss(chosen - target_tm1))

    def metrics(start, before, after, hyperparams, batch):
        chosen, target_tm1 = learned(before, before, hyperparams, batch)
        explained = losses.explained_variance(chosen, target_tm1)
        loss = jnp.mean(rlax.l2_loss(chosen - target_tm1))
        return {"value_loss": loss, "explained_variance": explained}

    def outer_loss(params, frozen, batch):
        return inner_loss(params, frozen, settings.outer, batch)

    def match(target, params, hyperparams, batch):
        q_target, q_student = (
            jax.lax.stop_gradient(net.apply(unpack(p), batch.observation)) for p in (target, params)
        )
        # The KL of one certain action is minus its log-probability.
        behaviour = epsilon_greedy(q_student, hyperparams["epsilon"])
        return -jnp.mean(behaviour.log_prob(jnp.argmax(q_target, -1)))

    return Algorithm(
        init=lambda key: packing.pack(init(key)),
        packing=packing,
        acting=lambda parameters, hyperparams: (parameters, hyperparams["epsilon"]),
        act=act,
        mode=mode,
        value=value,
        problem=Problem(inner_loss, outer_loss, match),
        metrics=metrics,
    )


def epsilon_greedy(q: jax.Array, epsilon: jax.Array) -> distrax.Categorical:
    """The first best action [...] of values [..., A], or with probability epsilon any.

    `distrax.EpsilonGreedy` compares values with their maximum. Where a compiler computes the two
    differently in the last bit, no action is the best one, and all probabilities are NaN.
    """
    num_actions = q.shape[-1]
    best = jax.nn.one_hot(jnp.argmax(q, -1), num_actions)
    return distrax.Categorical(probs=(1 - epsilon) * best + epsilon / num_actions)
