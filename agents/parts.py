"""The parts of the engine that settings choose by name, and the engine that they make up."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable

import gymnasium as gym
import jax
import jax.numpy as jnp
import optax

from selftuning.agents import contexts, scales
from selftuning.agents.algorithm import Algorithm
from selftuning.agents.memory import memory_of
from selftuning.agents.trajectory import Experience, empty_trajectory
from selftuning.configs import extensions
from selftuning.configs.errors import not_allowed
from selftuning.configs.settings import InnerOptimizer, Regularizer, RunSettings, TuningSettings
from selftuning.metagrad import (
    constraints,
    core,
    differentiation,
    hints,
    meta_network,
    online,
    targets,
    trac,
    update_rules,
)
from selftuning.metagrad import hyperparams as hp
from selftuning.metagrad.trust_region import LEARNING_RATE, TrustRegion

INNER_OPTIMIZERS: dict[InnerOptimizer, Callable[[], update_rules.UpdateRule]] = {
    "sgd": update_rules.sgd,
    "momentum": update_rules.momentum,
    "adagrad": update_rules.adagrad,
    "rms": update_rules.rms,
    "adam": update_rules.adam,
    "accelerated": update_rules.accelerated,
    "trac": lambda: trac.trac(update_rules.adam()),
}
# Around the inner optimiser and all that is done to gradients before it.
REGULARIZERS: dict[Regularizer, Callable[[update_rules.UpdateRule], update_rules.UpdateRule]] = {
    "none": lambda rule: rule,
    "l2_init": update_rules.l2_init,
    "barrier": lambda rule: rule,  # a term of the loss
}
# How far a standard deviation of evidence moves a raw hyperparameter, how many move nothing, and so
# many meta-gradients of noise are taken to have come before: of a few alone all may agree.
_PER_DEVIATION, _THRESHOLD, _BEFORE = 0.7, 0.5, 10.0
# Meta-gradients of this size are rounding. Where rewards are silent there is nothing else.
_ROUNDING = 1e-6
# Meta-optimisers with a step size, other than Adam.
ONLINE_LEARNERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "ogd": online.ogd,
    "ao_ftrl": online.ao_ftrl,
    "omega": online.omega,
}


def algorithm(
    observation_space: gym.Space, action_space: gym.Space, settings: RunSettings
) -> Algorithm:
    """What is learned on a task with these spaces: that of the settings, or the user's own.

    Raises:
      ConfigError: if it is not for these spaces, or an extension does not fit.
    """
    own = extensions.parts(settings.extensions).get("algorithm")
    # Each algorithm is the module of its name, so that a new one is a file, and a name in
    # configs/hyperparameters.py, where it is said what it reads.
    module = importlib.import_module(f"selftuning.agents.{settings.agent.algorithm}")
    made = (own or module.make)(observation_space, action_space, settings)
    if own is not None and not isinstance(made, Algorithm):
        wanted = "an Algorithm of selftuning.agents.algorithm"
        raise not_allowed(f"extensions: algorithm {own.name}", repr(made), wanted)
    if settings.extensions:
        _try_once(made, observation_space, action_space, settings)
    return made


def _try_once(
    made: Algorithm, observation_space: gym.Space, action_space: gym.Space, settings: RunSettings
) -> None:
    """Traces an update and the outer loss: errors of a user come before anything is written."""
    empty = empty_trajectory(observation_space, action_space, 3, 2)
    remembered = memory_of(made.memory.begin(empty.observation[0]))
    experience = Experience(empty._replace(memory=remembered), jnp.zeros(0))
    start = {name: jnp.asarray(spec.start, float) for name, spec in settings.in_use.items()}
    rule, own = update_rule(settings), extensions.parts(settings.extensions).get("update_rule")

    def once(key):
        params = made.init(key)
        batch = experience if made.reuse is None else made.reuse.prepare(params, experience)
        gradient = jax.grad(made.problem.inner_loss)(params, params, start, batch)

        def moves():
            moved, _ = rule.update(gradient, rule.init(params), params, start)
            shapes = [jax.tree.map(lambda x: (jnp.shape(x), x.dtype), x) for x in (moved, params)]
            if shapes[0] != shapes[1]:
                raise TypeError("update() must return (params, state), params in the form they had")
            return moved

        name, where = (own.name, own.function) if own else ("update rule", None)
        moved = extensions.call(name, moves, where=where)
        return made.problem.outer_loss(params, params, batch), moved

    jax.eval_shape(once, jax.random.PRNGKey(0))


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
    values = hp.scalars(names)
    if tuning.context != "none":
        size, hidden = context(settings).size, tuning.context_hidden
        values = meta_network.contextual(names, lambda batch: batch.context, size, hidden)
    return _annealed(values, "entropy") if settings.agent.anneal_entropy else values


def _annealed(source: hp.Source, name: str) -> hp.Source:
    """A source one of whose values falls with the part of the run that is left for a batch.

    The part is a number of the batch, so that records of updates have it, and meta-gradients are
    exact. Without a batch the value is that before annealing.
    """

    def apply(values, batch):
        found = source.apply(values, batch)
        if batch is None or isinstance(batch.left, tuple):
            return found
        return {**found, name: jax.tree.map(lambda x: batch.left * x, found[name])}

    return source._replace(apply=apply)


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
    own = extensions.parts(settings.extensions).get("update_rule")
    rule = own() if own else INNER_OPTIMIZERS[settings.agent.inner_optimizer]()
    if own is not None and not isinstance(rule, update_rules.UpdateRule):
        wanted = "an UpdateRule of selftuning.metagrad.update_rules"
        raise not_allowed(f"extensions: update_rule {own.name}", repr(rule), wanted)
    if settings.agent.anneal_learning_rate:
        rule = update_rules.annealed(rule, settings.updates)
    if math.isfinite(settings.agent.max_grad_norm):
        rule = update_rules.clip_by_global_norm(rule, settings.agent.max_grad_norm)
    return REGULARIZERS[settings.agent.regularize](rule)


def learner(agent: Algorithm, settings: RunSettings) -> core.MetaLearner:
    """The engine on the agent's problem."""
    tuning = settings.tuning
    tuned = {name for name, spec in space(settings).items() if spec.tuned}
    region = None
    if LEARNING_RATE in tuned and agent.change is not None:
        region = TrustRegion(
            agent.change,
            tuning.trust_region,
            tuning.trust_region_cut,
            tuning.trust_region_repay,
        )
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
    adam = optax.adam(tuning.step_size, eps=tuning.epsilon)
    if tuning.optimizer == "adam" or (tuning.optimizer == "ftrl" and tuning.context != "none"):
        return adam
    region = constraints.Constraint(lambda raw: hp.project(space, raw), separable=True)
    if tuning.optimizer == "ftrl":
        scaled = optax.scale_by_adam(b1=0.0, eps=_ROUNDING)
        # One meta-gradient in ten is a hundred times the median: none counts for more than a
        # typical one. What a trust region lowers would come back with the anchor.
        learner = online.adaptive_ftrl(
            _PER_DEVIATION, threshold=_THRESHOLD, initial_square=_BEFORE, constraint=region
        )
        by_evidence = optax.chain(scaled, optax.clip(1.0), learner)
        return optax.partition(
            {"evidence": by_evidence, "steps": adam},
            lambda raw: {name: "steps" if name == LEARNING_RATE else "evidence" for name in raw},
        )
    learner = ONLINE_LEARNERS[tuning.optimizer](tuning.step_size, constraint=region)
    if tuning.optimizer == "ao_ftrl":
        learner = hints.with_hint(learner, hints.exponential_average())
    return optax.chain(optax.scale_by_adam(b1=0.0, eps=tuning.epsilon), learner)
