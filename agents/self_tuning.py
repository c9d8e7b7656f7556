"""The agent that users run: one that tunes its own hyperparameters.

It is `inner` (what is learned) and `metagrad.core` (how learning is learned), and
between them a short history of past updates. K rollouts that the student is made from and
L rollouts that it is judged by slide along one stream of experience: every rollout is
trained on once, serves as validation of the updates before it, and no environment step is
spent on tuning alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import optax

from selftuning.agents import actor_critic, contexts, inner, scales
from selftuning.agents.actor_critic import Trajectory
from selftuning.agents.inner import Experience
from selftuning.configs import extensions
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

Params = Any

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
      context: what the agent knows of how learning goes.
      updates: number of updates of the parameters so far, int32.
    """

    learner: core.LearnerState
    history: differentiation.Step
    context: contexts.ContextState
    updates: jax.Array


class Stretch(NamedTuple):
    """Part of a period between two meta-steps, in which the same is kept of every update.

    Attributes:
      updates: how many.
      keep: record of an update -> what the meta-step needs of it.
    """

    updates: int
    keep: Callable[[differentiation.Step], Any]

    @property
    def evaluated_again(self) -> bool:
        """Whether the meta-step reads parameters, and evaluates networks with them once more."""
        return self.keep is _whole


class SelfTuningAgent(NamedTuple):
    """Pure functions, all of them safe to jit and to vmap over seeds and starts.

    Attributes:
      init: (key, start values or None for those of the settings) -> AgentState.
      act: (params, observation [B, ...], key) -> (action [B, ...], log-probability [B]).
      mode: (params, observation [B, ...]) -> greedy action [B, ...].
      inner_step: (state, trajectory [T, B]) -> (state, step).
      stretches: what is to be kept of the inner steps of a period, in order. Records are as
        large as the parameters, and most updates need none.
      meta_step: (state, kept) -> (state, diagnostics), called once every `period` inner steps;
        `kept` has for every stretch what it keeps, stacked [updates, ...].
      params: state -> all that `act` and `mode` read.
      hyperparameters: state -> values by name, scalars or a number for each head [H].
      packing: of the parameters of a state, `state.learner.inner.params`.
      acting: (parameters by network and layer, hyperparameters) -> all that `act` and `mode` read.
    """

    init: Callable[..., AgentState]
    act: Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    mode: Callable[[Params, jax.Array], jax.Array]
    inner_step: Callable[[AgentState, Trajectory], tuple[AgentState, differentiation.Step]]
    stretches: tuple[Stretch, ...]
    meta_step: Callable[[AgentState, Sequence[Any]], tuple[AgentState, dict[str, jax.Array]]]
    params: Callable[[AgentState], Params]
    hyperparameters: Callable[[AgentState], dict[str, jax.Array]]
    packing: inner.Packing
    acting: Callable[[Params, Mapping[str, jax.Array]], Params]


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


def objective(agent: inner.InnerAgent, tuning: TuningSettings) -> targets.Objective:
    """What judges the student."""
    if tuning.method == "bmg":
        return targets.bootstrapped(
            tuning.target_steps,
            tuning.target_by,
            agent.last_target_loss,
            tuning.target_state == "own",
        )
    if not tuning.outer_kl:
        return targets.meta_gradient()
    return targets.meta_gradient(
        lambda before, after, batch: tuning.outer_kl * agent.change(before, after, batch)
    )


def update_rule(settings: RunSettings) -> update_rules.UpdateRule:
    """What moves the parameters."""
    rule = INNER_OPTIMIZERS[settings.agent.inner_optimizer]()
    if not math.isfinite(settings.agent.max_grad_norm):
        return rule
    return update_rules.clip_by_global_norm(rule, settings.agent.max_grad_norm)


