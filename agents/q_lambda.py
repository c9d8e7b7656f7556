"""Q(lambda) as pure functions: values of actions, explored epsilon-greedily.

Here tuning has nothing to differentiate but epsilon. What a greedy agent does is piecewise
constant in its parameters, so no gradient leads back through its updates; but how far the
behaviour of today is from the greedy policy of L updates later does depend on epsilon
(Bootstrapped Meta-Learning, arXiv 2109.04504, with K = 0). Its minimum is epsilon at
s A / (A - 1), with s the share of observations on which the two will disagree and A the number of
actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import distrax
import gymnasium as gym
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import rlax

from selftuning.agents import losses, networks
from selftuning.agents.actor_critic import Hyperparams, Trajectory
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import AgentSettings

Params = Any


class QLambda(NamedTuple):
    """Pure functions of a Q(lambda) agent.

    Attributes:
      init: key -> parameters.
      policy: (params, epsilon, observation [..., *obs]) -> distribution over actions.
      value: (params, observation [..., *obs]) -> value of the greedy action [...].
      act: ((params, epsilon), observation [B, ...], key) -> (action [B], log-probability [B]).
      mode: ((params, epsilon), observation [B, ...]) -> greedy action [B].
      loss: (params, frozen, hyperparams, trajectory) -> scalar. Values in targets are those of
        `frozen`. Reads gamma and lambda.
      match: (target params, params, epsilon, trajectory) -> scalar, KL of the target's greedy
        policy from the behaviour; gradients flow to epsilon alone.
    """

    init: Callable[[jax.Array], Params]
    policy: Callable[[Params, jax.Array, jax.Array], distrax.Distribution]
    value: Callable[[Params, jax.Array], jax.Array]
    act: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    mode: Callable[[Any, jax.Array], jax.Array]
    loss: Callable[[Params, Params, Hyperparams, Trajectory], jax.Array]
    match: Callable[[Params, Params, jax.Array, Trajectory], jax.Array]


def make(observation_space: gym.Space, action_space: gym.Space, settings: AgentSettings) -> QLambda:
    """Builds the agent for the spaces of a task.

    Raises:
      ConfigError: if actions are not discrete.
    """
    if not isinstance(action_space, gym.spaces.Discrete):
        raise ConfigError(
            f"agent.algorithm: q_lambda is not allowed for actions {action_space}; "
            "it must be actor_critic"
        )
    torso = networks.torso_for(observation_space, settings)
    num_actions = int(action_space.n)
    returns = jax.vmap(losses.lambda_returns, (1,) * 4 + (None,) * 2, 1)

    def outputs(observation):
        last = hk.Linear(num_actions, w_init=hk.initializers.VarianceScaling(1e-4))
        return last(torso(observation)) * settings.value_scale

    net = hk.without_apply_rng(hk.transform(outputs))

    def init(key):
        observation = np.zeros((1, *networks.shape(observation_space)), observation_space.dtype)
        return net.init(key, observation)

    def policy(params, epsilon, observation):
        return distrax.EpsilonGreedy(net.apply(params, observation), epsilon)

    def value(params, observation):
        return jnp.max(net.apply(params, observation), -1)

    def act(acting, observation, key):
        return policy(acting[0], acting[1], observation).sample_and_log_prob(seed=key)

    def mode(acting, observation):
        return jnp.argmax(net.apply(acting[0], observation), -1)

    def loss(params, frozen, hyperparams, trajectory):
        q_tm1 = net.apply(params, trajectory.observation)
        # Peng's Q(lambda): the return goes on through actions that were not greedy.
        target_tm1 = returns(
            trajectory.reward,
            trajectory.discount,
            trajectory.truncated,
            value(frozen, trajectory.next_observation),
            hyperparams["gamma"],
            hyperparams["lambda"],
        )
        chosen = jnp.take_along_axis(q_tm1, trajectory.action[..., None], -1)[..., 0]
        return jnp.mean(rlax.l2_loss((chosen - target_tm1) / settings.value_scale))

    def match(target_params, params, epsilon, trajectory):
        q_target, q_student = (
            jax.lax.stop_gradient(net.apply(p, trajectory.observation))
            for p in (target_params, params)
        )
        greedy = distrax.Greedy(q_target)
        behaviour = distrax.EpsilonGreedy(q_student, epsilon)
        return jnp.mean(greedy.kl_divergence(behaviour))

    return QLambda(init, policy, value, act, mode, loss, match)
