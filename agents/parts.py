"""The parts of the engine that settings choose by name, and the engine that they make up."""

from __future__ import annotations

import math
from collections.abc import Callable

import gymnasium as gym
import jax.numpy as jnp
import optax

from selftuning.agents import actor_critic, contexts, q_lambda, scales
from selftuning.agents.algorithm import Algorithm
from selftuning.configs import extensions
from selftuning.configs.hyperparameters import Algorithm as AlgorithmName
from selftuning.configs.settings import InnerOptimizer, RunSettings, TuningSettings
from selftuning.metagrad import (
    constraints,
    core,
    differentiation,
    hints,
    meta_network,
    online,
    targets,
    update_rules,
)
from selftuning.metagrad import hyperparams as hp
from selftuning.metagrad.trust_region import LEARNING_RATE, TrustRegion

ALGORITHMS: dict[AlgorithmName, Callable[[gym.Space, gym.Space, RunSettings], Algorithm]] = {
    "actor_critic": actor_critic.make,
    "q_lambda": q_lambda.make,
}
INNER_OPTIMIZERS: dict[InnerOptimizer, Callable[[], update_rules.UpdateRule]] = {
    "sgd": update_rules.sgd,
    "momentum": update_rules.momentum,
    "adagrad": update_rules.adagrad,
    "rms": update_rules.rms,
    "adam": update_rules.adam,
    "accelerated": update_rules.accelerated,
}
# Meta-optimisers other than Adam.
ONLINE_LEARNERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "ogd": online.ogd,
    "ao_ftrl": online.ao_ftrl,
    "omega": online.omega,
}


def algorithm(
    observation_space: gym.Space, action_space: gym.Space, settings: RunSettings
) -> Algorithm:
    """What is learned on a task with these spaces."""
    return ALGORITHMS[settings.agent.algorithm](observation_space, action_space, settings)


def space(settings: RunSettings) -> dict[str, hp.Hyperparameter]:
    """The hyperparameters of the agent, as the engine sees them."""
    tuning, known = settings.tuning, extensions.definitions(settings.extensions)
    result = {}
    for name, spec in settings.in_use.items():
        tuned = spec.tuned and tuning.method != "none"
        if tuned and tuning.context != "none":
            result[name] = hp.Hyperparameter(_inside(name, spec.low, spec.high))
        else:
            bijector = scales.bijector(known[name])
            result[name] = hp.Hyperparameter(bijector, spec.low, spec.high, tuned)
    return result


def _inside(name: str, low: float, high: float) -> hp.Bijector:
    """For the output of a meta-network, which is not projected onto bounds."""
    if name != LEARNING_RATE:
        return hp.between(low, high)
    log = hp.between(math.log(low), math.log(high))
    return hp.Bijector(lambda x: jnp.exp(log.forward(x)), lambda y: log.inverse(jnp.log(y)))


def source(settings: RunSettings) -> hp.Source:
    """Where the values of the hyperparameters come from."""
    tuning, names = settings.tuning, space(settings)
    if tuning.context == "none":
        return hp.scalars(names)
    size = context(settings).size
    return meta_network.contextual(names, lambda batch: batch.context, size, tuning.context_hidden)


def context(settings: RunSettings) -> contexts.Context:
    """What the meta-network sees."""
    return contexts.make(settings.tuning.context, settings.outer["gamma"])


def objective(agent: Algorithm, tuning: TuningSettings) -> targets.Objective:
    """What judges the student."""
    if tuning.method == "bmg":
        return targets.bootstrapped(
            tuning.target_steps,
            tuning.target_by,
            agent.last_target_loss,
            tuning.target_state == "own",
        )
    change = agent.change
    if not tuning.outer_kl or change is None:
        return targets.meta_gradient()
    return targets.meta_gradient(
        lambda before, after, batch: tuning.outer_kl * change(before, after, batch)
    )


def update_rule(settings: RunSettings) -> update_rules.UpdateRule:
    """What moves the parameters."""
    rule = INNER_OPTIMIZERS[settings.agent.inner_optimizer]()
    if not math.isfinite(settings.agent.max_grad_norm):
        return rule
    return update_rules.clip_by_global_norm(rule, settings.agent.max_grad_norm)


def learner(agent: Algorithm, settings: RunSettings) -> core.MetaLearner:
    """The engine on the agent's problem."""
    tuning = settings.tuning
    tuned = {name for name, spec in space(settings).items() if spec.tuned}
    region = None
    if LEARNING_RATE in tuned and agent.change is not None:
        region = TrustRegion(agent.change, tuning.trust_region, tuning.trust_region_cut)
    derivative = differentiation.unrolled(tuning.horizon_mixing)
    if tuning.differentiation == "implicit":
        derivative = differentiation.implicit(tuning.implicit_damping, tuning.implicit_iterations)
    return core.meta_learner(
        agent.problem,
        update_rule(settings),
        source(settings),
        objective(agent, tuning),
        meta_optimizer(tuning, space(settings)),
        region,
        derivative,
    )


def meta_optimizer(tuning: TuningSettings, space: hp.Space) -> optax.GradientTransformation:
    """What moves the raw hyperparameters along their meta-gradients.

    The online learners see meta-gradients divided by their root mean square, as Adam's are:
    those of different hyperparameters and tasks differ by orders of magnitude.
    """
    if tuning.optimizer == "adam":
        return optax.adam(tuning.learning_rate)
    region = constraints.Constraint(lambda raw: hp.project(space, raw), separable=True)
    learner = ONLINE_LEARNERS[tuning.optimizer](tuning.learning_rate, constraint=region)
    if tuning.optimizer == "ao_ftrl":
        learner = hints.with_hint(learner, hints.exponential_average())
    return optax.chain(optax.scale_by_adam(b1=0.0), learner)
