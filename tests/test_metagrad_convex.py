"""The convex core: special cases as identities, certified rates, and the known tables."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selftuning.metagrad import (
    averaging,
    constraints,
    convex,
    hints,
    online,
    problems,
    schedules,
    targets,
    update_rules,
)
from selftuning.metagrad import hyperparams as hp

DRAWS = 20


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def some_quadratic(seed):
    rng = np.random.default_rng(seed)
    return problems.quadratic(np.logspace(0, -4, 30), rng.normal(size=30), seed)


PROBLEMS = {
    "plane_quadratic": problems.plane_quadratic,
    "quadratic": some_quadratic,
    "pseudo_huber": problems.pseudo_huber,
    "pseudo_huber_columns": lambda seed: problems.pseudo_huber(seed, scaled="columns"),
    "log_sum_exp": problems.log_sum_exp,
    "logistic": problems.random_logistic,
}


def at_start(problem):
    return {"point": problem.start}


# Problems.


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_minimiser_and_smoothness_are_what_they_are_said_to_be(name):
    problem = PROBLEMS[name](0)
    gradient = jax.grad(problem.loss)
    np.testing.assert_allclose(gradient(problem.minimiser), 0.0, atol=1e-11)
    np.testing.assert_allclose(problem.gap(problem.minimiser), 0.0, atol=1e-14)
    hessian = jax.jit(jax.hessian(problem.loss))
    rng = np.random.default_rng(1)
    for scale in (0.0, 1e-3, 1.0, 10.0):
        x = problem.minimiser + scale * rng.normal(size=problem.start.shape)
        eigenvalues = np.linalg.eigvalsh(hessian(x))
        assert eigenvalues[0] >= -1e-9 * problem.smoothness
        assert eigenvalues[-1] <= problem.smoothness * (1 + 1e-9)
        assert problem.gap(x) >= -1e-15
    if name != "log_sum_exp":  # there the constant is attained, at the start or at the minimiser
        attained = max(
            np.linalg.eigvalsh(hessian(x))[-1] for x in (problem.start, problem.minimiser)
        )
        np.testing.assert_allclose(attained, problem.smoothness, rtol=1e-9)


def test_smoothness_of_log_sum_exp_is_nearly_attained():
    """Two rows, where both weigh one half."""
    problem = problems.log_sum_exp(2, rows=2, columns=3)
    matrix, log_weights, _, temperature = problem.data
    row = matrix[0] - matrix[1]
    shift = (log_weights[1] - log_weights[0]) * temperature / jnp.vdot(row, row)
    hessian = jax.hessian(problem.loss)(problem.minimiser + shift * row)
    ratio = np.linalg.eigvalsh(hessian)[-1] / problem.smoothness
    assert 0.5 < ratio <= 1.0 + 1e-9


def test_nesterov_worst_case():
    problem = problems.nesterov_worst_case(4)
    tridiagonal = 2 * np.eye(9) - np.eye(9, k=1) - np.eye(9, k=-1)
    np.testing.assert_allclose(
        jax.jit(jax.hessian(problem.loss))(problem.start), tridiagonal, atol=1e-14
    )
    np.testing.assert_allclose(jax.grad(problem.loss)(problem.start), -np.eye(9)[0], atol=1e-14)
    np.testing.assert_allclose(problem.gap(problem.start), 0.5 * 9 / 10)


def test_plane_quadratic_is_the_papers():
    problem = problems.plane_quadratic(3)
    np.testing.assert_allclose(problem.start, [4.0, 4.0])
    half_hessian = jax.hessian(problem.loss)(problem.start) / 2
    np.testing.assert_allclose(np.linalg.eigvalsh(half_hessian), [1.0, 4.0])


def test_problem_arguments_are_checked():
    with pytest.raises(ValueError, match="scaled"):
        problems.pseudo_huber(0, scaled="diagonals")
    with pytest.raises(ValueError, match="ridge"):
        problems.logistic(np.ones((2, 1)), [0, 1], ridge=0.0)


def test_breast_cancer_without_scikit_learn(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        problems.breast_cancer()


# Identities.


def convex_path(problem, form, steps=60):
    return convex.convex_form(problem, form, at_start(problem), steps, keep_path=True)


@pytest.mark.parametrize("name", ["quadratic", "log_sum_exp"])
def test_i1_without_hint_it_is_heavy_ball(name):
    problem = PROBLEMS[name](1)
    beta = 1.0 / problem.smoothness
    path = convex_path(problem, convex.standard(update_rules.point(), beta)).average
    gradient = jax.grad(problem.loss)
    for t in range(2, 60):
        now, before = path[t - 1], path[t - 2]
        want = now + (t - 1) / (t + 1) * (now - before) - beta / (t + 1) * gradient(now)
        np.testing.assert_allclose(path[t], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["quadratic", "log_sum_exp"])
def test_i2_with_hint_it_is_accelerated(name):
    problem = PROBLEMS[name](1)
    beta = 0.25 / problem.smoothness
    path = convex_path(problem, convex.optimistic(update_rules.point(), beta)).average
    gradient = jax.grad(problem.loss)
    for t in range(2, 60):
        now, before = path[t - 1], path[t - 2]
        push = (2 * t + 1) * gradient(now) - t * gradient(before)
        want = now + (t - 1) / (t + 2) * (now - before) - 2 * beta / (t + 2) * push
        np.testing.assert_allclose(path[t], want, rtol=0, atol=1e-12)


def test_i3_the_rate_is_nesterovs():
    problem = problems.nesterov_worst_case(200)
    step = 0.5 / problem.smoothness

    def nesterov(carry, t):
        now, before = carry
        ahead = now + (t - 1) / (t + 2) * (now - before)
        return (ahead - step * jax.grad(problem.loss)(ahead), now), None

    start = (problem.start, problem.start)
    (end, _), _ = jax.lax.scan(nesterov, start, jnp.arange(1, 201))
    form = convex.optimistic(update_rules.point(), step / 2)
    ours = convex.convex_form(problem, form, at_start(problem), 200).gap[-1]
    assert 0.5 < ours / problem.gap(end) < 2


@pytest.mark.parametrize("name", ["quadratic", "log_sum_exp"])
def test_i4_in_practice_it_is_classical_momentum(name):
    problem = PROBLEMS[name](2)
    beta, mu, steps = 0.1 / float(problem.smoothness), 0.9, 200
    w = {"increment": -beta * jax.grad(problem.loss)(problem.start)}
    learner = online.ogd(beta, decay=mu)
    trace = convex.in_practice(problem, update_rules.increment(), learner, w, steps, keep_path=True)

    sgd = optax.sgd(beta, momentum=mu)
    x, state = problem.start, sgd.init(problem.start)
    for t in range(steps):
        updates, state = sgd.update(jax.grad(problem.loss)(x), state)
        x = optax.apply_updates(x, updates)
        np.testing.assert_allclose(trace.point[t], x, rtol=0, atol=1e-10)
    assert trace.gap[-1] < 0.5 * problem.gap(problem.start)


def test_i4_with_a_gradient_step_it_is_quasi_hyperbolic_momentum():
    problem = some_quadratic(2)
    lr, nu, mu = 0.5 / float(problem.smoothness), 0.7, 0.9
    beta = lr * nu * (1 - mu)
    w = {"increment": -beta * jax.grad(problem.loss)(problem.start)}
    rule = update_rules.increment(lr * (1 - nu))
    trace = convex.in_practice(problem, rule, online.ogd(beta, decay=mu), w, 200, keep_path=True)
    x, mean = problem.start, 0.0
    for t in range(200):
        gradient = jax.grad(problem.loss)(x)
        mean = mu * mean + (1 - mu) * gradient
        x = x - lr * ((1 - nu) * gradient + nu * mean)
        np.testing.assert_allclose(trace.point[t], x, rtol=0, atol=1e-10)


def test_i5_a_learned_step_size_is_hypergradient_descent():
    problem = some_quadratic(3)
    beta, w, x = 1e-2, 0.1, problem.start
    trace = convex.in_practice(
        problem, update_rules.sgd(), online.ogd(beta), {"learning_rate": w}, 100, keep_path=True
    )
    for t in range(100):
        before = jax.grad(problem.loss)(x)
        x = x - w * before
        np.testing.assert_allclose(trace.point[t], x, rtol=0, atol=1e-10)
        np.testing.assert_allclose(trace.w["learning_rate"][t], w, rtol=0, atol=1e-10)
        w = w + beta * jnp.vdot(jax.grad(problem.loss)(x), before)
    assert w > 0.2, "it should have learned something"


def test_i6_a_gradient_step_as_target_is_the_plain_meta_gradient():
    problem = PROBLEMS["log_sum_exp"](0)
    gradient = jax.grad(problem.loss)
    before = gradient(problem.start)
    rates = jnp.full_like(problem.start, 0.1)

    def phi(w):
        return problem.start - w * before

    x = phi(rates)
    zero = jnp.zeros_like(x)
    target = hints.target_from_prediction(x, gradient(x), zero, zero)
    by_target = jax.grad(lambda w: 0.5 * jnp.sum(jnp.square(phi(w) - target)))(rates)
    plain = jax.grad(lambda w: problem.loss(phi(w)))(rates)
    np.testing.assert_allclose(by_target, plain, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(hints.implied_optimism(x, gradient(x), target), 0.0, atol=1e-12)


def test_i7_a_target_is_a_hint():
    """BMG's path, by plain gradient steps towards targets, is that of AO-FTRL, and back."""
    problem = PROBLEMS["log_sum_exp"](4)
    beta, steps = 1e-3, 50
    gradient = jax.grad(problem.loss)
    rates = jnp.full_like(problem.start, 1e-2)
    form = convex.optimistic(update_rules.sgd(), beta)
    trace = convex.convex_form(problem, form, {"learning_rate": rates}, steps, keep_path=True)

    average = averaging.init(problem.start)
    w, before, hint = rates, gradient(problem.start), jnp.zeros_like(rates)
    for t in range(1, steps + 1):
        np.testing.assert_allclose(trace.w["learning_rate"][t - 1], w, rtol=0, atol=1e-10)

        def phi(w, base=average.mean, before=before):
            return base - w * before

        x = phi(w)
        average = averaging.update(average, x, schedules.linear)
        now = gradient(average.mean)
        np.testing.assert_allclose(trace.average[t - 1], average.mean, rtol=0, atol=1e-10)
        # The hint is the last meta-gradient, so the prediction is the last gradient.
        last = hint / -before
        target = hints.target_from_prediction(x, now, now, last, t, t + 1)
        back = hints.prediction_from_target(x, now, target, last, t, t + 1)
        np.testing.assert_allclose(back, now, rtol=0, atol=1e-10)
        w = w - beta * jax.grad(lambda w: 0.5 * jnp.sum(jnp.square(phi(w) - target)))(w)  # noqa: B023
        hint, before = -before * now, now
    assert float(jnp.max(jnp.abs(w - rates))) > 1e-4, "it should have learned something"


