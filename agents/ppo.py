"""Proximal policy optimisation (Schulman et al. 2017): the actor-critic, several updates a rollout.

Each rollout is learned from in epochs over shuffled minibatches, with the clipped surrogate in
place of the policy gradient. Networks see a minibatch. Targets and advantages are those of the
whole rollout, from values at the parameters that it starts from. They are computed again in every
loss: a short scan over numbers, through which meta-gradients find gamma and lambda.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp

from selftuning.agents import actor_critic, head, losses, networks, reuse
from selftuning.agents.algorithm import Algorithm
from selftuning.configs import extensions
from selftuning.configs.settings import RunSettings


class Minibatch(NamedTuple):
    """Rows of a rollout, and of the whole of it what advantages are made of.

    Attributes:
      observation: [*rows, *obs].
      action: [*rows, *action].
      log_prob: [*rows], of the behaviour policy.
      ended: [*rows] bool, whether the episode ended at this step.
      memory: before the first step of the rows, leaves [1, B, ...]; () for agents without one.
      row: [*rows] int32, t * B + b for step t of environment b.
      reward: [T, B]; so are all that follow.
      discount: 0 on termination, 1 elsewhere.
      truncated: bool.
      v_tm1: values of the observations acted on, at the parameters that the rollout starts from.
      v_t: likewise, of the successor observations.
    """

    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    ended: jax.Array
    memory: Any
    row: jax.Array
    reward: jax.Array
    discount: jax.Array
    truncated: jax.Array
    v_tm1: jax.Array
    v_t: jax.Array


def make(observation_space: gym.Space, action_space: gym.Space, settings: RunSettings) -> Algorithm:
    """Builds PPO for the spaces of a task: networks, behaviour and match of the actor-critic.

    The inner loss reads gamma, lambda, policy, critic, entropy and clip. The outer loss is the
    same at outer values, on the whole of the rollout that follows the student: at the student
    its gradient is that of the actor-critic, and further steps of a target are clipped.
    """
    spaces, agent, tuning = (observation_space, action_space), settings.agent, settings.tuning
    base = actor_critic.make(*spaces, settings)
    torso = extensions.parts(settings.extensions).get("torso")
    nets = networks.make(*spaces, agent, torso)
    one = head.make(nets.distribution, agent, {})
    unpack = base.packing.unpack

    def loss(params, hyperparams, batch):
        rows = batch.trajectory
        targets, advantages = one.taught(head.constant(rows.v_tm1, rows.v_t), hyperparams, batch)
        target, advantage = (x.reshape(-1)[rows.row] for x in (targets, advantages))
        params = unpack(params)
        policy = nets.policy(params, batch.observation)
        ratio = jnp.exp(policy.log_prob(rows.action) - rows.log_prob)
        surrogate = losses.clipped_surrogate_loss(ratio, advantage, hyperparams["clip"])
        value = nets.value(params, batch.observation)
        return (
            hyperparams["policy"] * surrogate
            - hyperparams["entropy"] * jnp.mean(policy.entropy())
            + hyperparams["critic"] * one.value_distance(value, target)
        )

    def at(values):
        return lambda params, frozen, batch: loss(params, values, batch)

    def prepare(params, experience):
        made, size = experience.trajectory, experience.trajectory.reward.shape
        ends = made.reward, made.discount, made.truncated
        v_tm1 = base.value(params, experience.observation)
        v_t = base.value(params, experience.next_observation)
        row = jnp.arange(size[0] * size[1], dtype=jnp.int32).reshape(size)
        acted = made.observation, made.action, made.log_prob, made.ended, made.memory
        return experience._replace(trajectory=Minibatch(*acted, row, *ends, v_tm1, v_t))

    def take(whole, row):
        made = whole.trajectory
        each = "observation", "action", "log_prob", "ended"
        rows = {name: getattr(made, name) for name in each}
        rows = {name: x.reshape(-1, *x.shape[2:])[row] for name, x in rows.items()}
        # Only sequences have a memory: rows [T, b], with all steps of an environment.
        memory = jax.tree.map(lambda x: x[:, row[0]], made.memory)
        return whole._replace(trajectory=made._replace(**rows, memory=memory, row=row))

    def order(key):
        length, num_envs = agent.rollout_length, settings.num_envs
        together = 1 if agent.core == "none" else length
        shuffled = reuse.shuffled(
            key, length * num_envs // together, agent.epochs, agent.minibatches
        )
        if together == 1:
            return shuffled
        # Environments [U, b], with all their steps, in place of single rows.
        return jnp.arange(length)[:, None] * num_envs + shuffled[:, None]

    judging, policy_alone = actor_critic.judging(settings), actor_critic.policy_alone(settings)
    return base._replace(
        problem=base.problem._replace(
            inner_loss=lambda params, frozen, hyperparams, batch: loss(params, hyperparams, batch),
            outer_loss=at(judging),
        ),
        last_target_loss=at(policy_alone) if tuning.target_last == "policy" else None,
        reuse=reuse.Reuse(agent.epochs * agent.minibatches, prepare, order, take),
    )
