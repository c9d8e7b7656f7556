"""The agent that users run: one that tunes its own hyperparameters.

It is an `Algorithm` (what is learned) and `metagrad.core` (how learning is learned), and
between them a short window of past updates. K rollouts that the student is made from and
L rollouts that it is judged by slide along one stream of experience: every rollout is
trained on once, serves as validation of the updates before it, and no environment step is
spent on tuning alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import optax

from selftuning.agents import contexts, learning_metrics, normalization, parts, reuse, window
from selftuning.agents.algorithm import Algorithm
from selftuning.agents.memory import NONE, memory_of
from selftuning.agents.trajectory import Experience, Scales, Trajectory, empty_trajectory, seen
from selftuning.agents.window import Window
from selftuning.configs.settings import RunSettings
from selftuning.metagrad import core
from selftuning.metagrad.differentiation import Step


class AgentState(NamedTuple):
    """Everything that learning changes.

    Attributes:
      learner: parameters, optimisers and hyperparameters.
      history: records of updates before those of the next period that a window of K + L updates
        reaches back to, leaves [max(K + L - period, 0), ...].
      context: what the agent knows of how learning goes.
      statistics: running moments of observations and rewards.
      updates: number of updates of the parameters so far, int32.
    """

    learner: core.LearnerState
    history: Step | reuse.Record
    context: contexts.ContextState
    statistics: normalization.Statistics
    updates: jax.Array


class Actor(NamedTuple):
    """All that behaviour depends on.

    Attributes:
      behaviour: what the algorithm acts by.
      scales: in which it sees observations.
    """

    behaviour: Any
    scales: Scales


class SelfTuningAgent(NamedTuple):
    """Pure functions, all of them safe to jit and to vmap over seeds and starts.

    Attributes:
      algorithm: what is learned, of observations and rewards in scales of size one.
      window: of past updates, with what is to be kept of them from meta-step to meta-step.
      init: (key, start values or None for those of the settings) -> AgentState.
      inner_step: (state, trajectory [T, B], key of the rollout) -> (state, record): all updates
        on one rollout. Only algorithms that shuffle rows read the key.
      learn: (state, trajectory, key, asked) -> (state, record, metrics): an inner step, and how
        learning goes, scalars by name; NaN unless they are asked for (`agents.learning_metrics`).
      meta_step: (state, kept) -> (state, diagnostics), called once every `period` inner steps;
        `kept` has for every stretch of the window what it keeps, stacked [updates, ...].
      act: (actor, observation [B, *obs], key) -> (action [B, *action], log-probability [B]); the
        observation is the environment's own, here and below.
      mode: (actor, observation [B, *obs]) -> greedy action, as the task expects it.
      begin: observation -> what is acted on at the start of episodes: itself, or with a memory.
        `act` and `mode` take it in place of the observation.
      follow: (actor, what was acted on, observation that came next, ended [B]) -> what is acted on
        next; all begin anew where an episode has ended.
      to_task: action of `act` -> as the task expects it.
      params: state -> actor.
      empty: (length, num_envs) -> trajectory of zeros, for shapes.
      scales: state -> scales in which the agent sees what it meets now.
      hyperparameters: state -> values by name, scalars or a number for each head [H].
    """

    algorithm: Algorithm
    window: Window
    init: Callable[..., AgentState]
    inner_step: Callable[..., tuple[AgentState, Step | reuse.Record]]
    learn: Callable[..., tuple[AgentState, Step | reuse.Record, dict[str, jax.Array]]]
    meta_step: Callable[[AgentState, Sequence[Any]], tuple[AgentState, dict[str, jax.Array]]]
    act: Callable[[Actor, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    mode: Callable[[Actor, jax.Array], jax.Array]
    begin: Callable[[Any], Any]
    follow: Callable[[Actor, Any, Any, Any], Any]
    to_task: Callable[[Any], Any]
    params: Callable[[AgentState], Actor]
    empty: Callable[[int, int], Trajectory]
    scales: Callable[[AgentState], Scales]
    hyperparameters: Callable[[AgentState], dict[str, jax.Array]]


def make(
    observation_space: gym.Space, action_space: gym.Space, settings: RunSettings
) -> SelfTuningAgent:
    """Builds the agent for the spaces of a task.

    Raises:
      ConfigError: if the algorithm is not for these spaces, or an extension does not fit.
    """
    spaces = observation_space, action_space
    algorithm = parts.algorithm(*spaces, settings)
    engine, context = parts.learner(algorithm, settings), parts.context(settings)
    scaling = normalization.make(
        observation_space, settings.agent, settings.num_envs, settings.outer["gamma"]
    )
    tuned = any(spec.tuned for spec in parts.space(settings).values())
    past = window.make(settings.tuning, tuned, algorithm.reuse is not None)
    updates = reuse.updates(engine, algorithm.reuse, settings.tuning.inner_steps)
    metrics = learning_metrics.make(algorithm, engine, settings)

    def nothing(length, num_envs):
        empty = empty_trajectory(*spaces, length, num_envs)
        first = algorithm.memory.begin(empty.observation[0])
        return empty._replace(memory=memory_of(first))

    def left(done):
        """The part of the run that is left after so many updates."""
        if not settings.agent.anneal_entropy:
            return ()
        return jnp.maximum(1.0 - done / settings.updates, 0.0)

    def init(key, start_values=None):
        start = start_of(settings, start_values)
        learner = engine.init(algorithm.init(key), start, jax.random.fold_in(key, 1))
        knowledge, statistics = context.init(), scaling.init()
        size = settings.agent.rollout_length, settings.num_envs
        empty = nothing(*size)
        seen_in = scaling.scales(statistics)
        experience = Experience(empty, context.features(knowledge), seen_in, left(jnp.zeros(())))
        params = learner.inner.params
        step = Step(learner.inner, learner.values.raw, params, experience, jnp.ones(()))
        history = past.init(updates.example(step))
        return AgentState(learner, history, knowledge, statistics, jnp.zeros((), jnp.int32))

    def inner_step(state, trajectory, key=None):
        def value(observation):
            return algorithm.value(state.learner.inner.params, observation)

        statistics = scaling.update(state.statistics, trajectory)
        # Observations are seen as they were when they were acted on, or the policy would not be
        # the one that acted. Rewards have been seen by nobody.
        scales = scaling.scales(state.statistics)._replace(reward=scaling.scales(statistics).reward)
        experience = Experience(trajectory, state.context.measured, scales, left(state.updates))
        knowledge = context.update(state.context, experience, value)
        experience = experience._replace(context=context.features(knowledge))
        learner, record = updates.learn(state.learner, experience, key)
        number = state.updates + updates.number
        return AgentState(learner, state.history, knowledge, statistics, number), record

    def learn(state, trajectory, key, asked):
        after, record = inner_step(state, trajectory, key)
        known = state.learner, record, after.learner, state.updates
        return after, record, metrics(asked, *known)

    def meta_step(state, kept):
        if not tuned:
            return state, {}
        (steps, student, validation), history = past.look(state.history, kept)
        moved, info = engine.meta_step(state.learner, steps, student, validation)
        latest = student if settings.tuning.continue_from == "student" else state.learner.inner
        moved = moved._replace(inner=latest)
        # Until the window is full there is nothing to judge.
        full = state.updates >= past.rollouts * updates.number
        moved = jax.tree.map(lambda m, old: jnp.where(full, m, old), moved, state.learner)
        info = {
            name: x if isinstance(x, jax.Array) else optax.tree.norm(x) for name, x in info.items()
        }
        return state._replace(learner=moved, history=history), info

    def hyperparameters(state):
        return engine.hyperparams(state.learner, Experience(None, context.features(state.context)))

    def params(state):
        parameters = algorithm.packing.unpack(state.learner.inner.params)
        return Actor(algorithm.acting(parameters, hyperparameters(state)), scales(state))

    def scales(state):
        return scaling.scales(state.statistics)

    def act(actor, observation, key):
        return algorithm.act(actor.behaviour, seen(actor.scales, observation), key)

    def mode(actor, observation):
        return algorithm.mode(actor.behaviour, seen(actor.scales, observation))

    def follow(actor, acted_on, observation, ended):
        acted_on = seen(actor.scales, acted_on)
        return algorithm.memory.follow(actor.behaviour, acted_on, observation, ended)

    return SelfTuningAgent(
        algorithm,
        past,
        init,
        inner_step,
        learn,
        meta_step,
        act,
        mode,
        algorithm.memory.begin,
        follow,
        algorithm.to_task,
        params,
        nothing,
        scales,
        hyperparameters,
    )


def compiled(agent: SelfTuningAgent) -> SelfTuningAgent:
    """The agent with what acts compiled. A `follow` that hands on observations stays as it is."""
    remembers = agent.algorithm.memory is not NONE
    return agent._replace(
        params=jax.jit(agent.params),
        act=jax.jit(agent.act),
        mode=jax.jit(agent.mode),
        follow=jax.jit(agent.follow) if remembers else agent.algorithm.memory.follow,
    )


def with_value(
    state: AgentState, settings: RunSettings, name: str, change: Callable[[Any], Any]
) -> AgentState:
    """The state with another value of a hyperparameter that no meta-network puts out."""
    values = state.learner.values
    if name in values.fixed:
        values = values._replace(fixed=values.fixed | {name: change(values.fixed[name])})
    else:
        scale = parts.space(settings)[name].bijector
        moved = scale.inverse(change(scale.forward(values.raw[name])))
        values = values._replace(raw=values.raw | {name: moved})
    return state._replace(learner=state.learner._replace(values=values))


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