# The pieces together.


def test_learning_rates_are_learned_in_both_forms():
    """From a step size far too small, every learner and hint does better than leaving it."""
    problem = some_quadratic(5)
    w = {"learning_rate": jnp.full_like(problem.start, 1e-3)}
    fixed = convex.Form(update_rules.sgd(), online.ogd(0.0))
    left_alone = convex.convex_form(problem, fixed, w, 200).gap[-1]
    box = constraints.box(0.0, 1.0)
    predictors = {
        "none": hints.none(),
        "last": hints.last_gradient(),
        "average": hints.exponential_average(0.5),
    }
    for hint in predictors.values():
        for adaptive in (False, True):
            form = convex.optimistic(
                update_rules.sgd(), 0.1, hint=hint, constraint=box, adaptive=adaptive
            )
            trace = convex.convex_form(problem, form, w, 200, keep_path=True)
            assert trace.gap[-1] < 0.5 * left_alone
            rates = trace.w["learning_rate"]
            assert np.all((rates >= 0) & (rates <= 1 + 1e-12))
        learner = hints.with_hint(online.ao_ftrl(0.1, constraint=box), hint)
        trace = convex.in_practice(problem, update_rules.sgd(), learner, w, 200)
        assert trace.gap[-1] < 0.5 * left_alone


