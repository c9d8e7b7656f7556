"""The inner problem of the agent: an advantage actor-critic as pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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


class ActorCritic(NamedTuple):
    """Pure functions of an actor-critic.

    Attributes:
      init: key -> parameters.
      act: (params, observation [B, ...], key) -> (action [B, ...], log-probability [B]).
      mode: (params, observation [B, ...]) -> the most probable action [B, ...].
      loss: (params, hyperparams, trajectory) -> scalar. Reads gamma, lambda, entropy, critic.
      match: (target params, params, trajectory, critic) -> scalar, how far the
        policy and values of `params` are from the target's on the observations of a trajectory.
    """

    init: Callable[[jax.Array], Params]
    act: Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    mode: Callable[[Params, jax.Array], jax.Array]
    loss: Callable[[Params, Hyperparams, Trajectory], jax.Array]
    match: Callable[[Params, Params, Trajectory, float], jax.Array]


def make(
    observation_space: gym.Space, action_space: gym.Space, settings: AgentSettings
) -> ActorCritic:
    """Builds the actor-critic for the spaces of a task."""
    nets = networks.make(observation_space, action_space, settings)

    def act(params, observation, key):
        return nets.policy(params, observation).sample_and_log_prob(seed=key)

    def mode(params, observation):
        return nets.policy(params, observation).mode()

    def loss(params, hyperparams, trajectory):
        policy = nets.policy(params, trajectory.observation)
        v_tm1 = nets.value(params, trajectory.observation)
        v_t = nets.value(params, trajectory.next_observation)
        over_batch = jax.vmap(losses.lambda_returns, (1, 1, 1, 1, None, None), 1)
        target_tm1 = over_batch(
            trajectory.reward,
            trajectory.discount,
            trajectory.truncated,
            v_t,
            hyperparams["gamma"],
            hyperparams["lambda"],
        )
        advantage = target_tm1 - jax.lax.stop_gradient(v_tm1)
        if settings.normalize_advantage:
            advantage = losses.normalize(advantage)
        log_prob = policy.log_prob(trajectory.action)
        # Errors of the critic in units of its own scale: its weight keeps its meaning.
        critic_loss = jnp.mean(rlax.l2_loss((v_tm1 - target_tm1) / settings.value_scale))
        return (
            losses.policy_gradient_loss(log_prob, advantage)
            - hyperparams["entropy"] * jnp.mean(policy.entropy())
            + hyperparams["critic"] * critic_loss
        )

    def match(target_params, params, trajectory, critic):
        target_params = jax.lax.stop_gradient(target_params)
        target = nets.policy(target_params, trajectory.observation)
        student = nets.policy(params, trajectory.observation)
        value_error = nets.value(params, trajectory.observation) - nets.value(
            target_params, trajectory.observation
        )
        value_distance = jnp.mean(rlax.l2_loss(value_error / settings.value_scale))
        if settings.match == "kl_student_target":
            divergence = student.kl_divergence(target)
        else:
            divergence = target.kl_divergence(student)
        return jnp.mean(divergence) + critic * value_distance

    return ActorCritic(nets.init, act, mode, loss, match)


def flatten(ac: ActorCritic) -> tuple[ActorCritic, Callable[[jax.Array], Params]]:
    """The same actor-critic on parameters raveled into one vector, and the way back.

    Updates, records and meta-gradients are then a few long loops instead of several short
    ones for each of a dozen small tensors, whose dispatch would dominate on a CPU.
    """
    example = jax.eval_shape(ac.init, jax.random.PRNGKey(0))
    unravel = ravel_pytree(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example))[1]
    flat = ActorCritic(
        init=lambda key: ravel_pytree(ac.init(key))[0],
        act=lambda params, observation, key: ac.act(unravel(params), observation, key),
        mode=lambda params, observation: ac.mode(unravel(params), observation),
        loss=lambda params, hyperparams, trajectory: ac.loss(
            unravel(params), hyperparams, trajectory
        ),
        match=lambda target, params, trajectory, critic: ac.match(
            unravel(target), unravel(params), trajectory, critic
        ),
    )
    return flat, unravel
