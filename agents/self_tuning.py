"""The agent that users run: an actor-critic that tunes its own hyperparameters.

It is `actor_critic` (what is learned) and `metagrad.core` (how learning is learned), and
between them a short history of past updates. K rollouts that the student is made from and
L rollouts that it is judged by slide along one stream of experience: every rollout is
trained on once, serves as validation of the updates before it, and no environment step is
spent on tuning alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import optax

from agents import actor_critic
from agents.actor_critic import Trajectory
from configs.settings import IN_LOSS, InnerOptimizer, RunSettings, TuningSettings
from metagrad import constraints, core, hints, matching, online, targets, update_rules
from metagrad import hyperparams as hp
from metagrad.trust_region import LEARNING_RATE, TrustRegion

Params = Any

BIJECTORS = {
    "gamma": hp.UNIT_INTERVAL,
    "lambda": hp.UNIT_INTERVAL,
    "entropy": hp.POSITIVE,
    "critic": hp.POSITIVE,
    "learning_rate": hp.POSITIVE,
    "momentum": hp.UNIT_INTERVAL,
    "hint_weight": hp.POSITIVE,
}
INNER_OPTIMIZERS: dict[InnerOptimizer, Callable[[], update_rules.UpdateRule]] = {
    "sgd": update_rules.sgd,
    "momentum": update_rules.momentum,
    "adagrad": update_rules.adagrad,
    "rms": update_rules.rms,
    "adam": update_rules.adam,
    "accelerated": update_rules.accelerated,
}


class AgentState(NamedTuple):
    """Everything that learning changes.

    Attributes:
      learner: parameters, optimisers and hyperparameters.
      history: updates before those of the next period that a window of K + L updates
        reaches back to, leaves [max(K + L - period, 0), ...].
      updates: number of updates of the parameters so far, int32.
    """

    learner: core.LearnerState
    history: core.Step
    updates: jax.Array


class SelfTuningAgent(NamedTuple):
    """Pure functions, all of them safe to jit and to vmap over seeds and starts.

    Attributes:
      init: (key, start values or None for those of the settings) -> AgentState.
      act: (params, observation [B, ...], key) -> (action [B, ...], log-probability [B]).
      mode: (params, observation [B, ...]) -> greedy action [B, ...].
      inner_step: (state, trajectory [T, B]) -> (state, step).
      meta_step: (state, steps [period, ...]) -> (state, diagnostics), called once
        every `period` inner steps with the steps they returned.
      params: state -> parameters.
      hyperparameters: state -> values by name.
    """

    init: Callable[..., AgentState]
    act: Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    mode: Callable[[Params, jax.Array], jax.Array]
    inner_step: Callable[[AgentState, Trajectory], tuple[AgentState, core.Step]]
    meta_step: Callable[[AgentState, core.Step], tuple[AgentState, dict[str, jax.Array]]]
    params: Callable[[AgentState], Params]
    hyperparameters: Callable[[AgentState], dict[str, jax.Array]]


def space(settings: RunSettings) -> dict[str, hp.Hyperparameter]:
    """The hyperparameters of the agent, as the engine sees them."""
    tuning_on = settings.tuning.method != "none"
    return {
        name: hp.Hyperparameter(BIJECTORS[name], spec.low, spec.high, spec.tuned and tuning_on)
        for name, spec in settings.in_use.items()
    }


def learner(ac: actor_critic.ActorCritic, settings: RunSettings) -> core.MetaLearner:
    """The engine on the actor-critic's problem."""
    tuning = settings.tuning
    outer = {name: jnp.asarray(settings.hyperparameters[name].outer, float) for name in IN_LOSS}
    # Values carry most of what is to be known of gamma (docs/tuning.md): they weigh more in
    # the judgement of a student than in the steps of its target.
    value_weight = outer["critic"] * tuning.value_weight
    if tuning.method == "mg":
        outer["critic"] = value_weight
    divergence = {"kl": matching.kl, "reverse_kl": matching.reverse_kl}[tuning.matching]
    problem = targets.Problem(
        inner_loss=ac.loss,
        outer_loss=lambda params, frozen, batch: ac.loss(params, frozen, outer, batch),
        match=lambda target, params, batch: ac.match(
            target, params, batch, divergence, value_weight
        ),
    )
    rule = INNER_OPTIMIZERS[settings.agent.inner_optimizer]()
    objective = {
        "none": targets.meta_gradient,
        "mg": targets.meta_gradient,
        "bmg": lambda: targets.bootstrapped(tuning.target_steps),
    }[tuning.method]()
    tuned = {name for name, spec in space(settings).items() if spec.tuned}

    def policy_change(before, after, trajectory):
        old, new = (ac.policy(params, trajectory.observation) for params in (before, after))
        return matching.reverse_kl(old, new)

    region = TrustRegion(policy_change, tuning.trust_region, tuning.trust_region_cut)
    return core.meta_learner(
        problem,
        update_rules.clip_by_global_norm(rule, settings.agent.max_grad_norm),
        space(settings),
        objective,
        meta_optimizer(tuning, space(settings)),
        region if LEARNING_RATE in tuned else None,
    )


