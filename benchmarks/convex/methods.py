"""The methods of `run.py convex`: what each is made of, its learning rate, its certificate.

Learning rates are multiples of 1 / L. What they are the rate of depends on the method:

- of fixed rules, the step size;
- of those with phi = w, beta, the learning rate of w;
- of those that learn step sizes, the step size that they start from, w_1.

The step size of AdaGrad is not measured in 1 / L but in x. A multiple r stands for the one whose
first step is as long as that of gradient descent with r / L.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from selftuning.metagrad import constraints, convex, hints, online, schedules, update_rules
from selftuning.metagrad import hyperparams as hp
from selftuning.metagrad.problems import ConvexProblem
from selftuning.metagrad.update_rules import UpdateRule

MOMENTUM = 0.9

# beta of the learners of step sizes, as a multiple of the step size 1 / L: the best on draws 1000
# to 1004 among 0.01, 0.03, ... 10, one for both kinds, with hint and without
# (docs/meta-gradients.md).
META_RATES = {"sgd": 1.0, "momentum": 0.3, "adagrad": 1.0}


class Curve(NamedTuple):
    """What a method did at steps t = 1 ... T.

    Attributes:
      gap: f(x_t) - f*, [T], exact also with sampled gradients.
      point: x_t, [T, n]; the average where the gap is that of the average; or None.
    """

    gap: jax.Array
    point: jax.Array | None


# (problem, learning rate as a multiple of 1 / L, steps, key of sampled gradients or None) -> Curve
Run = Callable[[ConvexProblem, jax.Array, int, jax.Array | None], Curve]


class Method(NamedTuple):
    """A method, ready to be run on any problem.

    Attributes:
      run: pure; jit and vmap over problem, learning rate and key at will.
      learning_rate: unless it is swept; a multiple of 1 / L.
      bound: (problem, t) -> what f(x_t) - f* is proved not to exceed at that learning rate with
        exact gradients; None if nothing is.
    """

    run: Run
    learning_rate: float
    bound: Callable[[ConvexProblem, jax.Array], jax.Array] | None = None


def _gradients(problem: ConvexProblem, key: jax.Array | None) -> Callable:
    """(x, t) -> the gradient that a method sees at step t."""
    if key is None:
        return lambda x, t: jax.grad(problem.loss)(x)
    return lambda x, t: jax.grad(problem.sample_loss)(x, jax.random.fold_in(key, t))


def _unit(problem: ConvexProblem, of_points: bool) -> jax.Array:
    """1 / L, or, of rates of normalised gradients, that which makes first steps equally long."""
    rate = 1.0 / problem.smoothness
    if of_points:
        gradient = jax.grad(problem.loss)(problem.start)
        rate = rate * jnp.linalg.norm(gradient) / jnp.sqrt(1.0 * gradient.size)
    return rate


# Fixed rules.


def fixed(rule: UpdateRule, *, of_points: bool = False) -> Run:
    """A rule whose learning rate stays as it is; `of_points` if its directions are normalised."""

    def run(problem, rate, steps, key):
        gradient = _gradients(problem, key)
        w = {"learning_rate": rate * _unit(problem, of_points), "momentum": MOMENTUM}

        def step(carry, t):
            x, state = rule.update(gradient(carry[0], t), carry[1], carry[0], w)
            return (x, state), Curve(problem.gap(x), x)

        start = (problem.start, rule.init(problem.start))
        return jax.lax.scan(step, start, jnp.arange(1, steps + 1))[1]

    return run


def _nesterov(problem, rate, steps, key):
    """FISTA without a second term (Beck & Teboulle 2009): Nesterov's method of 1983.

    x_t = y_t - grad f(y_t) / L,  s_{t+1} = (1 + sqrt(1 + 4 s_t^2)) / 2,
    y_{t+1} = x_t + (s_t - 1) / s_{t+1} (x_t - x_{t-1});  its bound holds for f(x_t).
    """
    gradient = _gradients(problem, key)
    step_size = rate * _unit(problem, False)

    def step(carry, t):
        before, ahead, s = carry
        x = ahead - step_size * gradient(ahead, t)
        later = (1 + jnp.sqrt(1 + 4 * s**2)) / 2
        return (x, x + (s - 1) / later * (x - before), later), Curve(problem.gap(x), x)

    one = jnp.ones((), problem.start.dtype)
    start = (problem.start, problem.start, one)
    return jax.lax.scan(step, start, jnp.arange(1, steps + 1))[1]


def gradient_descent_bound(problem: ConvexProblem, t: jax.Array) -> jax.Array:
    """L ||x_0 - x*||^2 / (2 t), for gradient descent with step size 1 / L."""
    return problem.smoothness * problem.square_distance() / (2.0 * t)


def nesterov_bound(problem: ConvexProblem, t: jax.Array) -> jax.Array:
    """2 L ||x_0 - x*||^2 / (t + 1)^2 (Beck & Teboulle 2009, theorem 4.4), step size 1 / L."""
    return 2.0 * problem.smoothness * problem.square_distance() / (t + 1.0) ** 2


# phi = w, in the convex form.


def point(make: Callable[..., convex.Form], *, of_points: bool = False) -> Run:
    """The convex form with phi = w.

    Args:
      make: (rule, beta, problem) -> Form.
      of_points: whether its learner normalises gradients.
    """

    def run(problem, rate, steps, key):
        form = make(update_rules.point(), rate * _unit(problem, of_points), problem)
        w = {"point": problem.start}
        trace = convex.convex_form(problem, form, w, steps, keep_path=True, key=key)
        return Curve(trace.gap, trace.average)

    return run


def _standard_linear(rule, beta, problem):
    return convex.standard(rule, beta, weights=schedules.linear)


def _bootstrapped(rule, beta, problem):
    return convex.bootstrapped(rule, beta, step_size=1.0 / problem.smoothness)


def _adaptive(rule, beta, problem):
    return convex.Form(rule, online.adaptive_ftrl(beta))


# A step size for each coordinate, learned in practice.


def learned(rule: UpdateRule, meta_rate: float, *, hint: bool, of_points: bool = False) -> Run:
    """A rule with a learning rate >= 0 for each coordinate, learned by adaptive FTRL.

    Args:
      rule: reads `learning_rate` and perhaps `momentum`, which is not learned.
      meta_rate: beta of the learner, as a multiple of the step size 1 / L.
      hint: whether the learner has the last meta-gradient as a hint.
      of_points: whether the directions of the rule are normalised.
    """
    space = {"learning_rate": hp.Hyperparameter(), "momentum": hp.Hyperparameter(tuned=False)}
    predictor = hints.last_gradient() if hint else hints.none()

    def run(problem, rate, steps, key):
        unit = _unit(problem, of_points)
        learner = online.adaptive_ao_ftrl(meta_rate * unit, constraint=constraints.non_negative())
        w = {"learning_rate": jnp.full_like(problem.start, rate * unit), "momentum": MOMENTUM}
        trace = convex.in_practice(
            problem,
            rule,
            hints.with_hint(learner, predictor),
            w,
            steps,
            space=space,
            keep_path=True,
            key=key,
        )
        return Curve(trace.gap, trace.point)

    return run


_SGD, _HEAVY, _ADAGRAD = update_rules.sgd(), update_rules.momentum(), update_rules.adagrad()

METHODS: Mapping[str, Method] = {
    "gradient_descent": Method(fixed(_SGD), 1.0, gradient_descent_bound),
    "momentum": Method(fixed(_HEAVY), 0.3),
    "nesterov": Method(_nesterov, 1.0, nesterov_bound),
    "adagrad": Method(fixed(_ADAGRAD, of_points=True), 1.0),
    "standard": Method(point(lambda *a: convex.standard(*a[:2])), 1.0, convex.standard_bound),
    "standard_linear": Method(point(_standard_linear), 0.25),
    "optimistic": Method(
        point(lambda *a: convex.optimistic(*a[:2])), 0.25, convex.optimistic_bound
    ),
    "bootstrapped": Method(point(_bootstrapped), 0.25),
    "adaptive": Method(point(_adaptive, of_points=True), 1.0),
    "optimistic_adaptive": Method(
        point(lambda *a: convex.optimistic(*a[:2], adaptive=True), of_points=True), 1.0
    ),
    "meta_gradient": Method(learned(_SGD, META_RATES["sgd"], hint=False), 1.0),
    "optimistic_meta_gradient": Method(learned(_SGD, META_RATES["sgd"], hint=True), 1.0),
    "meta_momentum": Method(learned(_HEAVY, META_RATES["momentum"], hint=False), 0.3),
    "optimistic_meta_momentum": Method(learned(_HEAVY, META_RATES["momentum"], hint=True), 0.3),
    "meta_adagrad": Method(
        learned(_ADAGRAD, META_RATES["adagrad"], hint=False, of_points=True), 1.0
    ),
    "optimistic_meta_adagrad": Method(
        learned(_ADAGRAD, META_RATES["adagrad"], hint=True, of_points=True), 1.0
    ),
}
