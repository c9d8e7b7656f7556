"""The inner problem of the agent: an advantage actor-critic as pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import distrax
import gymnasium as gym
import jax
import jax.numpy as jnp
import rlax

from selftuning.agents import losses, networks, terms
from selftuning.configs.extensions import Own
from selftuning.configs.settings import AgentSettings

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
    """Pure functions of an actor-critic of H heads, of which the first one acts.

    Attributes:
      init: key -> parameters.
      policy: (params, observation [..., *obs]) -> distribution over actions.
      value: (params, observation [..., *obs]) -> value [...].
      act: (params, observation [B, ...], key) -> (action [B, ...], log-probability [B]).
      mode: (params, observation [B, ...]) -> the most probable action [B, ...].
      loss: (params, frozen, hyperparams, trajectory) -> scalar, what is descended: the sum over
        heads, each with its own hyperparameters (scalars, or [H]), and of an outer critic's.
        Values in targets and advantages are those of `frozen`, equal to `params` but held
        constant in the gradient. Reads policy, critic, entropy, gamma, lambda, off policy
        alpha_rho and alpha_c, and what extensions add.
      outer_loss: (params, frozen, hyperparams, trajectory) -> scalar, the loss of the first head
        alone, with scalars; its critic is the outer critic if there is one.
      distances: (target params, params, trajectory, divergence) -> how far "policy" and "value"
        of the first head are from the target's on the observations of a trajectory;
        `divergence` is one of `metagrad.matching`.
    """

    init: Callable[[jax.Array], Params]
    policy: Callable[[Params, jax.Array], distrax.Distribution]
    value: Callable[[Params, jax.Array], jax.Array]
    act: Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    mode: Callable[[Params, jax.Array], jax.Array]
    loss: Callable[[Params, Params, Hyperparams, Trajectory], jax.Array]
    outer_loss: Callable[[Params, Params, Hyperparams, Trajectory], jax.Array]
    distances: Callable[..., dict[str, jax.Array]]


class _Judged(NamedTuple):
    """What the loss of one head reads, [T, B] each; frozen parts without gradient."""

    log_prob: jax.Array
    entropy: jax.Array
    v_tm1: jax.Array
    rho_tm1: jax.Array | None  # only where experience is weighted
    frozen_v_tm1: jax.Array
    frozen_v_t: jax.Array
    live: _Said | None  # this and the next only where there are terms of a user's own
    frozen: _Said | None


class _Said(NamedTuple):
    """What networks say of a rollout [T, B]: outputs in place of policies, which have no axis H."""

    outputs_tm1: jax.Array  # [T, B, size]
    outputs_t: jax.Array  # [T, B, size]
    v_tm1: jax.Array
    v_t: jax.Array


def make(
    observation_space: gym.Space,
    action_space: gym.Space,
    settings: AgentSettings,
    outer: Mapping[str, Any] | None = None,
    added: Mapping[str, Own] | None = None,
) -> ActorCritic:
    """Builds the actor-critic for the spaces of a task.

    Args:
      observation_space: of the task.
      action_space: of the task.
      settings: of networks and losses.
      outer: values by name at which an outer critic learns; needed where there is one.
      added: what extensions add to losses and rewards, by the names of their hyperparameters.
    """
    added = added or {}
    read = (*settings.in_loss, *added)
    nets = networks.make(observation_space, action_space, settings)
    returns = jax.vmap(losses.lambda_returns, (1,) * 4 + (None,) * 2, 1)
    off_policy = jax.vmap(losses.leaky_vtrace, (1,) * 6 + (None,) * 4, 1)

    def act(params, observation, key):
        return nets.policy(params, observation).sample_and_log_prob(seed=key)

    def mode(params, observation):
        return nets.policy(params, observation).mode()

    def targets(judged, hyperparams, trajectory):
        """Value targets and advantages [T, B] at values of frozen parameters."""
        gamma, lambda_ = hyperparams["gamma"], hyperparams["lambda"]
        v_tm1, v_t = judged.frozen_v_tm1, judged.frozen_v_t
        reward = trajectory.reward
        if added:
            reward = terms.reward(added, seen(judged.frozen, trajectory, hyperparams))
        ends = reward, trajectory.discount, trajectory.truncated
        if settings.correction == "none":
            target_tm1 = returns(*ends, v_t, gamma, lambda_)
            return target_tm1, target_tm1 - v_tm1
        alphas = hyperparams["alpha_rho"], hyperparams["alpha_c"]
        return off_policy(*ends, v_tm1, v_t, judged.rho_tm1, gamma, lambda_, *alphas)

    def critic_loss(judged, hyperparams, trajectory):
        return value_distance(judged.v_tm1, targets(judged, hyperparams, trajectory)[0])

    def head_loss(judged, hyperparams, trajectory):
        target_tm1, advantage = targets(judged, hyperparams, trajectory)
        if settings.normalize_advantage:
            advantage = losses.normalize(advantage)
        total = (
            hyperparams["policy"] * losses.policy_gradient_loss(judged.log_prob, advantage)
            - hyperparams["entropy"] * jnp.mean(judged.entropy)
            + hyperparams["critic"] * value_distance(judged.v_tm1, target_tm1)
        )
        if not added:
            return total
        frozen = seen(judged.frozen, trajectory, hyperparams)
        taught = target_tm1, advantage, frozen
        return total + terms.loss(added, seen(judged.live, trajectory, hyperparams, *taught))

    def seen(said, *others):
        policies = nets.distribution(said.outputs_tm1), nets.distribution(said.outputs_t)
        return terms.Seen(*policies, said.v_tm1, said.v_t, *others)

    def judged(outputs, value, params, frozen, trajectory):
        """Arguments of `head_loss`, with a leading axis [H] if outputs and values have one."""
        observation, following = trajectory.observation, trajectory.next_observation
        outputs_tm1, v_tm1 = outputs(params, observation), value(params, observation)
        policy = nets.distribution(outputs_tm1)
        frozen_outputs_tm1 = outputs(frozen, observation)
        frozen_v = value(frozen, observation), value(frozen, following)
        rho_tm1 = live = constant = None
        if settings.correction == "vtrace":
            frozen_policy = nets.distribution(frozen_outputs_tm1)
            rho_tm1 = jnp.exp(frozen_policy.log_prob(trajectory.action) - trajectory.log_prob)
        if added:
            live = _Said(outputs_tm1, outputs(params, following), v_tm1, value(params, following))
            constant = _Said(frozen_outputs_tm1, outputs(frozen, following), *frozen_v)
        log_prob, entropy = policy.log_prob(trajectory.action), policy.entropy()
        return _Judged(log_prob, entropy, v_tm1, rho_tm1, *frozen_v, live, constant)

    def loss(params, frozen, hyperparams, trajectory):
        heads = judged(nets.outputs, nets.values, params, frozen, trajectory)
        in_loss = {name: hyperparams[name] for name in read}
        if settings.heads == 1:
            total = head_loss(jax.tree.map(lambda x: x[0], heads), in_loss, trajectory)
        else:
            each = {name: jnp.broadcast_to(x, settings.heads) for name, x in in_loss.items()}
            total = jnp.sum(jax.vmap(head_loss, (0, 0, None))(heads, each, trajectory))
        if not settings.outer_critic:
            return total
        assert outer is not None
        judged_outside = by_outer_objective(params, frozen, trajectory)
        return total + outer["critic"] * critic_loss(judged_outside, outer, trajectory)

    def by_outer_objective(params, frozen, trajectory):
        value = nets.outer_value if settings.outer_critic else nets.value

        def outputs(params, observation):
            return nets.outputs(params, observation)[0]

        return judged(outputs, value, params, frozen, trajectory)

    def outer_loss(params, frozen, hyperparams, trajectory):
        return head_loss(by_outer_objective(params, frozen, trajectory), hyperparams, trajectory)

    def value_distance(value, target):
        # In units of the critic's own scale: its weight keeps its meaning.
        return jnp.mean(rlax.l2_loss((value - target) / settings.value_scale))

    def distances(target_params, params, trajectory, divergence):
        target_params = jax.lax.stop_gradient(target_params)
        observation = trajectory.observation
        target, student = (
            (nets.policy(p, observation), nets.value(p, observation))
            for p in (target_params, params)
        )
        return {
            "policy": divergence(target[0], student[0]),
            "value": value_distance(student[1], target[1]),
        }

    return ActorCritic(nets.init, nets.policy, nets.value, act, mode, loss, outer_loss, distances)
