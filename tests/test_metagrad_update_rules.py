"""Update rules: against optax, against each other, and on any pytree."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from selftuning.metagrad import (
    averaging,
    convex,
    hints,
    online,
    problems,
    schedules,
    trac,
    update_rules,
)

W = {"learning_rate": 0.1, "momentum": 0.9, "hint_weight": 1.0, "l2_init": 0.2}
RULES = {
    "sgd": update_rules.sgd(),
    "momentum": update_rules.momentum(),
    "adagrad": update_rules.adagrad(),
    "rms": update_rules.rms(),
    "adam": update_rules.adam(),
    "accelerated": update_rules.accelerated(),
    "clipped": update_rules.clip_by_global_norm(update_rules.sgd(), 0.5),
    "l2_init": update_rules.l2_init(update_rules.momentum()),
    "trac": trac.trac(update_rules.adam(), first=0.3),  # as published its steps are tiny at first
}
REFERENCES = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adagrad": optax.adagrad(0.1, initial_accumulator_value=0.0, eps=1e-16),
    "rms": optax.rmsprop(0.1, 0.99, 1e-8),
    "adam": optax.adam(0.1, eps_root=1e-16),
    "clipped": optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1)),
}


def loss(params):
    return jnp.sum(jnp.square(params["a"] - 1)) + jnp.sum(jnp.sin(params["b"]))


def some_params():
    return {"a": jnp.arange(3.0), "b": jnp.ones((2, 2))}


def play(rule, w=W, steps=20):
    params, path = some_params(), []
    state = rule.init(params)
    for _ in range(steps):
        params, state = rule.update(jax.grad(loss)(params), state, params, w)
        path.append(params)
    return path


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


@pytest.mark.parametrize("name", list(REFERENCES))
def test_rules_take_the_path_of_optax(name):
    expected = some_params()
    state = REFERENCES[name].init(expected)
    for params in play(RULES[name]):
        updates, state = REFERENCES[name].update(jax.grad(loss)(expected), state)
        expected = optax.apply_updates(expected, updates)
        close(params, expected, rtol=1e-5)


@pytest.mark.parametrize("name", list(RULES))
@pytest.mark.parametrize(
    "rate",
    [
        {"a": 0.1, "b": 0.1},
        {"a": jnp.full(3, 0.1), "b": jnp.full((2, 2), 0.1)},
        {"a": 0.1, "b": jnp.full((2, 1), 0.1)},
    ],
    ids=["tensor", "element", "mixed"],
)
def test_learning_rates_that_are_all_the_same_are_one(name, rate):
    close(play(RULES[name], {**W, "learning_rate": rate}), play(RULES[name]), rtol=1e-6)


@pytest.mark.parametrize("name", list(RULES))
def test_each_element_moves_at_its_own_learning_rate(name):
    rate = {"a": jnp.array([0.0, 0.1, 0.2]), "b": 0.0}
    start, first = some_params(), play(RULES[name], {**W, "learning_rate": rate}, 1)[0]
    np.testing.assert_array_equal(first["b"], start["b"])
    assert first["a"][0] == start["a"][0]
    same = play(RULES[name], {**W, "learning_rate": 0.2}, 1)[0]
    np.testing.assert_allclose(first["a"][2], same["a"][2], rtol=1e-6)


def test_accelerated_without_momentum_or_hint_is_its_direction():
    plain = {**W, "momentum": 0.0, "hint_weight": 0.0}
    close(play(update_rules.accelerated(), plain), play(update_rules.rms()), rtol=1e-5)


def test_accelerated_without_momentum_is_the_optimistic_gradient_method():
    got = play(update_rules.accelerated(optax.identity()), {**W, "momentum": 0.0})
    params, before = some_params(), None
    for now in got:
        gradient = jax.grad(loss)(params)
        before = gradient if before is None else before
        params = jax.tree.map(lambda x, g, old: x - 0.1 * (2 * g - old), params, gradient, before)
        close(now, params, rtol=1e-5)
        before = gradient


def test_accelerated_becomes_nesterovs_method():
    """Once its average has forgotten its start: hint_weight = momentum, step (1 - momentum) lr."""
    with jax.enable_x64(True):
        momentum, rate = 0.8, 0.3
        w = {"learning_rate": rate, "momentum": momentum, "hint_weight": momentum}
        path = play(update_rules.accelerated(optax.identity()), w, 230)
        step = (1 - momentum) * rate
        for t in (200, 215):
            older, old, now, new = path[t : t + 4]
            gradients = [jax.grad(loss)(x) for x in (old, now)]
            want = jax.tree.map(
                lambda x, y, g, h: (
                    x + momentum * (x - y) - step * ((1 + momentum) * h - momentum * g)
                ),
                now,
                old,
                *gradients,
            )
            close(new, want, rtol=0, atol=1e-12)
            del older


@pytest.mark.parametrize("hinted", [False, True])
def test_averaging_around_a_learner_is_the_convex_form(hinted):
    """Two ways to the same path: an optax transformation, and the loop of metagrad.convex."""
    with jax.enable_x64(True):
        problem = problems.log_sum_exp(0)
        rate = 0.25 / problem.smoothness
        make = convex.optimistic if hinted else convex.standard
        weights = schedules.linear if hinted else schedules.constant
        form = make(update_rules.point(), rate, weights=weights)
        trace = convex.convex_form(problem, form, {"point": problem.start}, 50, keep_path=True)
        learner = online.ao_ftrl(rate, weights=weights)
        if hinted:
            learner = hints.with_hint(learner, hints.last_gradient())
        optimizer = averaging.averaged(learner, weights)
        x, state = problem.start, optimizer.init(problem.start)
        for t in range(50):
            np.testing.assert_allclose(trace.average[t], x, rtol=0, atol=1e-12)
            updates, state = optimizer.update(jax.grad(problem.loss)(x), state, x)
            x = optax.apply_updates(x, updates)


def test_averaging_forgets_and_is_corrected_for_its_start():
    average, mean = averaging.init(jnp.float32(99.0)), 0.0
    for t, x in enumerate([1.0, 2.0, 4.0, -3.0], 1):
        average = averaging.update(average, jnp.float32(x), decay=0.6)
        mean = 0.6 * mean + 0.4 * x
        np.testing.assert_allclose(average.mean, mean / (1 - 0.6**t), rtol=1e-5)


def test_averaging_asks_for_parameters():
    optimizer = averaging.averaged(optax.sgd(0.1))
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


SHAPES = st.lists(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), max_size=3)
DTYPES = st.sampled_from([jnp.float16, jnp.bfloat16, jnp.float32])


@settings(max_examples=60, deadline=None)
@given(SHAPES, DTYPES, st.sampled_from(list(RULES)))
def test_any_pytree_shape_and_dtype(shapes, dtype, name):
    """Types and shapes of parameters and state stay, so that both fit the carry of a scan."""
    rule = RULES[name]
    params = [{"x": jax.ShapeDtypeStruct(shape, dtype)} for shape in shapes]
    w = jax.tree.map(jnp.float32, W)

    def twice(params):
        state = first = rule.init(params)
        for _ in range(2):
            params, state = rule.update(params, state, params, w)
        return params, state, first

    after, state, first = jax.eval_shape(twice, params)
    for got, want in ((after, params), (state, first)):
        assert jax.tree.structure(got) == jax.tree.structure(want)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)


@pytest.mark.parametrize("name", list(RULES))
def test_jit_vmap_and_derivatives(name):
    """Of the loss after three steps in the learning rate, against finite differences."""
    with jax.enable_x64(True):

        def last(rate):
            return loss(play(RULES[name], {**W, "learning_rate": rate}, 3)[-1])

        difference = (last(0.1 + 1e-6) - last(0.1 - 1e-6)) / 2e-6
        np.testing.assert_allclose(jax.jit(jax.grad(last))(0.1), difference, rtol=1e-6)
        rates = jnp.array([0.05, 0.1])
        np.testing.assert_allclose(jax.jit(jax.vmap(last))(rates)[1], last(0.1), rtol=1e-10)


@pytest.mark.parametrize("name", list(RULES))
def test_derivatives_at_a_zero_gradient_are_finite(name):
    rule, params = RULES[name], some_params()
    zero = jax.tree.map(jnp.zeros_like, params)

    def moved(gradient, w):
        state = rule.init(params)
        for _ in range(2):
            new, state = rule.update(gradient, state, params, w)
        return sum(jnp.sum(x) for x in jax.tree.leaves(new))

    derivatives = jax.grad(moved, (0, 1))(zero, W)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(derivatives))


def test_an_annealed_rate_falls_to_nothing_with_the_last_update():
    rule, rates = update_rules.annealed(update_rules.sgd(), 4), {"learning_rate": 0.5}
    params, state = jnp.zeros(2), rule.init(jnp.zeros(2))
    moved = []
    for _ in range(6):
        after, state = rule.update(jnp.ones(2), state, params, rates)
        moved.append(float((params - after)[0]))
        params = after
    np.testing.assert_allclose(moved, [0.5, 0.375, 0.25, 0.125, 0.0, 0.0], rtol=1e-6)


def test_l2_init_is_a_term_of_the_loss():
    """Half the squared distance from the start; clipping, momentum and derivatives see it too."""
    with jax.enable_x64(True):

        def rule(outer):
            return outer(update_rules.clip_by_global_norm(update_rules.momentum(), 1.0))

        def regularized(params, weight):
            away = jax.tree.map(lambda x, y: jnp.sum((x - y) ** 2), params, some_params())
            return loss(params) + weight / 2 * sum(jax.tree.leaves(away))

        def end(weight, by_rule):
            params = some_params()
            one = rule(update_rules.l2_init if by_rule else lambda rule: rule)
            state = one.init(params)
            for _ in range(4):
                gradient = jax.grad(loss if by_rule else lambda x: regularized(x, weight))(params)
                params, state = one.update(gradient, state, params, {**W, "l2_init": weight})
            return loss(params)

        got, want = (
            jax.jit(jax.value_and_grad(partial(end, by_rule=by)))(0.7) for by in (True, False)
        )
        np.testing.assert_allclose(got, want, rtol=1e-10)
        assert abs(want[1]) > 1e-3
        plain = play(rule(lambda rule: rule), steps=4)[-1]
        assert end(0.0, True) == loss(plain)
