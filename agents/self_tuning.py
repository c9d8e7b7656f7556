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

from selftuning.agents import contexts, parts, reuse, window
from selftuning.agents.algorithm import Algorithm
from selftuning.agents.trajectory import Experience, empty_trajectory
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
      updates: number of updates of the parameters so far, int32.
    """

    learner: core.LearnerState
    history: Step | reuse.Record
    context: contexts.ContextState
    updates: jax.Array


class SelfTuningAgent(NamedTuple):
    """Pure functions, all of them safe to jit and to vmap over seeds and starts.

    Attributes:
      algorithm: what is learned. It acts: `agent.algorithm.act(agent.params(state), ...)`.
      window: of past updates, with what is to be kept of them from meta-step to meta-step.
      init: (key, start values or None for those of the settings) -> AgentState.
      inner_step: (state, trajectory [T, B], key of the rollout) -> (state, record): all updates
        on one rollout. Only algorithms that shuffle rows read the key.
      meta_step: (state, kept) -> (state, diagnostics), called once every `period` inner steps;
        `kept` has for every stretch of the window what it keeps, stacked [updates, ...].
      params: state -> all that `algorithm.act` and `algorithm.mode` read.
      hyperparameters: state -> values by name, scalars or a number for each head [H].
    """

    algorithm: Algorithm
    window: Window
    init: Callable[..., AgentState]
    inner_step: Callable[..., tuple[AgentState, Step | reuse.Record]]
    meta_step: Callable[[AgentState, Sequence[Any]], tuple[AgentState, dict[str, jax.Array]]]
    params: Callable[[AgentState], Any]
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
    engine, seen = parts.learner(algorithm, settings), parts.context(settings)
    tuned = any(spec.tuned for spec in parts.space(settings).values())
    past = window.make(settings.tuning, tuned, algorithm.reuse is not None)
    updates = reuse.updates(engine, algorithm.reuse, settings.tuning.inner_steps)

    def init(key, start_values=None):
        start = start_of(settings, start_values)
        learner = engine.init(algorithm.init(key), start, jax.random.fold_in(key, 1))
        knowledge = seen.init()
        size = settings.agent.rollout_length, settings.num_envs
        experience = Experience(empty_trajectory(*spaces, *size), seen.features(knowledge))
        params = learner.inner.params
        step = Step(learner.inner, learner.values.raw, params, experience, jnp.ones(()))
        history = past.init(updates.example(step))
        return AgentState(learner, history, knowledge, jnp.zeros((), jnp.int32))

    def inner_step(state, trajectory, key=None):
        def value(observation):
            return algorithm.value(state.learner.inner.params, observation)

        knowledge = seen.update(state.context, trajectory, value)
        experience = Experience(trajectory, seen.features(knowledge))
        learner, record = updates.learn(state.learner, experience, key)
        number = state.updates + updates.number
        return AgentState(learner, state.history, knowledge, number), record

    def meta_step(state, kept):
        if not tuned:
            return state, {}
        (steps, student, validation), history = past.look(state.history, kept)
        moved, info = engine.meta_step(state.learner, steps, student, validation)
        latest = student if settings.tuning.resume == "student" else state.learner.inner
        moved = moved._replace(inner=latest)
        # Until the window is full there is nothing to judge.
        full = state.updates >= past.rollouts * updates.number
        moved = jax.tree.map(lambda m, old: jnp.where(full, m, old), moved, state.learner)
        info = {
            name: x if isinstance(x, jax.Array) else optax.tree.norm(x) for name, x in info.items()
        }
        return AgentState(moved, history, state.context, state.updates), info

    def hyperparameters(state):
        return engine.hyperparams(state.learner, Experience(None, seen.features(state.context)))

    def params(state):
        parameters = algorithm.packing.unpack(state.learner.inner.params)
        return algorithm.acting(parameters, hyperparameters(state))

    return SelfTuningAgent(algorithm, past, init, inner_step, meta_step, params, hyperparameters)


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
