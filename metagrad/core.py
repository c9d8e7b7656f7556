"""The single-task engine: learn, and learn the hyperparameters of learning, on one stream.

`inner_step` moves the parameters with the current hyperparameters and returns a record of
what it did. `meta_step` asks an objective how good the result of K such steps is, pulls the
answer back through their records, and moves the hyperparameters. Convex problems and
agents run this same code and differ in their `Problem` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from selftuning.metagrad import hyperparams as hp
from selftuning.metagrad.differentiation import Differentiation, Inner, Step, unrolled
from selftuning.metagrad.targets import Objective, Problem, Student
from selftuning.metagrad.trust_region import TrustRegion, no_debt, settle, shorten
from selftuning.metagrad.trust_region import advance as make_advance
from selftuning.metagrad.update_rules import InnerState, UpdateRule

PyTree = Any


class LearnerState(NamedTuple):
    """Everything that learning changes.

    Attributes:
      inner: parameters and the state of their rule.
      values: of the hyperparameters.
      meta_optimizer: its state.
      objective: its state.
      debt: what the trust region took from a tuned learning rate and owes it, () for nothing.
    """

    inner: InnerState
    values: hp.Values
    meta_optimizer: optax.OptState
    objective: PyTree
    debt: PyTree = ()


class MetaLearner(NamedTuple):
    """Pure functions; `start` of `init` are traced values, so starts can be vmapped.

    Attributes:
      init: (params, start values by name, key=None) -> LearnerState; the key is for sources
        that draw something.
      inner_step: (state, batch) -> (state, Step).
      meta_gradient: (state, steps, end, validation) -> (gradient of raw values, (state of the
        objective, diagnostics)). `steps` are K consecutive records, leaves [K, ...]; `end` is
        the inner state after them; `validation` is data that they have not seen, leaves
        [V, ...]. K may be 0, where the objective reads hyperparameters itself.
      meta_step: (state, steps, end, validation) -> (state, diagnostics).
      hyperparams: (state, batch=None) -> values by name, on the scale of use; for which
        batch matters to contextual sources alone.
    """

    init: Callable[..., LearnerState]
    inner_step: Callable[[LearnerState, PyTree], tuple[LearnerState, Step]]
    meta_gradient: Callable[..., tuple[dict[str, PyTree], tuple[PyTree, dict[str, jax.Array]]]]
    meta_step: Callable[..., tuple[LearnerState, dict[str, jax.Array]]]
    hyperparams: Callable[..., dict[str, PyTree]]


def meta_learner(
    problem: Problem,
    rule: UpdateRule,
    source: hp.Source,
    objective: Objective,
    meta_optimizer: optax.GradientTransformation,
    trust_region: TrustRegion | None = None,
    differentiation: Differentiation | None = None,
) -> MetaLearner:
    """Builds the engine for one problem.

    Args:
      problem: inner loss, outer loss and match.
      rule: moves the parameters.
      source: the hyperparameters that loss and rule read, and where they come from.
      objective: see `metagrad.targets`.
      meta_optimizer: moves the raw tuned hyperparameters along the meta-gradient.
      trust_region: bounds single updates, and lowers a tuned learning rate that leaves it.
      differentiation: of the K updates, `metagrad.differentiation.unrolled` by default.
    """
    advance = make_advance(rule, trust_region)
    differentiate = unrolled() if differentiation is None else differentiation

    def init(params, start: Mapping[str, PyTree], key=None):
        values = source.init(start, key)
        inner = InnerState(params, rule.init(params))
        optimizer, judged = meta_optimizer.init(values.raw), objective.init(inner)
        return LearnerState(inner, values, optimizer, judged, no_debt(trust_region, values))

    def hyperparams(state, batch=None):
        return source.apply(state.values, batch)

    def inner_step(state, batch):
        used = hyperparams(state, batch)
        params = state.inner.params
        gradient = jax.grad(problem.inner_loss)(params, params, used, batch)
        inner, scale = advance(gradient, state.inner, used, batch)
        values, debt = state.values, state.debt
        if trust_region is not None:
            values, debt = settle(trust_region, source.space, values, debt, scale)
        step = Step(state.inner, state.values.raw, gradient, batch, scale)
        return state._replace(inner=inner, values=values, debt=debt), step

    def inner_problem(fixed):
        def loss(raw, params, frozen, batch):
            used = source.apply(hp.Values(raw, fixed), batch)
            return problem.inner_loss(params, frozen, used, batch)

        def update(raw, before, gradient, step):
            used = source.apply(hp.Values(raw, fixed), step.batch)
            new = InnerState(*rule.update(gradient, before.rule, before.params, used))
            return new if trust_region is None else shorten(before, new, step.scale)

        return Inner(loss, update)

    def meta_gradient(state, steps, end, validation):
        values, num_steps = state.values, steps.scale.shape[0]
        before = jax.tree.map(lambda x: x[0], steps.before) if num_steps else end

        def judge(params, raw):
            def today(batch):
                return source.apply(values._replace(raw=raw), batch)

            student = Student(before, end._replace(params=params), today)
            return objective.judge(problem, advance, student, state.objective, validation)

        (to_params, directly), info = jax.grad(judge, (0, 1), has_aux=True)(end.params, values.raw)
        if not num_steps:
            return directly, info
        through = differentiate(inner_problem(values.fixed), to_params, steps, end)
        return jax.tree.map(jnp.add, directly, through), info

    def meta_step(state, steps, end, validation):
        gradient, (judged, info) = meta_gradient(state, steps, end, validation)
        updates, optimizer = meta_optimizer.update(gradient, state.meta_optimizer, state.values.raw)
        raw = hp.project(source.space, optax.apply_updates(state.values.raw, updates))
        info = info | {f"meta_gradient/{name}": g for name, g in gradient.items()}
        values = state.values._replace(raw=raw)
        return LearnerState(state.inner, values, optimizer, judged, state.debt), info

    return MetaLearner(init, inner_step, meta_gradient, meta_step, hyperparams)
