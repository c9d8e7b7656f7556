"""What an agent learns, as the engine sees it: one structure for all algorithms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from selftuning.agents import actor_critic, q_lambda
from selftuning.configs import extensions
from selftuning.configs.settings import RunSettings
from selftuning.metagrad import matching
from selftuning.metagrad.targets import Loss, Problem

Params = Any

_LARGEST_VECTOR = 2**15  # parameters


class Experience(NamedTuple):
    """A batch of the engine.

    Attributes:
      trajectory: T steps of B environments; None where only the context is asked for.
      context: features [size] of how learning went when it was collected.
    """

    trajectory: Any
    context: jax.Array


class Packing(NamedTuple):
    """How parameters are handed to the engine, and the way back.

    The parameters of a small network are one vector. Updates, records and meta-gradients are
    then a few long loops instead of several short ones for each of a dozen small tensors, whose
    dispatch would dominate on a CPU; those of a large one would have to be copied in and out.

    Attributes:
      pack: parameters by network and layer -> as the engine has them.
      unpack: the inverse.
    """

    pack: Callable[[Params], Any]
    unpack: Callable[[Any], Params]


class InnerAgent(NamedTuple):
    """An agent whose hyperparameters are given; batches are `Experience`.

    Attributes:
      init: key -> parameters, packed.
      packing: of the parameters.
      acting: (parameters by network and layer, hyperparams) -> all that behaviour depends on.
      act: (acting, observation [B, ...], key) -> (action [B, ...], log-probability [B]).
      mode: (acting, observation [B, ...]) -> greedy action [B, ...].
      value: (params, observation [..., *obs]) -> value [...].
      problem: losses and match.
      last_target_loss: of the last update of a target, None for the outer loss.
      change: (params before, params after, batch) -> KL of the new policy from the old one.
    """

    init: Callable[[jax.Array], Params]
    packing: Packing
    acting: Callable[[Params, Mapping[str, jax.Array]], Any]
    act: Callable[[Any, Any, jax.Array], tuple[jax.Array, jax.Array]]
    mode: Callable[[Any, Any], jax.Array]
    value: Callable[[Params, Any], jax.Array]
    problem: Problem
    last_target_loss: Loss | None
    change: Callable[[Params, Params, Experience], jax.Array]


def make(
    observation_space: gym.Space, action_space: gym.Space, settings: RunSettings
) -> InnerAgent:
    """The algorithm of the settings for the spaces of a task."""
    algorithms = {"actor_critic": _actor_critic, "q_lambda": _q_lambda}
    return algorithms[settings.agent.algorithm](observation_space, action_space, settings)


def _actor_critic(
    observation_space: gym.Space, action_space: gym.Space, settings: RunSettings
) -> InnerAgent:
    tuning, added = settings.tuning, extensions.load(settings.extensions)
    outer = settings.outer
    ac = actor_critic.make(observation_space, action_space, settings.agent, outer, added)
    if added:
        _try_once(ac, observation_space, action_space, outer)
    packing = _packing(ac.init)
    unpack = packing.unpack
    # Values carry most of what is to be known of gamma (docs/tuning.md): they weigh more in
    # the judgement of a student than in the steps of its target.
    value_weight = outer["critic"] * tuning.value_weight
    judging = outer | ({"critic": value_weight} if tuning.method == "mg" else {})
    others = (name for name, own in added.items() if own.kind == "loss")
    policy_alone = outer | dict.fromkeys(("critic", "entropy", *others), 0.0)
    divergence = {"kl": matching.kl}.get(tuning.matching, matching.reverse_kl)
    weights = {
        "policy": float(tuning.matching != "none"),
        "value": value_weight,
        "parameters": tuning.parameter_weight,
    }

    def loss_at(values):
        def loss(params, frozen, batch):
            return ac.outer_loss(unpack(params), unpack(frozen), values, batch.trajectory)

        return loss

    def inner_loss(params, frozen, hyperparams, batch):
        return ac.loss(unpack(params), unpack(frozen), hyperparams, batch.trajectory)

    def match(target, params, hyperparams, batch):
        parts = ac.distances(unpack(target), unpack(params), batch.trajectory, divergence)
        parts["parameters"] = matching.squared(target, params)
        return matching.weighted(weights, parts)

    def change(before, after, batch):
        return ac.distances(unpack(before), unpack(after), batch.trajectory, matching.reverse_kl)[
            "policy"
        ]

    return InnerAgent(
        init=lambda key: packing.pack(ac.init(key)),
        packing=packing,
        acting=lambda parameters, hyperparams: parameters,
        act=ac.act,
        mode=ac.mode,
        value=lambda params, observation: ac.value(unpack(params), observation),
        problem=Problem(inner_loss, loss_at(judging), match),
        last_target_loss=loss_at(policy_alone) if tuning.target_last == "policy" else None,
        change=change,
    )


def _try_once(
    ac: actor_critic.ActorCritic,
    observation_space: gym.Space,
    action_space: gym.Space,
    hyperparams: Mapping[str, float],
) -> None:
    """Traces the loss, so that errors in a user's own terms come before anything is written."""
    params = jax.eval_shape(ac.init, jax.random.PRNGKey(0))
    trajectory = actor_critic.empty_trajectory(observation_space, action_space, 3, 2)
    traced = jax.tree.map(jnp.asarray, dict(hyperparams))
    jax.eval_shape(ac.loss, params, params, traced, trajectory)


def _q_lambda(
    observation_space: gym.Space, action_space: gym.Space, settings: RunSettings
) -> InnerAgent:
    ql = q_lambda.make(observation_space, action_space, settings.agent)
    packing = _packing(ql.init)
    unpack = packing.unpack

    def inner_loss(params, frozen, hyperparams, batch):
        return ql.loss(unpack(params), unpack(frozen), hyperparams, batch.trajectory)

    def match(target, params, hyperparams, batch):
        epsilon = hyperparams["epsilon"]
        return ql.match(unpack(target), unpack(params), epsilon, batch.trajectory)

    def change(before, after, batch):
        raise NotImplementedError("Q(lambda) does not tune its learning rate")

    return InnerAgent(
        init=lambda key: packing.pack(ql.init(key)),
        packing=packing,
        acting=lambda parameters, hyperparams: (parameters, hyperparams["epsilon"]),
        act=ql.act,
        mode=ql.mode,
        value=lambda params, observation: ql.value(unpack(params), observation),
        problem=Problem(
            inner_loss,
            lambda params, frozen, batch: inner_loss(params, frozen, settings.outer, batch),
            match,
        ),
        last_target_loss=None,
        change=change,
    )


def _packing(init: Callable[[jax.Array], Params]) -> Packing:
    example = jax.eval_shape(init, jax.random.PRNGKey(0))
    if sum(math.prod(x.shape) for x in jax.tree.leaves(example)) > _LARGEST_VECTOR:
        return Packing(lambda params: params, lambda params: params)
    unravel = ravel_pytree(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example))[1]
    return Packing(lambda params: ravel_pytree(params)[0], unravel)
