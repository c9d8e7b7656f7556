"""Ways of differentiating K updates: mixtures of horizons, and the implicit function theorem."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selftuning.metagrad import core, differentiation, matching, targets, update_rules
from selftuning.metagrad import hyperparams as hp
from selftuning.metagrad.update_rules import InnerState
from tests import test_metagrad_core as network
from tests.quick_jit import quick_jit
from tests.test_metagrad_core import float64  # noqa: F401

K = 4


# Mixtures of horizons, on the small network of `test_metagrad_core`.


def horizons(rule, objective, mixing):
    """Engine of a mixing, with the end and the records of K live updates of it."""
    learner = core.meta_learner(
        network.PROBLEM,
        network.RULES[rule],
        hp.scalars(network.SPACE),
        network.OBJECTIVES[objective],
        optax.sgd(1e-2),
        differentiation=differentiation.unrolled(mixing),
    )
    params, data = network.params_and_data(K + 3)
    start, end, steps = network.run(learner, params, data, K)
    validation = jax.tree.map(lambda x: x[K : K + 2], data)
    return learner, start, end, steps, data, validation


def gradient(learner, end, steps, validation, last=K):
    """Meta-gradient through the last updates alone."""
    steps = jax.tree.map(lambda x: x[K - last :], steps)
    get = quick_jit(lambda *seen: learner.meta_gradient(*seen)[0])
    return get(end, steps, end.inner, validation)


def contributions(rule, objective, start, data):
    """What each update contributes, first to last: each has raw values of its own."""
    at = start.values.raw
    batches = [jax.tree.map(lambda x, k=k: x[k : k + 1], data) for k in range(K + 2)]

    def student(raws):
        inner = start.inner
        for k, raw in enumerate(raws):
            inner = network.replay(
                network.RULES[rule], start._replace(inner=inner), raw, batches[k], 1
            )
        return inner

    end = student([at] * K)
    target, used = end, hp.constrain(network.SPACE, start.values)
    for number in range(3):
        batch = jax.tree.map(lambda x: x[0], batches[K + number % 2])
        slope = jax.grad(network.outer_loss)(target.params, target.params, batch)
        moved = network.RULES[rule].update(slope, target.rule, target.params, used)
        target = InnerState(*moved)

    def judged(raws):
        params, total = student(raws).params, 0.0
        for batch in batches[K:]:
            batch = jax.tree.map(lambda x: x[0], batch)
            if objective == "mg":
                total += network.outer_loss(params, end.params, batch) / 2
            else:
                total += network.PROBLEM.match(target.params, params, None, batch) / 2
        return total

    return quick_jit(jax.grad(judged))([at] * K)


@pytest.mark.parametrize(
    ("rule", "objective"),
    [
        ("adam", "bmg"),
        ("accelerated", "mg"),
        pytest.param("adam", "mg", marks=pytest.mark.slow),
        pytest.param("accelerated", "bmg", marks=pytest.mark.slow),
    ],
)
def test_horizon_mixing_weighs_what_each_update_contributes(rule, objective):
    mixing = 0.6
    learner, start, end, steps, data, validation = horizons(rule, objective, mixing)
    each = contributions(rule, objective, start, data)
    got = gradient(learner, end, steps, validation)
    for name in network.READ_BY[rule] | {"decay", "tilt"}:
        wanted = sum(mixing ** (K - 1 - k) * each[k][name] for k in range(K))
        assert abs(each[0][name]) > 1e-9, "a vanishing contribution would test nothing"
        np.testing.assert_allclose(got[name], wanted, rtol=1e-8, err_msg=name)


def test_horizon_mixing_is_a_mixture_of_all_horizons():
    """With weights (1 - m) m^(k-1) on the last k updates, and what is left on all K."""
    mixing = 0.6
    learner, _, end, steps, _, validation = horizons("rms", "bmg", mixing)
    whole = horizons("rms", "bmg", 1.0)[0]
    each = [gradient(whole, end, steps, validation, k) for k in range(1, K + 1)]
    got = gradient(learner, end, steps, validation)
    for name, value in got.items():
        wanted = sum((1 - mixing) * mixing**k * g[name] for k, g in enumerate(each))
        wanted += mixing**K * each[-1][name]
        np.testing.assert_allclose(value, wanted, rtol=1e-9, atol=1e-15, err_msg=name)


def test_horizon_mixing_of_one_is_all_updates_and_of_zero_the_last():
    whole, _, end, steps, _, validation = horizons("adam", "mg", 1.0)
    by_default = network.make("adam", "mg")
    last = horizons("adam", "mg", 0.0)[0]
    for learner, other, number in ((whole, by_default, K), (last, whole, 1)):
        got = gradient(learner, end, steps, validation)
        wanted = gradient(other, end, steps, validation, number)
        for name, value in got.items():
            np.testing.assert_allclose(value, wanted[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("mixing", [-0.1, 1.1, float("nan")])
def test_horizon_mixing_is_a_share(mixing):
    with pytest.raises(ValueError, match="between 0 and 1"):
        differentiation.unrolled(mixing)


# The implicit function theorem, on f(x) = x' A x / 2 - b' x with A and b that are tuned.

N = 5
SPACE = {
    "learning_rate": hp.Hyperparameter(hp.POSITIVE),
    "ridge": hp.Hyperparameter(hp.POSITIVE),
    "shift": hp.Hyperparameter(),
}
SHIFT = np.linspace(-1.0, 1.5, 3)
START = {"learning_rate": 0.15, "ridge": 0.4, "shift": SHIFT}
RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(N, N)) * 0.6
TO_SLOPE = RNG.normal(size=(N, 3))
GOAL = RNG.normal(size=N)


def curvature(ridge):
    return jnp.asarray(ROOT @ ROOT.T) + ridge * jnp.eye(N)


def quadratic(params, frozen, hyperparams, batch):
    slope = jnp.tanh(TO_SLOPE @ hyperparams["shift"]) + batch
    return params @ curvature(hyperparams["ridge"]) @ params / 2 - slope @ params


def outside(params, frozen, batch):
    return jnp.sum(jnp.cosh(params - jnp.asarray(GOAL)))


PROBLEM = targets.Problem(
    quadratic, outside, lambda target, params, *rest: matching.squared(target, params)
)


def engine(how, objective=None):
    objective = objective or targets.meta_gradient()
    rule, source = update_rules.sgd(), hp.scalars(SPACE)
    return core.meta_learner(PROBLEM, rule, source, objective, optax.sgd(1.0), differentiation=how)


def steps_of(number):
    """A state after that many updates, and their records."""
    learner = engine(None)

    def step(state, _):
        return learner.inner_step(state, jnp.full(N, 0.3))

    return quick_jit(lambda state: jax.lax.scan(step, state, None, number))(
        learner.init(jnp.zeros(N), START)
    )


def gradient_of(how, state, steps, objective=None):
    learner = engine(how, objective)
    validation = jnp.zeros((1, N))
    return quick_jit(lambda *seen: learner.meta_gradient(*seen)[0])(
        state, steps, state.inner, validation
    )


@pytest.mark.parametrize("objective", [targets.meta_gradient(), targets.bootstrapped(2)])
def test_implicit_is_the_limit_of_a_long_unroll(objective):
    """And the learning rate, on which no minimiser depends, has gradient exactly zero."""
    state, steps = steps_of(400)
    state = state._replace(objective=())
    implicit = gradient_of(differentiation.implicit(0.0, 2 * N), state, steps, objective)
    unrolled = gradient_of(None, state, steps, objective)
    assert implicit["learning_rate"] == 0.0
    for name in ("ridge", "shift"):
        assert np.min(np.abs(unrolled[name])) > 1e-3, "a vanishing derivative tests nothing"
        np.testing.assert_allclose(implicit[name], unrolled[name], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(unrolled["learning_rate"], 0.0, atol=1e-6)
    short = gradient_of(None, *steps_of(1), objective)
    assert abs(short["ridge"] / implicit["ridge"] - 1) > 0.1


@pytest.mark.parametrize("damping", [0.3, 5.0])
def test_implicit_with_damping_is_that_of_proximal_learning(damping):
    """theta = argmin f + damping/2 |theta - theta_0|^2, differentiated with dense matrices.

    d theta / d eta = - (I + H / damping)^-1 (d grad f / d eta) / damping (Rajeswaran et al. 2019).
    """
    state, steps = steps_of(3)
    raw, batch, begin = state.values.raw, steps.batch[-1], jnp.linspace(-1.0, 1.0, N)

    def minimiser(raw):
        at = hp.constrain(SPACE, hp.Values(raw, {}))
        slope = -jax.grad(quadratic)(jnp.zeros(N), None, at, batch)
        matrix = curvature(at["ridge"]) + damping * jnp.eye(N)
        return jnp.linalg.solve(matrix, slope + damping * begin)

    params = minimiser(raw)
    state = state._replace(inner=InnerState(params, state.inner.rule))
    got = gradient_of(differentiation.implicit(damping, 2 * N), state, steps)

    def slope_of(raw):
        at = hp.constrain(SPACE, hp.Values(raw, {}))
        return jax.grad(quadratic)(params, None, at, batch)

    hessian = curvature(START["ridge"])
    outer = jax.grad(outside)(params, None, None)
    inverse = jnp.linalg.inv(jnp.eye(N) + hessian / damping)
    through = jax.grad(lambda raw: outside(minimiser(raw), None, None))(raw)
    for name, mixed in jax.jacobian(slope_of)(raw).items():
        formula = -jnp.tensordot(inverse @ outer, mixed, 1) / damping
        np.testing.assert_allclose(got[name], formula, rtol=1e-9, atol=1e-15, err_msg=name)
        np.testing.assert_allclose(got[name], through[name], rtol=1e-9, atol=1e-15)


def test_conjugate_gradients_are_exact_after_as_many_iterations_as_there_are_parameters():
    state, steps = steps_of(3)
    exact = gradient_of(differentiation.implicit(0.1, 10 * N), state, steps)
    errors = []
    for iterations in (1, 3, N):
        got = gradient_of(differentiation.implicit(0.1, iterations), state, steps)
        errors.append(float(jnp.max(jnp.abs(got["shift"] - exact["shift"]))))
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] > 1e-2 and errors[2] < 1e-7


def test_implicit_on_a_network_holds_frozen_parameters_constant():
    """The Hessian by columns, of a loss that is neither quadratic nor an ordinary one."""
    params, data = network.params_and_data(4)
    damping = 3.0  # above the size of its negative eigenvalues
    how = differentiation.implicit(damping, 200)
    learner = core.meta_learner(
        network.PROBLEM,
        network.RULES["rms"],
        hp.scalars(network.SPACE),
        targets.meta_gradient(),
        optax.sgd(1e-2),
        differentiation=how,
    )
    _, end, steps = network.run(learner, params, data, 2)
    validation = jax.tree.map(lambda x: x[2:3], data)
    got = quick_jit(lambda *seen: learner.meta_gradient(*seen)[0])(
        end, steps, end.inner, validation
    )
    flat, unravel = jax.flatten_util.ravel_pytree(end.inner.params)
    batch, held = jax.tree.map(lambda x: x[1], data), end.inner.params
    judge = jax.tree.map(lambda x: x[2], data)

    def slope(flat, raw):
        at = hp.constrain(network.SPACE, hp.Values(raw, {}))
        return jax.grad(lambda x: network.inner_loss(unravel(x), held, at, batch))(flat)

    raw = end.values.raw
    hessian = jax.jacobian(slope)(flat, raw)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
    assert np.linalg.eigvalsh(hessian + damping * np.eye(flat.size))[0] > 0
    outer = jax.grad(lambda x: network.outer_loss(unravel(x), held, judge))(flat)
    direction = jnp.linalg.solve(hessian + damping * jnp.eye(flat.size), outer)
    for name in ("decay", "tilt"):
        mixed = jax.jacobian(slope, 1)(flat, raw)[name]
        assert abs(got[name]) > 1e-4
        np.testing.assert_allclose(got[name], -mixed @ direction, rtol=1e-8, err_msg=name)


def test_implicit_without_any_slope_is_zero():
    state, steps = steps_of(2)
    zero = PROBLEM._replace(match=lambda target, params, *rest: 0.0 * jnp.sum(params))
    learner = core.meta_learner(
        zero,
        update_rules.sgd(),
        hp.scalars(SPACE),
        targets.bootstrapped(1),
        optax.sgd(1.0),
        differentiation=differentiation.implicit(),
    )
    got, _ = learner.meta_gradient(state, steps, state.inner, jnp.zeros((1, N)))
    for value in jax.tree.leaves(got):
        np.testing.assert_array_equal(value, 0.0)
