"""Proximal policy optimisation (Schulman et al. 2017): the actor-critic, several updates a rollout.

Each rollout is learned from in epochs over shuffled minibatches, with the clipped surrogate in
place of the policy gradient. Networks see a minibatch. Targets and advantages are those of the
whole rollout, from values at the parameters that it starts from. They are computed again in every
loss: a short scan over numbers, through which meta-gradients find gamma and lambda.

Experience of another policy is weighted by V-trace. The surrogate is then decoupled from it (Hilton
et al. 2021): it is clipped around the policy that the updates start from.
"""

from __future__ import annotations

from typing import NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp

from selftuning.agents import actor_critic, head, losses, networks, reuse, terms
from selftuning.agents.algorithm import Algorithm
from selftuning.agents.trajectory import Experience, Trajectory
from selftuning.configs import extensions
from selftuning.configs.settings import RunSettings


class Minibatch(NamedTuple):
    """Rows of a rollout, and of the whole of it what targets and advantages are made of.

    Attributes:
      rows: steps of the rollout, leaves [*rows, ...]; of a recurrent agent sequences [T, b].
      row: which they are, [*rows] int32: t * B + b for step t of environment b.
      whole: the rollout [T, B]; () in place of what targets do not read.
      start: of the rollout, at the parameters that it starts from.
    """

    rows: Trajectory
    row: jax.Array
    whole: Trajectory
    start: head.Constant


def make(observation_space: gym.Space, action_space: gym.Space, settings: RunSettings) -> Algorithm:
    """Builds PPO for the spaces of a task: networks, behaviour and match of the actor-critic.

    The inner loss reads gamma, lambda, policy, critic, entropy and clip, the barrier where there is
    one, and what extensions add.
    The outer loss is the same at outer values, on the whole of the rollout that follows the
    student: at the student its gradient is that of the actor-critic, and further steps of a target
    are clipped. A user's own outer objective takes its place, in full.
    """
    spaces, agent, tuning = (observation_space, action_space), settings.agent, settings.tuning
    added, own = extensions.load(settings.extensions), extensions.parts(settings.extensions)
    own_objective = own.get("outer_objective")
    in_full = bool(added) or own_objective is not None
    base = actor_critic.make(*spaces, settings)
    nets = networks.make(*spaces, agent, own.get("torso"))
    one = head.make(nets, agent, added, in_full)
    unpack = base.packing.unpack

    def learned(hyperparams, batch):
        """Targets and advantages of the rows, which are those of the rollout."""
        made = batch.trajectory
        whole = batch._replace(trajectory=made.whole)
        return tuple(x.reshape(-1)[made.row] for x in one.taught(made.start, hyperparams, whole))

    def said(params, batch):
        """All that networks say of rows, for what users add."""
        ends = [nets.see(params, x) for x in (batch.observation, batch.next_observation)]
        outputs = (nets.outputs(params, x)[0] for x in ends)
        return head.Said(*outputs, *(nets.value(params, x) for x in ends))

    def seen(params, hyperparams, batch, target, advantage):
        """What users' functions are given of rows."""
        made, batch = batch.trajectory, _rows(batch)
        constant = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[made.row], made.start.said)
        frozen = one.put(constant, batch, hyperparams)
        live = said(params, batch)
        return one.put(live, batch, hyperparams, target, advantage, frozen)

    def parts(params, hyperparams, batch, target, advantage):
        """What the loss weighs, of rows."""
        rows = _rows(batch)
        seen_by_both = nets.see(params, rows.observation)
        policy = nets.policy(params, seen_by_both)
        made = rows.trajectory
        ratio = jnp.exp(policy.log_prob(made.action) - made.log_prob)
        v_tm1 = batch.trajectory.start.v_tm1.reshape(-1)[batch.trajectory.row]
        barred = one.barrier(policy)
        return head.Parts(
            losses.clipped_surrogate_loss(ratio, advantage, hyperparams["clip"]),
            jnp.mean(policy.entropy()),
            one.value_distance(nets.value(params, seen_by_both), target),
            losses.explained_variance(v_tm1, target),
            None if barred is None else jnp.mean(barred),
        )

    def loss(params, hyperparams, batch):
        params = unpack(params)
        target, advantage = learned(hyperparams, batch)
        made = parts(params, hyperparams, batch, target, advantage)
        total = made.weighed(hyperparams)
        if not added:
            return total
        return total + terms.loss(added, seen(params, hyperparams, batch, target, advantage))

    def at(values):
        return lambda params, frozen, batch: loss(params, values, batch)

    def by(objective):
        """What a user's own objective says."""

        def loss(params, frozen, batch):
            outer = settings.outer
            given = seen(unpack(params), outer, batch, *learned(outer, batch))
            return actor_critic.scalar(objective, given)

        return loss

    def prepare(params, experience):
        made, size = experience.trajectory, experience.trajectory.reward.shape
        v_tm1 = base.value(params, experience.observation)
        v_t = base.value(params, experience.next_observation)
        full = said(unpack(params), experience) if in_full else None
        rho_tm1 = None
        if agent.off_policy:
            # Ratios are those to the policy that learning starts from; how probable that makes what
            # another one did is in the weights of advantages.
            policy = nets.policy(unpack(params), experience.observation)
            log_prob = policy.log_prob(made.action)
            rho_tm1 = jnp.exp(log_prob - made.log_prob)
            made = made._replace(log_prob=log_prob)
        start = head.Constant(v_tm1, v_t, rho_tm1, full)
        row = jnp.arange(size[0] * size[1], dtype=jnp.int32).reshape(size)
        rows = made if in_full else made._replace(next_observation=())
        # What targets do not read is left out of every record.
        kept = "reward", "discount", "truncated"
        unread = {name: () for name in Trajectory._fields if name not in kept}
        whole = made if added else made._replace(**unread)
        return experience._replace(trajectory=Minibatch(rows, row, whole, start))

    def take(whole, row):
        made = whole.trajectory
        # Only sequences have a memory: rows [T, b], with all steps of an environment.
        memory = jax.tree.map(lambda x: x[:, row[0]], made.rows.memory)
        rows = made.rows._replace(memory=())
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[row], rows)
        made = made._replace(rows=rows._replace(memory=memory), row=row)
        return whole._replace(trajectory=made)

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

    def change(before, after, batch):
        assert base.change is not None
        return base.change(before, after, _rows(batch))

    def metrics(start, before, after, hyperparams, batch):
        made = parts(unpack(before), hyperparams, batch, *learned(hyperparams, batch))
        return made.named() | {"kl": change(start, after, batch)}

    judging, policy_alone = actor_critic.judging(settings), actor_critic.policy_alone(settings)
    return base._replace(
        problem=base.problem._replace(
            inner_loss=lambda params, frozen, hyperparams, batch: loss(params, hyperparams, batch),
            outer_loss=by(own_objective) if own_objective else at(judging),
            match=lambda target, params, hyperparams, batch: base.problem.match(
                target, params, hyperparams, _rows(batch)
            ),
        ),
        last_target_loss=at(policy_alone) if tuning.target_last == "policy" else None,
        change=change,
        metrics=metrics,
        reuse=reuse.Reuse(agent.epochs * agent.minibatches, prepare, order, take),
    )


def _rows(batch: Experience) -> Experience:
    return batch._replace(trajectory=batch.trajectory.rows)
