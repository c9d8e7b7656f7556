"""Meta-gradients on one convex problem, in the two forms of arXiv 2301.03236.

`in_practice` is the engine of `metagrad.core` on a problem without data:

    x_t = phi(x_{t-1}, w_t),   w_{t+1} from the meta-gradient Dphi(x_{t-1}, w_t)^T grad f(x_t)

`convex_form` is what the rates are proved for:

    x_t    = phi(xbar_{t-1}, w_t)
    xbar_t = (1 - rho_t) xbar_{t-1} + rho_t x_t,                      rho_t = alpha_t / alpha_{1:t}
    g_t    = Dphi(xbar_{t-1}, w_t)^T grad f(xbar_t),   w_{t+1} from g_t, perhaps with a hint

It has a loop of its own: the engine asks for the derivative of the objective at the end of
the steps that it pulls back through, and here the gradient is that of f at the *average*,
pulled back through the update that made x_t as if the average were x_t itself (without
the factor rho_t). The pieces are the same: phi is an `UpdateRule`, w the dictionary of
hyperparameters that it reads, the learner of w any optax transformation.

With a key, both see only samples of the gradient, `ConvexProblem.sample_loss`. What is
recorded of the gap and the regret stays exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from selftuning.metagrad import (
    averaging,
    constraints,
    core,
    hints,
    matching,
    online,
    schedules,
    targets,
)
from selftuning.metagrad import hyperparams as hp
from selftuning.metagrad.problems import ConvexProblem
from selftuning.metagrad.update_rules import UpdateRule

PyTree = Any
Gradient = Callable[[jax.Array], jax.Array]


class Trace(NamedTuple):
    """What happened at steps t = 1 ... T; every field has T as its leading axis.

    Attributes:
      gap: f - f* where the gradient was taken: at xbar_t in the convex form, else at x_t.
      regret: weighted average of <grad f(xbar_s), x_s - x*> over s <= t. In the convex form it
        bounds the gap. For in_practice, the same with alpha = 1 and x_s in both places. With a
        key these are still the exact gradients: gap <= regret holds on every path, for it
        follows from convexity alone, wherever the x_s come from. A sum of the samples that the
        learner saw would bound the gap in expectation only. `standard_bound` and
        `optimistic_bound` are for exact gradients.
      average: xbar_t, [T, n]; in practice None.
      point: x_t, [T, n], or None.
      w: w_t, the meta-parameters that made x_t, or None.
      gradient: grad f(xbar_t), with a key its sample, [T, n], or None; in practice None.
    """

    gap: jax.Array
    regret: jax.Array
    average: jax.Array | None
    point: jax.Array | None
    w: PyTree | None
    gradient: jax.Array | None


class Form(NamedTuple):
    """An algorithm in the convex form; learning rates inside it may be traced values.

    Attributes:
      rule: phi.
      learner: moves w; from `metagrad.online`, or any optax transformation.
      weights: alpha_t, of the average. A learner that weights gradients has them as well.
      predict: (grad f, xbar_t, grad f(xbar_t)) -> y_{t+1}, a prediction of the next gradient, whose
        meta-gradient Dphi^T y_{t+1} is the learner's hint; None leaves the hint to the learner.
        With a key, its first argument samples: one sample a step, not that of the gradient.
    """

    rule: UpdateRule
    learner: optax.GradientTransformation
    weights: schedules.Schedule = schedules.constant
    predict: (
        Callable[[Callable[[jax.Array], jax.Array], jax.Array, jax.Array], jax.Array] | None
    ) = None


def standard(
    rule: UpdateRule,
    learning_rate: schedules.Rate,
    *,
    weights: schedules.Schedule = schedules.constant,
    constraint: constraints.Constraint | None = None,
) -> Form:
    """FTRL without hints.

    With phi = w, alpha_t = 1 and learning rate 1 / L: gap <= `standard_bound`.
    """
    learner = online.ftrl(learning_rate, weights=weights, constraint=constraint)
    return Form(rule, learner, weights)


def optimistic(
    rule: UpdateRule,
    learning_rate: schedules.Rate,
    *,
    weights: schedules.Schedule = schedules.linear,
    hint: optax.GradientTransformation | None = None,
    constraint: constraints.Constraint | None = None,
    adaptive: bool = False,
) -> Form:
    """AO-FTRL with a hint, by default the last meta-gradient.

    With phi = w, alpha_t = t, that hint and learning rate 1 / (4 L): gap <=
    `optimistic_bound`.

    Args:
      rule: phi.
      learning_rate: beta_t.
      weights: alpha_t, of average and gradients.
      hint: gradients -> prediction of the next, see `metagrad.hints`.
      constraint: the set W.
      adaptive: whether the regulariser is AdaGrad's.
    """
    make = online.adaptive_ao_ftrl if adaptive else online.ao_ftrl
    learner = make(learning_rate, weights=weights, constraint=constraint)
    return Form(rule, hints.with_hint(learner, hint or hints.last_gradient()), weights)


def bootstrapped(
    rule: UpdateRule,
    learning_rate: schedules.Rate,
    *,
    step_size: float | jax.Array,
    steps: int = 1,
    weights: schedules.Schedule = schedules.linear,
    constraint: constraints.Constraint | None = None,
    adaptive: bool = False,
) -> Form:
    """AO-FTRL whose hint is a bootstrapped target: where the iterate itself is going.

    The prediction of the next gradient is the gradient after `steps` more gradient steps
    from xbar_t. By I7 (`hints.target_from_prediction`) that is plain descent towards a
    target that contains this later gradient. Costs `steps` more gradients.

    Args:
      rule: phi.
      learning_rate: beta_t.
      step_size: of the steps that look ahead.
      steps: L.
      weights: alpha_t, of average and gradients.
      constraint: the set W.
      adaptive: whether the regulariser is AdaGrad's.
    """

    def predict(gradient_of, x, gradient):
        for _ in range(steps):
            x = x - step_size * gradient
            gradient = gradient_of(x)
        return gradient

    make = online.adaptive_ao_ftrl if adaptive else online.ao_ftrl
    return Form(rule, make(learning_rate, weights=weights, constraint=constraint), weights, predict)


def standard_bound(problem: ConvexProblem, t: jax.Array) -> jax.Array:
    """L ||x_1 - x*||^2 / (2 t)."""
    return problem.smoothness * problem.square_distance() / (2.0 * t)


def optimistic_bound(problem: ConvexProblem, t: jax.Array) -> jax.Array:
    """4 L ||x_1 - x*||^2 / (t (t + 1))."""
    return 4.0 * problem.smoothness * problem.square_distance() / (t * (t + 1.0))


def convex_form(
    problem: ConvexProblem,
    form: Form,
    w: PyTree,
    steps: int,
    *,
    keep_path: bool = False,
    key: jax.Array | None = None,
) -> Trace:
    """Runs the convex form; jit and vmap over `problem`, `w` and `key` at will.

    Args:
      problem: what is minimised, from its start.
      form: the algorithm.
      w: w_1, a dictionary of what the rule reads. For `point()` it is itself x_1.
      steps: T; each takes one gradient (with a key one sample, and the trace an exact one).
      keep_path: whether the trace has average, point, w and gradient of every step.
      key: with it every gradient that the algorithm sees is a sample, a fresh one each
        step. The sample at xbar_t is seen twice, as meta-gradient and in the update of step t + 1.
    """
    learner = optax.with_extra_args_support(form.learner)

    def sampled(t, use):
        """The gradient function of step t: use 0 for the algorithm, 1 for its predictions."""
        if key is None:
            return jax.grad(problem.loss)
        sample = jax.random.split(jax.random.fold_in(key, t))[use]
        return lambda x: jax.grad(problem.sample_loss)(x, sample)

    def step(carry, _):
        w, learner_state, rule_state, average, previous, weighted = carry

        def phi(w):
            return form.rule.update(previous, rule_state, average.mean, w)

        x, pull_back, rule_state = jax.vjp(phi, w, has_aux=True)
        average = averaging.update(average, x, form.weights)
        gradient = sampled(average.steps, 0)(average.mean)
        (meta_gradient,) = pull_back(gradient)
        extra = {}
        if form.predict is not None:
            prediction = form.predict(sampled(average.steps, 1), average.mean, gradient)
            extra = {"hint": pull_back(prediction)[0]}
        updates, learner_state = learner.update(meta_gradient, learner_state, w, **extra)

        exact = gradient if key is None else jax.grad(problem.loss)(average.mean)
        linear = jnp.vdot(exact, x - problem.minimiser)
        weighted = weighted + form.weights(average.steps) * linear
        path = (average.mean, x, w, gradient) if keep_path else (None,) * 4
        out = Trace(problem.gap(average.mean), weighted / average.weight, *path)
        w = optax.apply_updates(w, updates)
        return (w, learner_state, rule_state, average, gradient, weighted), out

    start = problem.start
    w = jax.tree.map(lambda x: jnp.asarray(x) * 1.0, w)
    zero = jnp.zeros((), start.dtype)
    carry = (
        w,
        learner.init(w),
        form.rule.init(start),
        averaging.init(start),
        sampled(0, 0)(start),
        zero,
    )
    return jax.lax.scan(step, carry, length=steps)[1]


def in_practice(
    problem: ConvexProblem,
    rule: UpdateRule,
    meta_optimizer: optax.GradientTransformation,
    w: dict[str, PyTree],
    steps: int,
    *,
    space: hp.Space | None = None,
    objective: targets.Objective | None = None,
    keep_path: bool = False,
    key: jax.Array | None = None,
) -> Trace:
    """Runs `metagrad.core` with one inner step a meta-step.

    Without a key the problem has no data. With one, a batch of the engine *is* a key.

    Args:
      problem: what is minimised, from its start.
      rule: phi.
      meta_optimizer: moves w: any optax transformation.
      w: w_1 by name, what the rule reads.
      steps: T; each takes two gradients, one for the update and one to judge it (and the
        trace a third).
      space: bijectors and bounds of w; the identity without bounds if left out.
      objective: see `metagrad.targets`; the plain meta-gradient if left out.
      keep_path: whether the trace has point and w of every step.
      key: with it every gradient that the algorithm sees is a sample. Each step draws two:
        one for the update, and a fresh one to judge it, on which all steps of a bootstrapped
        target are made.
    """

    def loss(x, batch):
        return problem.loss(x) if key is None else problem.sample_loss(x, batch)

    def batches(t):
        """Of step t: one to learn from, one to judge by."""
        if key is None:
            return no_data, no_data
        return tuple(jax.random.split(jax.random.fold_in(key, t)))

    learner = core.meta_learner(
        targets.Problem(
            inner_loss=lambda x, frozen, hyperparams, batch: loss(x, batch),
            outer_loss=lambda x, frozen, batch: loss(x, batch),
            match=lambda target, x, hyperparams, batch: matching.squared(target, x),
        ),
        rule,
        hp.scalars(space or {name: hp.Hyperparameter() for name in w}),
        objective or targets.meta_gradient(),
        meta_optimizer,
    )
    no_data = jnp.zeros(())

    def step(carry, _):
        state, weighted, t = carry
        used = learner.hyperparams(state)
        batch, validation = batches(t)
        state, record = learner.inner_step(state, batch)
        record = jax.tree.map(lambda x: x[None], record)
        state, _ = learner.meta_step(state, record, state.inner, validation[None])
        x = state.inner.params
        linear = jnp.vdot(jax.grad(problem.loss)(x), x - problem.minimiser)
        weighted, t = weighted + linear, t + 1
        path = (None, x, used, None) if keep_path else (None,) * 4
        return (state, weighted, t), Trace(problem.gap(x), weighted / t, *path)

    start = (learner.init(problem.start, w), jnp.zeros((), problem.start.dtype), 0)
    return jax.lax.scan(step, start, length=steps)[1]
