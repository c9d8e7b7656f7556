"""An advantage actor-critic of several heads, of which the first one acts."""

from __future__ import annotations

import gymnasium as gym
import jax
import jax.numpy as jnp

from selftuning.agents import head, networks, policies, terms
from selftuning.agents.algorithm import Algorithm, packing_of
from selftuning.configs import extensions
from selftuning.configs.errors import not_allowed
from selftuning.configs.own_parts import Part
from selftuning.configs.settings import RunSettings
from selftuning.metagrad import matching
from selftuning.metagrad.targets import Problem


def make(observation_space: gym.Space, action_space: gym.Space, settings: RunSettings) -> Algorithm:
    """Builds the actor-critic for the spaces of a task.

    The inner loss is the sum over heads, each with its own hyperparameters (scalars, or [H]), and
    of an outer critic's. It reads gamma, lambda, policy, critic, entropy, off policy alpha_rho and
    alpha_c, the barrier where there is one, and what extensions add. The outer loss is that of the
    first head at outer values; its critic is the outer critic if there is one. A student is matched
    with its target in the policy and the values of the first head.

    A user's own outer objective takes the place of the outer loss, in full.

    Raises:
      ConfigError: if there is to be a barrier for continuous actions.
    """
    if settings.agent.barrier and not policies.has_barrier(action_space):
        allowed = f"none | l2_init for continuous actions, {action_space}"
        raise not_allowed("agent.regularize", settings.agent.regularize, allowed)
    tuning, added = settings.tuning, extensions.load(settings.extensions)
    outer = settings.outer
    own = extensions.parts(settings.extensions)
    own_objective = own.get("outer_objective")
    nets = networks.make(observation_space, action_space, settings.agent, own.get("torso"))
    one = head.make(nets, settings.agent, added, own_objective is not None)
    packing = packing_of(nets.init)
    unpack = packing.unpack
    num_heads, has_outer_critic = settings.agent.heads, settings.agent.outer_critic

    def inner_loss(params, frozen, hyperparams, batch):
        params, frozen = unpack(params), unpack(frozen)
        heads = one.judged(nets.outputs, nets.values, params, frozen, batch)
        in_loss = {name: hyperparams[name] for name in settings.in_loss}
        if num_heads == 1:
            total = one.loss(jax.tree.map(lambda x: x[0], heads), in_loss, batch)
        else:
            each = {name: jnp.broadcast_to(x, num_heads) for name, x in in_loss.items()}
            total = jnp.sum(jax.vmap(one.loss, (0, 0, None))(heads, each, batch))
        if not has_outer_critic:
            return total
        judged = first_head(params, frozen, batch)
        return total + outer["critic"] * one.critic_loss(judged, outer, batch)

    def first_head(params, frozen, batch):
        """As the outer objective sees it, with the outer critic if there is one."""
        value = nets.outer_value if has_outer_critic else nets.value

        def outputs(params, observation):
            return nets.outputs(params, observation)[0]

        return one.judged(outputs, value, params, frozen, batch)

    def loss_at(values):
        """The loss of the first head alone, with hyperparameters that are numbers."""

        def loss(params, frozen, batch):
            judged = first_head(unpack(params), unpack(frozen), batch)
            return one.loss(judged, values, batch)

        return loss

    def loss_by(objective):
        """What a user's own objective says of the first head."""

        def loss(params, frozen, batch):
            judged = first_head(unpack(params), unpack(frozen), batch)
            return scalar(objective, one.seen(judged, outer, batch))

        return loss

    def compared(target, params, batch, divergence):
        """How far policy and values of the first head are from a target's."""
        target = jax.lax.stop_gradient(target)
        seen = ((p, nets.see(p, batch.observation)) for p in (target, params))
        there, here = ((nets.policy(p, x), nets.value(p, x)) for p, x in seen)
        return {
            "policy": divergence(there[0], here[0]),
            "value": one.value_distance(here[1], there[1]),
        }

    divergence = {"kl": matching.kl}.get(tuning.matching, matching.reverse_kl)
    weights = {
        "policy": float(tuning.matching != "none"),
        "value": outer["critic"] * tuning.value_weight if settings.matches_values else 0.0,
        "parameters": tuning.parameter_weight,
    }

    def match(target, params, hyperparams, batch):
        parts = compared(unpack(target), unpack(params), batch, divergence)
        parts["parameters"] = matching.squared(target, params)
        return matching.weighted(weights, parts)

    def change(before, after, batch):
        there, here = unpack(before), unpack(after)
        return compared(there, here, batch, matching.reverse_kl)["policy"]

    def metrics(start, before, after, hyperparams, batch):
        params = unpack(before)
        heads = one.judged(nets.outputs, nets.values, params, params, batch)
        first = jax.tree.map(lambda x: x[0], heads)
        used = {name: jnp.ravel(hyperparams[name])[0] for name in settings.in_loss}
        return one.parts(first, used, batch).named() | {"kl": change(start, after, batch)}

    outer_loss = loss_by(own_objective) if own_objective else loss_at(judging(settings))
    policy_last = tuning.target_last == "policy"
    return Algorithm(
        init=lambda key: packing.pack(nets.init(key)),
        packing=packing,
        acting=lambda parameters, hyperparams: parameters,
        act=lambda params, observation, key: nets.policy(params, observation).sample_and_log_prob(
            seed=key
        ),
        mode=lambda params, observation: nets.to_task(nets.policy(params, observation).mode()),
        value=lambda params, observation: nets.value(unpack(params), observation),
        problem=Problem(inner_loss, outer_loss, match),
        last_target_loss=loss_at(policy_alone(settings)) if policy_last else None,
        change=change,
        metrics=metrics,
        to_task=nets.to_task,
        memory=nets.memory,
    )


def judging(settings: RunSettings) -> dict[str, float]:
    """Values with which the outer loss judges a student, or moves its target."""
    outer, tuning = settings.outer, settings.tuning
    if tuning.method != "mg":
        return outer
    # Values carry most of what is to be known of gamma (docs/tuning.md): they weigh more in
    # the judgement of a student than in the steps of its target.
    return outer | {"critic": outer["critic"] * tuning.value_weight}


def policy_alone(settings: RunSettings) -> dict[str, float]:
    """Values with which the outer loss is the policy gradient alone."""
    added = extensions.load(settings.extensions).items()
    others = (name for name, own in added if own.kind == "loss")
    return settings.outer | dict.fromkeys(("critic", "entropy", "barrier", *others), 0.0)


def scalar(objective: Part, seen: terms.Seen) -> jax.Array:
    """What a user's own outer objective says; raises ConfigError if that is no scalar."""
    value = objective(seen, convert=jnp.asarray)
    if value.shape != ():
        name = f"extensions: outer_objective {objective.name}"
        raise not_allowed(name, f"shape {value.shape}", "a scalar, such as a mean")
    return value
