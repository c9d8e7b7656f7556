"""One head of the actor-critic on one rollout: what its loss reads, and the loss.

In all losses here gradients flow through what is made of `params`. What is made of `frozen` counts
as a constant, though nothing is stopped: the two are different arguments (docs/tuning.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import rlax

from selftuning.agents import losses, policies, terms
from selftuning.agents.algorithm import Hyperparams, Params
from selftuning.agents.networks import Networks
from selftuning.agents.trajectory import Experience, scaled
from selftuning.configs.own_parts import Own
from selftuning.configs.settings import AgentSettings

# (params, observation [..., *obs]) -> outputs of a network, with a leading axis [H] or without.
Network = Callable[[Params, jax.Array], jax.Array]

# Advantages of this size, in units of returns, are errors of the critic. Blown up to size one they
# would lead the policy astray wherever rewards are silent, before the first one is found and after
# a task is solved, against an entropy term that is too small to bring it back (docs/tasks.md).
_NOISE = 0.03


class Said(NamedTuple):
    """What networks say of a rollout.

    Policies are here as the outputs of their network: those have an axis [H] to vmap over, which
    distributions have not.
    """

    outputs_tm1: jax.Array  # [T, B, size]
    outputs_t: jax.Array  # [T, B, size]
    v_tm1: jax.Array  # [T, B]
    v_t: jax.Array  # [T, B]


class Constant(NamedTuple):
    """What value targets are made of, of parameters that are held constant, [T, B] each."""

    v_tm1: jax.Array
    v_t: jax.Array
    rho_tm1: jax.Array | None  # only where experience is weighted
    said: Said | None  # only where a user's own functions see it


class Judged(NamedTuple):
    """What the loss of one head reads, [T, B] each, or [H, T, B] of all heads."""

    log_prob: jax.Array
    entropy: jax.Array
    barrier: jax.Array | None  # only where it is part of the loss
    v_tm1: jax.Array
    constant: Constant
    said: Said | None  # only where a user's own functions see it


class Parts(NamedTuple):
    """What the loss of one head weighs, and how good its critic is; scalars.

    Attributes:
      policy: loss of the policy.
      entropy: of the policy, mean over steps.
      critic: half the mean square of value errors.
      explained: share of the variance of value targets that values explained before they learned
        from them; 1 is all, and 0 no better than their mean.
      barrier: KL(uniform || policy), mean over steps; None where it is no part of the loss.
    """

    policy: jax.Array
    entropy: jax.Array
    critic: jax.Array
    explained: jax.Array
    barrier: jax.Array | None = None

    def weighed(self, hyperparams: Hyperparams) -> jax.Array:
        """The loss."""
        total = (
            hyperparams["policy"] * self.policy
            - hyperparams["entropy"] * self.entropy
            + hyperparams["critic"] * self.critic
        )
        return total if self.barrier is None else total + hyperparams["barrier"] * self.barrier

    def named(self) -> dict[str, jax.Array]:
        """By the names under which they are logged."""
        named = {
            "policy_loss": self.policy,
            "value_loss": self.critic,
            "entropy": self.entropy,
            "explained_variance": self.explained,
        }
        return named if self.barrier is None else named | {"barrier": self.barrier}


class Head(NamedTuple):
    """Pure functions.

    Attributes:
      judged: (outputs, value, params, frozen, batch) -> Judged; `outputs` and `value` are
        the networks, of one head or of all.
      loss: (judged of one head, hyperparams, batch) -> scalar.
      parts: (judged of one head, hyperparams, batch) -> what that loss weighs.
      seen: (judged of one head, hyperparams, batch) -> what a user's own outer objective is
        given; only where the head was made with `in_full`.
      taught: (constant of one head, hyperparams, batch) -> value targets, and advantages as
        the policy gradient has them, [T, B].
      critic_loss: (judged of one head, hyperparams, batch) -> scalar, the critic's part of
        the loss without its weight.
      barrier: policy -> KL(uniform || policy) of each step; None where the loss has none.
      value_distance: (values, targets) -> scalar, half the mean square of their difference.
      put: (what networks say, batch, hyperparams, target, advantage, frozen) -> it as users'
        functions are given it.
    """

    judged: Callable[[Network, Network, Params, Params, Experience], Judged]
    loss: Callable[[Judged, Hyperparams, Experience], jax.Array]
    parts: Callable[[Judged, Hyperparams, Experience], Parts]
    seen: Callable[[Judged, Hyperparams, Experience], terms.Seen]
    taught: Callable[[Constant, Hyperparams, Experience], tuple[jax.Array, jax.Array]]
    critic_loss: Callable[[Judged, Hyperparams, Experience], jax.Array]
    barrier: Callable[[distrax.Distribution], jax.Array | None]
    value_distance: Callable[[jax.Array, jax.Array], jax.Array]
    put: Callable[..., terms.Seen]


def make(
    nets: Networks,
    settings: AgentSettings,
    added: Mapping[str, Own],
    in_full: bool = False,
) -> Head:
    """The head of an agent.

    Args:
      nets: whose outputs are judged.
      settings: of losses.
      added: what extensions add to losses and rewards, by the names of their hyperparameters.
      in_full: whether policies and values of successors are there even if nothing is added.
    """
    distribution = nets.distribution
    returns = jax.vmap(losses.lambda_returns, (1,) * 4 + (None,) * 2, 1)
    off_policy = jax.vmap(losses.leaky_vtrace, (1,) * 6 + (None,) * 4, 1)

    def judged(outputs, value, params, frozen, batch):
        trajectory = batch.trajectory
        observation = nets.see(params, batch.observation)
        outputs_tm1, v_tm1 = outputs(params, observation), value(params, observation)
        policy = distribution(outputs_tm1)
        constant_tm1, constant_t = (
            nets.see(frozen, x) for x in (batch.observation, batch.next_observation)
        )
        frozen_outputs_tm1 = outputs(frozen, constant_tm1)
        frozen_v = value(frozen, constant_tm1), value(frozen, constant_t)
        rho_tm1 = said = still = None
        if settings.off_policy:
            frozen_policy = distribution(frozen_outputs_tm1)
            rho_tm1 = jnp.exp(frozen_policy.log_prob(trajectory.action) - trajectory.log_prob)
        if added or in_full:
            following = nets.see(params, batch.next_observation)
            said = Said(outputs_tm1, outputs(params, following), v_tm1, value(params, following))
            still = Said(frozen_outputs_tm1, outputs(frozen, constant_t), *frozen_v)
        log_prob, entropy = policy.log_prob(trajectory.action), policy.entropy()
        constant = Constant(*frozen_v, rho_tm1, still)
        return Judged(log_prob, entropy, barrier(policy), v_tm1, constant, said)

    def barrier(policy):
        return policies.barrier(policy) if settings.barrier else None

    def targets(constant, hyperparams, batch):
        """Value targets and advantages [T, B] at values of frozen parameters."""
        gamma, lambda_ = hyperparams["gamma"], hyperparams["lambda"]
        v_tm1, v_t = constant.v_tm1, constant.v_t
        trajectory, reward = batch.trajectory, batch.reward
        if added:
            total = terms.reward(added, put(constant.said, batch, hyperparams))
            reward = scaled(batch.scales, total)
        ends = reward, trajectory.discount, trajectory.truncated
        if not settings.off_policy:
            target_tm1 = returns(*ends, v_t, gamma, lambda_)
            return target_tm1, target_tm1 - v_tm1
        alphas = hyperparams["alpha_rho"], hyperparams["alpha_c"]
        return off_policy(*ends, v_tm1, v_t, constant.rho_tm1, gamma, lambda_, *alphas)

    def loss(judged, hyperparams, batch):
        total = parts(judged, hyperparams, batch).weighed(hyperparams)
        if not added:
            return total
        return total + terms.loss(added, seen(judged, hyperparams, batch))

    def parts(judged, hyperparams, batch):
        target_tm1, advantage = taught(judged.constant, hyperparams, batch)
        return Parts(
            losses.policy_gradient_loss(judged.log_prob, advantage),
            jnp.mean(judged.entropy),
            value_distance(judged.v_tm1, target_tm1),
            losses.explained_variance(judged.constant.v_tm1, target_tm1),
            None if judged.barrier is None else jnp.mean(judged.barrier),
        )

    def taught(constant, hyperparams, batch):
        target_tm1, advantage = targets(constant, hyperparams, batch)
        if settings.normalize_advantage:
            known = settings.normalize_rewards  # the size of returns
            advantage = losses.normalize(advantage, _NOISE if known else 1e-4)
        return target_tm1, advantage

    def seen(judged, hyperparams, batch):
        frozen = put(judged.constant.said, batch, hyperparams)
        learned = taught(judged.constant, hyperparams, batch)
        return put(judged.said, batch, hyperparams, *learned, frozen)

    def critic_loss(judged, hyperparams, batch):
        target_tm1, _ = targets(judged.constant, hyperparams, batch)
        return value_distance(judged.v_tm1, target_tm1)

    def put(said: Said, batch: Experience, *others: Any) -> terms.Seen:
        both = distribution(said.outputs_tm1), distribution(said.outputs_t)
        return terms.Seen(*both, said.v_tm1, said.v_t, batch.trajectory, *others)

    def value_distance(value, target):
        return jnp.mean(rlax.l2_loss(value - target))

    return Head(judged, loss, parts, seen, taught, critic_loss, barrier, value_distance, put)
