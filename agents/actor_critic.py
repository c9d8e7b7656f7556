"""The inner problem of the agent: an advantage actor-critic as pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import distrax
import gymnasium as gym
import jax
import jax.numpy as jnp
import rlax
from jax.flatten_util import ravel_pytree

from agents import losses, networks
from configs.settings import AgentSettings

Params = Any
Hyperparams = Mapping[str, jax.Array]


class Trajectory(NamedTuple):
    """T steps of B environments."""

    observation: jax.Array  # [T, B, ...] acted on
    action: jax.Array  # [T, B, ...]
    log_prob: jax.Array  # [T, B] of the behaviour policy
    reward: jax.Array  # [T, B]
    discount: jax.Array  # [T, B] 0 on termination only
    truncated: jax.Array  # [T, B] bool
    next_observation: jax.Array  # [T, B, ...] the true successor, final ones included


def empty_trajectory(
    observation_space: gym.Space, action_space: gym.Space, length: int, num_envs: int
) -> Trajectory:
    """Zeros of the shapes and types of a trajectory [length, num_envs]."""
    batch = (length, num_envs)
    observation = jnp.zeros((*batch, *networks.shape(observation_space)), observation_space.dtype)
    action_type = jnp.float32 if isinstance(action_space, gym.spaces.Box) else jnp.int32
    action = jnp.zeros((*batch, *networks.shape(action_space)), action_type)
    number = jnp.zeros(batch, jnp.float32)
    ended = jnp.zeros(batch, bool)
    return Trajectory(observation, action, number, number, number, ended, observation)


class ActorCritic(NamedTuple):
    """Pure functions of an actor-critic.

    Attributes:
      init: key -> parameters.
      policy: (params, observation [..., *obs]) -> distribution over actions.
      value: (params, observation [..., *obs]) -> value [...].
      act: (params, observation [B, ...], key) -> (action [B, ...], log-probability [B]).
      mode: (params, observation [B, ...]) -> the most probable action [B, ...].
      loss: (params, frozen, hyperparams, trajectory) -> scalar. Values in targets and
        advantages are those of `frozen`, equal to `params` but held constant in the gradient.
        Reads gamma, lambda, entropy, critic.
      match: (target params, params, trajectory, divergence, value weight) -> scalar, how
        far policy and values are from the target's on the observations of a trajectory;
        `divergence` is one of `metagrad.matching`.
    """

    init: Callable[[jax.Array], Params]
    policy: Callable[[Params, jax.Array], distrax.Distribution]
    value: Callable[[Params, jax.Array], jax.Array]
    act: Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    mode: Callable[[Params, jax.Array], jax.Array]
    loss: Callable[[Params, Params, Hyperparams, Trajectory], jax.Array]
    match: Callable[..., jax.Array]


def make(
    observation_space: gym.Space, action_space: gym.Space, settings: AgentSettings
) -> ActorCritic:
    """Builds the actor-critic for the spaces of a task."""
    nets = networks.make(observation_space, action_space, settings)
    over_batch = jax.vmap(losses.lambda_returns, (1, 1, 1, 1, None, None), 1)

    def act(params, observation, key):
        return nets.policy(params, observation).sample_and_log_prob(seed=key)

    def mode(params, observation):
        return nets.policy(params, observation).mode()

    def loss(params, frozen, hyperparams, trajectory):
        policy = nets.policy(params, trajectory.observation)
        v_tm1 = nets.value(params, trajectory.observation)
        v_t = nets.value(frozen, trajectory.next_observation)
        target_tm1 = over_batch(
            trajectory.reward,
            trajectory.discount,
            trajectory.truncated,
            v_t,
            hyperparams["gamma"],
            hyperparams["lambda"],
        )
        advantage = target_tm1 - nets.value(frozen, trajectory.observation)
        if settings.normalize_advantage:
            advantage = losses.normalize(advantage)
        return (
            losses.policy_gradient_loss(policy.log_prob(trajectory.action), advantage)
            - hyperparams["entropy"] * jnp.mean(policy.entropy())
            + hyperparams["critic"] * value_distance(v_tm1, target_tm1)
        )

    def value_distance(value, target):
        # In units of the critic's own scale: its weight keeps its meaning.
        return jnp.mean(rlax.l2_loss((value - target) / settings.value_scale))

    def match(target_params, params, trajectory, divergence, value_weight):
        target_params = jax.lax.stop_gradient(target_params)
        target, student = (
            (nets.policy(p, trajectory.observation), nets.value(p, trajectory.observation))
            for p in (target_params, params)
        )
        return divergence(target[0], student[0]) + value_weight * value_distance(
            student[1], target[1]
        )

    return ActorCritic(nets.init, nets.policy, nets.value, act, mode, loss, match)


def flatten(ac: ActorCritic) -> tuple[ActorCritic, Callable[[jax.Array], Params]]:
    """The same actor-critic on parameters raveled into one vector, and the way back.

    Updates, records and meta-gradients are then a few long loops instead of several short
    ones for each of a dozen small tensors, whose dispatch would dominate on a CPU.
    """
    example = jax.eval_shape(ac.init, jax.random.PRNGKey(0))
    unravel = ravel_pytree(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example))[1]

    def on_vector(function):
        return lambda params, *arguments: function(unravel(params), *arguments)

    flat = ActorCritic(
        init=lambda key: ravel_pytree(ac.init(key))[0],
        policy=on_vector(ac.policy),
        value=on_vector(ac.value),
        act=on_vector(ac.act),
        mode=on_vector(ac.mode),
        loss=lambda params, frozen, *rest: ac.loss(unravel(params), unravel(frozen), *rest),
        match=lambda target, params, *rest: ac.match(unravel(target), unravel(params), *rest),
    )
    return flat, unravel
