"""Distributions over actions against distrax, and where their formulas are fragile."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.agents import distributions
from tests.published import NUMBERS

MAKE = {
    "categorical": distributions.categorical,
    "of_probabilities": distributions.of_probabilities,
    "categoricals": lambda x: distributions.Independent(distributions.categorical(x)),
    "bernoullis": lambda x: distributions.Independent(distributions.Bernoulli(x)),
    "normal": lambda mean, scale: distributions.squashed_normal(mean, scale, np.zeros(3, bool)),
}


@pytest.mark.parametrize("name", MAKE)
def test_values_gradients_and_draws_are_those_of_distrax(name):
    with jax.enable_x64(True):
        known = {key: jax.tree.map(jnp.asarray, x) for key, x in _arrays(name).items()}
        here, other = MAKE[name](*known["given"]), MAKE[name](*known["other"])
        draws, log_prob = here.sample_and_log_prob(seed=jax.random.PRNGKey(5), sample_shape=(3,))
        found = {
            "log_prob": here.log_prob(known["value"]),
            "entropy": here.entropy(),
            "kl_divergence": here.kl_divergence(other),
            "mode": here.mode(),
            "sample": draws,
        }
        for key, value in found.items():
            np.testing.assert_allclose(value, known[key], rtol=1e-12, err_msg=key)
        np.testing.assert_array_equal(log_prob, here.log_prob(draws))

        def total(*arguments):
            one = MAKE[name](*arguments)
            of_one = one.log_prob(known["value"]), one.entropy(), one.kl_divergence(other)
            return sum(map(jnp.sum, of_one))

        slopes = jax.grad(total, range(len(known["given"])))(*known["given"])
        for slope, expected in zip(slopes, known["gradient"], strict=True):
            np.testing.assert_allclose(slope, expected, rtol=1e-10, atol=1e-12)


def _arrays(name):
    lists = {"given", "other", "gradient"}
    numbers = NUMBERS["distributions"][name].items()
    return {key: list(map(np.array, x)) if key in lists else np.array(x) for key, x in numbers}


def test_what_never_happens_counts_nothing():
    sure = distributions.of_probabilities(jnp.array([0.0, 1.0]))
    assert float(sure.entropy()) == 0
    np.testing.assert_array_equal(sure.log_prob(jnp.array([0, 1])), [-np.inf, 0])
    assert float(sure.kl_divergence(distributions.categorical(jnp.zeros(2)))) == np.float32(
        np.log(2)
    )


def test_numbers_that_are_none_have_no_chance():
    fair = distributions.categorical(jnp.zeros(3))
    np.testing.assert_array_equal(fair.log_prob(jnp.array([-1, 3])), -np.inf)


@pytest.mark.parametrize("name", MAKE)
def test_they_pass_through_vmap_and_stop_gradient(name):
    given = [jnp.asarray(x, jnp.float32) for x in _arrays(name)["given"]]
    whole = MAKE[name](*given)
    rows = jax.lax.stop_gradient(jax.vmap(MAKE[name])(*given))
    np.testing.assert_array_equal(rows.entropy(), whole.entropy())
    assert not np.any(
        jax.grad(lambda x: rows.kl_divergence(MAKE[name](x, *given[1:])).sum())(given[0])
        - jax.grad(lambda x: whole.kl_divergence(MAKE[name](x, *given[1:])).sum())(given[0])
    )