def meta_optimizer(tuning: TuningSettings, space: hp.Space) -> optax.GradientTransformation:
    """What moves the raw hyperparameters along their meta-gradients.

    The online learners see meta-gradients divided by their root mean square, as Adam's are:
    those of different hyperparameters and tasks differ by orders of magnitude.
    """
    if tuning.optimizer == "adam":
        return optax.adam(tuning.learning_rate)
    region = constraints.Constraint(lambda raw: hp.project(space, raw), separable=True)
    learners: dict[str, Callable[..., optax.GradientTransformation]] = {
        "ogd": online.ogd,
        "ao_ftrl": online.ao_ftrl,
        "omega": online.omega,
    }
    learner = learners[tuning.optimizer](tuning.learning_rate, constraint=region)
    if tuning.optimizer == "ao_ftrl":
        learner = hints.with_hint(learner, hints.exponential_average())
    return optax.chain(optax.scale_by_adam(b1=0.0), learner)


def make(
    observation_space: gym.Space, action_space: gym.Space, settings: RunSettings
) -> SelfTuningAgent:
    """Builds the agent for the spaces of a task."""
    spaces = observation_space, action_space
    ac = actor_critic.make(*spaces, settings.agent)
    flat, unravel = actor_critic.flatten(ac)
    engine = learner(flat, settings)
    tuning = settings.tuning
    tuned = any(spec.tuned for spec in space(settings).values())
    # The outer loss of mg is an on-policy estimate: only the first rollout after the student
    # was collected by it. A target of bmg is a path, and uses one rollout after the other.
    judges = tuning.target_steps if tuning.method == "bmg" else 1
    window = tuning.inner_steps + judges
    reach = max(window - tuning.period, 0) if tuned else 0
    start = {name: jnp.asarray(spec.start, float) for name, spec in settings.in_use.items()}

    def init(key, start_values=None):
        learner_state = engine.init(flat.init(key), start if start_values is None else start_values)
        step = core.Step(
            learner_state.inner,
            learner_state.values.raw,
            learner_state.inner.params,
            actor_critic.empty_trajectory(
                *spaces, settings.agent.rollout_length, settings.num_envs
            ),
            jnp.ones(()),
        )
        history = jax.tree.map(lambda x: jnp.zeros((reach, *x.shape), x.dtype), step)
        return AgentState(learner_state, history, jnp.zeros((), jnp.int32))

    def inner_step(state, trajectory):
        learner_state, step = engine.inner_step(state.learner, trajectory)
        return AgentState(learner_state, state.history, state.updates + 1), step

    def meta_step(state, new):
        if not tuned:
            return state, {}
        steps = jax.tree.map(lambda h, n: jnp.concatenate([h, n])[-window:], state.history, new)
        student = jax.tree.map(lambda x: x[: tuning.inner_steps], steps)
        end = jax.tree.map(lambda x: x[tuning.inner_steps], steps.before)
        validation = jax.tree.map(lambda x: x[tuning.inner_steps :], steps.batch)
        moved, info = engine.meta_step(state.learner, student, end, validation)
        # Until the history is full there is nothing to judge.
        full = state.updates >= window
        moved = jax.tree.map(lambda m, old: jnp.where(full, m, old), moved[1:], state.learner[1:])
        history = jax.tree.map(lambda x: x[window - reach :], steps)
        learner_state = core.LearnerState(state.learner.inner, *moved)
        return AgentState(learner_state, history, state.updates), info

    return SelfTuningAgent(
        init,
        ac.act,
        ac.mode,
        inner_step,
        meta_step,
        lambda state: unravel(state.learner.inner.params),
        lambda state: engine.hyperparams(state.learner),
    )
