"""What an agent learns, as the engine sees it: one structure for all algorithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import jax
from jax.flatten_util import ravel_pytree

from agents import actor_critic, q_lambda
from configs.settings import IN_LOSS, RunSettings
from metagrad import matching
from metagrad.targets import Loss, Problem

Params = Any


class Experience(NamedTuple):
    """A batch of the engine.

    Attributes:
      trajectory: T steps of B environments; None where only the context is asked for.
      context: features [size] of how learning went when it was collected.
    """

    trajectory: Any
    context: jax.Array


class InnerAgent(NamedTuple):
    """An agent whose hyperparameters are given; batches are `Experience`.

    Parameters are one vector [P]. Updates, records and meta-gradients are then a few long loops
    instead of several short ones for each of a dozen small tensors, whose dispatch would
    dominate on a CPU.

    Attributes:
      init: key -> parameters [P].
      acting: (params [P], hyperparams) -> all that behaviour depends on.
      act: (acting, observation [B, ...], key) -> (action [B, ...], log-probability [B]).
      mode: (acting, observation [B, ...]) -> greedy action [B, ...].
      value: (params [P], observation [..., *obs]) -> value [...].
      problem: losses and match.
      last_target_loss: of the last update of a target, None for the outer loss.
      change: (params before, params after, batch) -> KL of the new policy from the old one.
    """

    init: Callable[[jax.Array], jax.Array]
    acting: Callable[[jax.Array, Mapping[str, jax.Array]], Any]
    act: Callable[[Any, Any, jax.Array], tuple[jax.Array, jax.Array]]
    mode: Callable[[Any, Any], jax.Array]
    value: Callable[[jax.Array, Any], jax.Array]
    problem: Problem
    last_target_loss: Loss | None
    change: Callable[[jax.Array, jax.Array, Experience], jax.Array]


def make(
    observation_space: gym.Space, action_space: gym.Space, settings: RunSettings
) -> InnerAgent:
    """The algorithm of the settings for the spaces of a task."""
    algorithms = {"actor_critic": _actor_critic, "q_lambda": _q_lambda}
    return algorithms[settings.agent.algorithm](observation_space, action_space, settings)


def _actor_critic(
    observation_space: gym.Space, action_space: gym.Space, settings: RunSettings
) -> InnerAgent:
    tuning = settings.tuning
    outer = {name: settings.hyperparameters[name].outer for name in IN_LOSS}
    ac = actor_critic.make(observation_space, action_space, settings.agent, outer)
    unravel = _unravel(ac.init)
    # Values carry most of what is to be known of gamma (docs/tuning.md): they weigh more in
    # the judgement of a student than in the steps of its target.
    value_weight = outer["critic"] * tuning.value_weight
    judging = outer | ({"critic": value_weight} if tuning.method == "mg" else {})
    policy_alone = outer | {"critic": 0.0, "entropy": 0.0}
    divergence = {"kl": matching.kl}.get(tuning.matching, matching.reverse_kl)
    weights = {
        "policy": float(tuning.matching != "none"),
        "value": value_weight,
        "parameters": tuning.parameter_weight,
    }

    def loss_at(values):
        def loss(params, frozen, batch):
            return ac.outer_loss(unravel(params), unravel(frozen), values, batch.trajectory)

        return loss

    def inner_loss(params, frozen, hyperparams, batch):
        return ac.loss(unravel(params), unravel(frozen), hyperparams, batch.trajectory)

    def match(target, params, hyperparams, batch):
        parts = ac.distances(unravel(target), unravel(params), batch.trajectory, divergence)
        parts["parameters"] = matching.squared(target, params)
        return matching.weighted(weights, parts)

    def change(before, after, batch):
        return ac.distances(unravel(before), unravel(after), batch.trajectory, matching.reverse_kl)[
            "policy"
        ]

    return InnerAgent(
        init=lambda key: ravel_pytree(ac.init(key))[0],
        acting=lambda params, hyperparams: unravel(params),
        act=ac.act,
        mode=ac.mode,
        value=lambda params, observation: ac.value(unravel(params), observation),
        problem=Problem(inner_loss, loss_at(judging), match),
        last_target_loss=loss_at(policy_alone) if tuning.target_last == "policy" else None,
        change=change,
    )


def _q_lambda(
    observation_space: gym.Space, action_space: gym.Space, settings: RunSettings
) -> InnerAgent:
    ql = q_lambda.make(observation_space, action_space, settings.agent)
    unravel = _unravel(ql.init)
    outer = {name: settings.hyperparameters[name].outer for name in ("gamma", "lambda")}

    def inner_loss(params, frozen, hyperparams, batch):
        return ql.loss(unravel(params), unravel(frozen), hyperparams, batch.trajectory)

    def match(target, params, hyperparams, batch):
        epsilon = hyperparams["epsilon"]
        return ql.match(unravel(target), unravel(params), epsilon, batch.trajectory)

    def change(before, after, batch):
        raise NotImplementedError("Q(lambda) does not tune its learning rate")

    return InnerAgent(
        init=lambda key: ravel_pytree(ql.init(key))[0],
        acting=lambda params, hyperparams: (unravel(params), hyperparams["epsilon"]),
        act=ql.act,
        mode=ql.mode,
        value=lambda params, observation: ql.value(unravel(params), observation),
        problem=Problem(
            inner_loss,
            lambda params, frozen, batch: inner_loss(params, frozen, outer, batch),
            match,
        ),
        last_target_loss=None,
        change=change,
    )


def _unravel(init: Callable[[jax.Array], Params]) -> Callable[[jax.Array], Params]:
    """The way back from the vector of parameters."""
    example = jax.eval_shape(init, jax.random.PRNGKey(0))
    return ravel_pytree(jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), example))[1]