def test_in_practice_takes_bijectors_bounds_and_bootstrapped_targets():
    problem = problems.plane_quadratic(0)
    space = {
        "learning_rate": hp.Hyperparameter(hp.POSITIVE, 1e-4, 0.2),
        "momentum": hp.Hyperparameter(tuned=False),
    }
    for objective in (targets.meta_gradient(), targets.bootstrapped(3)):
        trace = convex.in_practice(
            problem,
            update_rules.momentum(),
            optax.adam(0.1),
            {"learning_rate": 1e-3, "momentum": 0.5},
            100,
            space=space,
            objective=objective,
            keep_path=True,
        )
        assert np.all(trace.w["learning_rate"] <= 0.2 + 1e-12)
        assert trace.gap[-1] < 1e-3 * trace.gap[0]


def test_no_nan_where_nothing_is_left_to_learn():
    """From the minimiser: every gradient is zero, and stays so, derivatives included."""
    base = problems.plane_quadratic(0)
    problem = problems.ConvexProblem(
        base.function,
        base.data,
        base.minimiser,
        base.optimal_value,
        base.smoothness,
        base.minimiser,
    )

    def last(rate):
        form = convex.optimistic(update_rules.point(), rate, adaptive=True)
        return convex.convex_form(problem, form, at_start(problem), 5).gap[-1]

    assert jax.value_and_grad(last)(0.1) == (0.0, 0.0)


def test_derivative_through_a_whole_run_and_vmap_over_learning_rates():
    problem = problems.plane_quadratic(0)

    def last(rate):
        form = convex.optimistic(update_rules.point(), rate)
        return convex.convex_form(problem, form, at_start(problem), 20).gap[-1]

    difference = (last(0.03 + 1e-7) - last(0.03 - 1e-7)) / 2e-7
    np.testing.assert_allclose(jax.jit(jax.grad(last))(0.03), difference, rtol=1e-5)
    rates = jnp.asarray([0.01, 0.02, 0.03])
    np.testing.assert_allclose(jax.vmap(last)(rates)[2], last(0.03), rtol=1e-10)


def test_float32_is_what_one_gets_without_asking():
    with jax.enable_x64(False):
        problem = problems.plane_quadratic(0)
        form = convex.optimistic(update_rules.point(), 0.25 / problem.smoothness)
        trace = convex.convex_form(problem, form, at_start(problem), 20, keep_path=True)
        assert {x.dtype for x in jax.tree.leaves(trace)} == {jnp.dtype("float32")}
        assert trace.gap[-1] < trace.gap[0]
