"""TRAC and its tuner: against the numbers of its authors' package, and against definitions."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from selftuning.metagrad import constraints, trac, update_rules
from selftuning.metagrad.special import erfi

PUBLISHED = Path(__file__).parent / "data" / "trac.json"
W = {"learning_rate": 0.05, "momentum": 0.9}


@pytest.mark.parametrize(("wide", "rtol"), [(True, 3e-13), (False, 2e-5)])
def test_erfi_is_scipys(wide, rtol):
    """In units of the last digit, times the number by which erfi enlarges errors of x, 2 x^2."""
    with jax.enable_x64(wide):
        most = 26.0 if wide else 9.2
        x = np.concatenate([np.logspace(-30, 0, 40), np.linspace(0, most, 400)])
        x = jnp.concatenate([jnp.asarray(x), -jnp.asarray(x)])
        want = scipy.special.erfi(np.asarray(x, np.float64))
        np.testing.assert_allclose(erfi(x), want, rtol=rtol)
        slope = jax.vmap(jax.grad(erfi))(x)
        want = 2 / np.sqrt(np.pi) * np.exp(np.square(np.asarray(x, np.float64)))
        np.testing.assert_allclose(slope, want, rtol=rtol)


def test_erfi_is_infinite_only_where_its_value_is():
    np.testing.assert_array_equal(
        erfi(jnp.array([-jnp.inf, -1e4, 0.0, 30.0, jnp.inf])),
        [-np.inf, -np.inf, 0, np.inf, np.inf],
    )
    assert np.isnan(erfi(jnp.nan))


def gradients(t, a, b):
    """Of a task that changes three times."""
    target = (1.0, 0.3, 1.5, -1.0)[min(t // 40, 3)]
    noise = jnp.cos(jnp.arange(3.0) + 7 * t)
    by_a = a - target * jnp.array([1.0, -2.0, 0.5]) + noise
    return {"a": by_a, "b": jnp.tanh(3.0 * (b + target)) + 0.1 * b}


def start():
    return {"a": jnp.array([0.0, 0.3, -0.2]), "b": jnp.array([[0.5, -0.5], [0.0, 1.0]])}


def play(rule, steps, w=W):
    params = start()
    state, path = rule.init(params), []
    step = jax.jit(rule.update)
    for t in range(steps):
        params, state = step(gradients(t, **params), state, params, w)
        path.append((params, state))
    return path


def test_trac_takes_the_path_of_the_published_package():
    """Numbers of trac-optimizer 0.0.2 with the exact erfi, its own being off by up to 1%.

    In float64 (torch.set_default_dtype before its import), with trac_optimizer.trac.erfi replaced
    by the Taylor series, on the parameters and gradients above, in this order, and with

        start_trac(log, torch.optim.Adam)([a, b], lr=0.05)

    after each of 140 steps the scale max(sum(s), 0), and after each fifth, from the first on,
    a and b. The scale goes through seven orders of magnitude, up and down, and is 0 at the end.
    """
    published = json.loads(PUBLISHED.read_text())
    with jax.enable_x64(True):
        path = play(trac.trac(update_rules.adam(eps_root=1e-30)), 140)
        scale = [max(float(trac.plays(state.tuner)), 0.0) for _, state in path]
        np.testing.assert_allclose(scale, published["scale"], rtol=1e-5)
        for name in ("a", "b"):
            got = [params[name] for params, _ in path[:: published["every"]]]
            np.testing.assert_allclose(got, published[name], rtol=1e-5, atol=1e-15)
    assert max(scale) > 0.8
    assert scale[-1] == 0.0


def test_the_way_is_that_of_the_rule_and_h_is_the_derivative_in_the_scale():
    """Where a tuner starts large, eps is nothing: the way is the sum of the rule's steps."""
    with jax.enable_x64(True):
        rule = trac.trac(update_rules.sgd(), first=0.1, eps=1e-30)
        way = jax.tree.map(jnp.zeros_like, start())
        params, sums = start(), np.full(6, 1e-30)
        for t, (after, state) in enumerate(play(rule, 30)):
            gradient = gradients(t, **params)
            h = sum(jnp.vdot(gradient[name], way[name]) for name in way)
            sums = np.array(trac.DISCOUNTS) * sums - h
            np.testing.assert_allclose(state.tuner.sums, sums, rtol=1e-8)
            way = jax.tree.map(lambda d, g: d - 0.05 * g, way, gradient)
            scale = max(trac.plays(state.tuner, 0.1, 1e-30), 0.0)
            assert scale > 0, "a rule that stands still would test nothing"
            want = jax.tree.map(lambda x, d, s=scale: x + s * d, start(), way)
            jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9), after, want)
            params = after


def follow(learner, gradient, w, steps):
    """What a learner plays, [steps, ...], and its last state; gradient is a function of (t, w)."""

    def step(carry, t):
        w, state = carry
        updates, state = learner.update(gradient(t, w), state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), (w, trac.plays(state))

    return jax.lax.scan(step, (w, learner.init(w)), jnp.arange(steps))


def test_the_tuner_by_itself_finds_the_minimum_without_a_step_size():
    """Of |w - w*| from 0, element by element, at scales far from the first step."""
    with jax.enable_x64(True):
        target = jnp.array([3.0, -0.02, 500.0])
        _, (path, _) = follow(trac.tuner(), lambda t, w: jnp.sign(w - target), jnp.zeros(3), 4000)
        np.testing.assert_allclose(jnp.mean(path[2000:], 0), target, rtol=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_the_tuner_stays_in_its_set_and_its_state_says_what_it_plays(seed):
    noise = jnp.asarray(np.random.default_rng(seed).normal(-0.3, 2.0, size=(200, 4)), jnp.float32)
    learner = trac.tuner(first=0.5, constraint=constraints.box(-1.0, 2.0))
    start = jnp.array([0.3, -1.0, 2.0, 0.0])
    (_, state), (path, _) = follow(learner, lambda t, w: noise[t], start, 200)
    assert np.all((path >= -1 - 1e-6) & (path <= 2 + 1e-6))
    assert np.any(path == -1)
    assert np.any((path > -1) & (path < 2))
    last = jnp.clip(trac.plays(state, 0.5), -1, 2)
    np.testing.assert_allclose(path[-1], last, rtol=1e-5, atol=1e-6)


def test_the_tuner_asks_for_what_it_plays():
    learner = trac.tuner()
    with pytest.raises(ValueError, match="needs what it plays"):
        learner.update(jnp.ones(()), learner.init(jnp.zeros(())))


def test_noise_leaves_the_scale_near_its_first_and_a_drift_does_not():
    noise = jnp.asarray(np.random.default_rng(0).normal(size=500), jnp.float32)
    for drift, grows in ((0.0, False), (-0.5, True)):
        _, (path, _) = follow(trac.tuner(), lambda t, w, d=drift: noise[t] + d, jnp.zeros(()), 200)
        assert (np.max(np.abs(path)) > 1e-4) == grows