def learner(agent: inner.InnerAgent, settings: RunSettings) -> core.MetaLearner:
    """The engine on the agent's problem."""
    tuning = settings.tuning
    tuned = {name for name, spec in space(settings).items() if spec.tuned}
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
        region if LEARNING_RATE in tuned else None,
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
    agent = inner.make(*spaces, settings)
    engine, seen = learner(agent, settings), context(settings)
    tuning = settings.tuning
    tuned = any(spec.tuned for spec in space(settings).values())
    # The outer loss of mg is an on-policy estimate: only the first rollout after the student
    # was collected by it. A target of bmg is a path, and uses one rollout after the other.
    judges = tuning.target_steps if tuning.method == "bmg" else 1
    window = tuning.inner_steps + judges
    reach = max(window - tuning.period, 0) if tuned else 0
    stretches = _stretches(tuning, judges) if tuned else (Stretch(tuning.period, _nothing),)

    def init(key, start_values=None):
        start = start_of(settings, start_values)
        key_context = jax.random.fold_in(key, 1)
        learner_state = engine.init(agent.init(key), start, key_context)
        knowledge = seen.init()
        experience = Experience(
            actor_critic.empty_trajectory(
                *spaces, settings.agent.rollout_length, settings.num_envs
            ),
            seen.features(knowledge),
        )
        step = differentiation.Step(
            learner_state.inner,
            learner_state.values.raw,
            learner_state.inner.params,
            experience,
            jnp.ones(()),
        )
        history = jax.tree.map(lambda x: jnp.zeros((reach, *x.shape), x.dtype), step)
        return AgentState(learner_state, history, knowledge, jnp.zeros((), jnp.int32))

    def inner_step(state, trajectory):
        def value(observation):
            return agent.value(state.learner.inner.params, observation)

        knowledge = seen.update(state.context, trajectory, value)
        experience = Experience(trajectory, seen.features(knowledge))
        learner_state, step = engine.inner_step(state.learner, experience)
        return AgentState(learner_state, state.history, knowledge, state.updates + 1), step

    def meta_step(state, kept):
        if not tuned:
            return state, {}
        steps, batches = _joined(state.history, kept, window)
        student = jax.tree.map(lambda x: x[: tuning.inner_steps], steps)
        end = jax.tree.map(lambda x: x[tuning.inner_steps], steps.before)
        validation = jax.tree.map(lambda x: x[tuning.inner_steps :], batches)
        moved, info = engine.meta_step(state.learner, student, end, validation)
        latest = end if tuning.resume == "student" else state.learner.inner
        moved = moved._replace(inner=latest)
        # Until the history is full there is nothing to judge.
        full = state.updates >= window
        moved = jax.tree.map(lambda m, old: jnp.where(full, m, old), moved, state.learner)
        history = jax.tree.map(lambda x: x[len(x) - reach :], steps)
        info = {
            name: x if isinstance(x, jax.Array) else optax.tree.norm(x) for name, x in info.items()
        }
        return AgentState(moved, history, state.context, state.updates), info

    def hyperparameters(state):
        return engine.hyperparams(state.learner, Experience(None, seen.features(state.context)))

    def params(state):
        parameters = agent.packing.unpack(state.learner.inner.params)
        return agent.acting(parameters, hyperparameters(state))

    return SelfTuningAgent(
        init,
        agent.act,
        agent.mode,
        inner_step,
        stretches,
        meta_step,
        params,
        hyperparameters,
        agent.packing,
        agent.acting,
    )


def _stretches(tuning: TuningSettings, judges: int) -> tuple[Stretch, ...]:
    """What of a period makes up a window of K updates and those that judge them.

    A window that fits into a period needs records of its first K updates and of the one after,
    which starts from the student. One that reaches back needs all of them later.
    """
    before = tuning.period - tuning.inner_steps - judges
    if before < 0:
        return (Stretch(tuning.period, _whole),)
    stretches = (
        Stretch(before, _nothing),
        Stretch(tuning.inner_steps + 1, _whole),
        Stretch(judges - 1, _batch),
    )
    return tuple(stretch for stretch in stretches if stretch.updates)


def _nothing(step: differentiation.Step) -> tuple[()]:
    return ()


def _whole(step: differentiation.Step) -> differentiation.Step:
    return step


def _batch(step: differentiation.Step) -> Experience:
    return step.batch


def kept(agent: SelfTuningAgent, steps: Sequence[differentiation.Step]) -> list[Any]:
    """What stretches keep of the steps of a whole period, given one by one."""
    rest, result = list(steps), []
    for stretch in agent.stretches:
        rows = [stretch.keep(step) for step in rest[: stretch.updates]]
        result.append(jax.tree.map(lambda *x: jnp.stack(x), *rows))
        rest = rest[stretch.updates :]
    return result


def _joined(
    history: differentiation.Step, kept: Sequence[Any], window: int
) -> tuple[differentiation.Step, Experience]:
    """Records from the first update of the window on, and the batches of all of it."""
    parts = [part for part in kept if part != ()]
    steps = jax.tree.map(lambda h, n: jnp.concatenate([h, n])[-window:], history, parts[0])
    return steps, jax.tree.map(lambda *x: jnp.concatenate(x), steps.batch, *parts[1:])


def start_of(settings: RunSettings, values: Mapping[str, Any] | None) -> dict[str, jax.Array]:
    """Start values of all hyperparameters in use, those of the settings where none are given.

    With several heads those in the loss become one number for each head [H], all alike.
    """
    values = values or {}
    start = {
        name: jnp.asarray(values.get(name, spec.start), float)
        for name, spec in settings.in_use.items()
    }
    heads = settings.agent.heads
    if heads == 1:
        return start
    in_loss = settings.in_loss
    return {name: jnp.broadcast_to(x, heads) if name in in_loss else x for name, x in start.items()}
