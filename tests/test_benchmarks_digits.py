"""The pieces of the digits benchmark, on runs of a few steps."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selftuning.benchmarks import digits, digits_picture
from selftuning.benchmarks.record import RESULTS
from selftuning.metagrad import hints

pytestmark = pytest.mark.slow

SHORT = {"steps": 5, "batch_size": 16}


def flat(tree):
    return jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])


def run(name, key, rate, meta_rate, **keywords):
    one = functools.partial(digits.train, digits.METHODS[name], **SHORT, **keywords)
    return jax.jit(one)(key, rate, meta_rate)


@jax.jit
def first_samples(key):
    """Initial parameters and the minibatches of a short run, made as `train` says it does."""
    init_key, data_key = jax.random.split(key)
    images, labels = map(jnp.asarray, digits.load().train)
    rows = digits.minibatches(data_key, len(images), 6, 16)
    return digits.NETWORK.init(init_key, images[:1]), [(images[r], labels[r]) for r in rows]


def test_the_split_and_the_network():
    data = digits.load()
    assert data.train[0].shape == (1437, 64)
    assert data.test[0].shape == (360, 64)
    assert (data.train[0].min(), data.train[0].max()) == (0.0, 1.0)
    assert np.all(np.bincount(data.test[1]) > 20), "every digit is tested"
    params, _ = first_samples(jax.random.PRNGKey(0))
    assert len(flat(params)) == 4810


def test_minibatches_are_epochs_in_new_orders():
    rows = np.asarray(digits.minibatches(jax.random.PRNGKey(0), 100, 7, 30))
    assert rows.shape == (7, 30)
    for epoch in (rows[:3], rows[3:6]):
        assert len(np.unique(epoch)) == 90
    assert not np.array_equal(rows[:3], rows[3:6])


def test_a_fixed_learning_rate_is_the_path_of_optax():
    key = jax.random.PRNGKey(3)
    got = run("SGD", key, 0.5, 0.0)
    params, batches = first_samples(key)
    sgd, loss_and_gradient = optax.sgd(0.5), jax.jit(jax.value_and_grad(digits.loss))
    state, losses = sgd.init(params), []
    for batch in batches[:5]:
        loss, gradient = loss_and_gradient(params, batch)
        losses.append(loss)
        updates, state = sgd.update(gradient, state)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(got.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(got.final, digits.loss(params, digits.load().train), rtol=1e-5)
    assert got.rate == 0.5


def test_a_meta_gradient_is_judged_on_the_next_minibatch():
    key = jax.random.PRNGKey(3)
    got = run("standard", key, 0.5, 0.1, keep=True)
    params, batches = first_samples(key)
    gradient_of = jax.jit(jax.grad(digits.loss))
    now = gradient_of(params, batches[0])
    moved = jax.tree.map(lambda p, g: p - 0.5 * g, params, now)
    following = gradient_of(moved, batches[1])
    want = -flat(now) * flat(following)
    np.testing.assert_allclose(got.meta_gradients[0], want, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(got.losses[1], digits.loss(moved, batches[1]), rtol=1e-5)


def test_methods_see_the_same_samples():
    key = jax.random.PRNGKey(5)
    sgd, hinted = (run(name, key, 0.5, 0.1).losses for name in ("SGD", "optimistic, average"))
    np.testing.assert_allclose(sgd[:2], hinted[:2], rtol=1e-5)
    assert sgd[4] != hinted[4]


def test_sweeps_are_runs_side_by_side_and_seeds_repeat():
    swept = digits.sweep(digits.METHODS["SGD"], [5, 6], [0.1, 0.5], [0.0], **SHORT).losses
    assert swept.shape == (2, 2, 1, 5)
    assert np.all(swept[0] != swept[1])
    one, again = (run("SGD", jax.random.PRNGKey(6), 0.1, 0.0).losses for _ in range(2))
    np.testing.assert_allclose(one, swept[1, 0, 0], rtol=1e-5)
    np.testing.assert_array_equal(again, one)


def test_a_run_that_diverges_counts_as_the_highest_loss():
    got = run("SGD", jax.random.PRNGKey(0), 1e30, 0.0)
    assert got.losses[-1] == got.final == digits.HIGHEST


def test_tuning_takes_the_lowest_loss_of_its_seeds():
    method, rates = digits.METHODS["SGD"], [1e-4, 0.5, 1e3]
    rate, meta_rate, losses = digits.tune(method, rates, [0.1, 0.2], [1000], **SHORT)
    assert (rate, meta_rate) == (0.5, 0.0)
    assert losses.shape == (3, 1)
    assert losses.argmin() == 1


def test_surprise_counts_steps_and_parameters():
    """By hand: gradients 1, 1, 3 and 2, 2, 2; the third parameter has none."""
    gradients = jnp.array([[1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [3.0, 2.0, 0.0]])
    assert digits.surprise(hints.none(), gradients) == (1.0, 1.0)
    by_step, by_parameter = digits.surprise(hints.last_gradient(), gradients)
    np.testing.assert_allclose(by_step, 4 / 13, rtol=1e-6)  # of 1, 0 and 4 / 13
    np.testing.assert_allclose(by_parameter, (5 / 11 + 4 / 12) / 2, rtol=1e-6)


def test_the_last_of_independent_gradients_doubles_the_surprise():
    gradients = jax.random.normal(jax.random.PRNGKey(0), (500, 1000))
    got = digits.surprise(hints.last_gradient(), gradients)
    np.testing.assert_allclose(got, 2.0, rtol=0.05)


def test_the_picture_is_drawn_from_the_results(tmp_path):
    result = json.loads((RESULTS / "digits.json").read_text(encoding="utf-8"))
    digits_picture.draw(result, tmp_path / "digits.png")
    assert (tmp_path / "digits.png").stat().st_size > 10_000
