"""Hyperparameter spaces and matching functions."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftuning.metagrad import hyperparams as hp
from selftuning.metagrad import matching

BIJECTORS = {
    "identity": (hp.IDENTITY, st.floats(-10, 10)),
    "unit_interval": (hp.UNIT_INTERVAL, st.floats(1e-3, 0.999)),
    "positive": (hp.POSITIVE, st.floats(1e-3, 1e3)),
}


@pytest.mark.parametrize("name", list(BIJECTORS))
def test_bijectors_invert(name):
    bijector, values = BIJECTORS[name]

    @given(values)
    def check(value):
        there_and_back = bijector.forward(bijector.inverse(jnp.float32(value)))
        np.testing.assert_allclose(there_and_back, value, rtol=1e-4, atol=1e-5)

    check()


@given(st.floats(-50, 50))
def test_projection_keeps_bounds_and_leaves_the_inside_alone(raw):
    space = {"gamma": hp.Hyperparameter(hp.UNIT_INTERVAL, 0.5, 0.99)}
    projected = hp.project(space, {"gamma": jnp.float32(raw)})
    value = hp.constrain(space, hp.Values(projected, {}))["gamma"]
    assert 0.5 - 1e-6 <= value <= 0.99 + 1e-6
    if 0.01 < raw < 4.5:
        assert projected["gamma"] == jnp.float32(raw)


def test_space_splits_tuned_from_fixed_and_checks_names():
    space = {"a": hp.Hyperparameter(hp.POSITIVE), "b": hp.Hyperparameter(tuned=False)}
    values = hp.init(space, {"a": 2.0, "b": 3})
    assert set(values.raw) == {"a"}
    assert set(values.fixed) == {"b"}
    np.testing.assert_allclose(hp.constrain(space, values)["a"], 2.0, rtol=1e-6)
    with pytest.raises(KeyError):
        hp.init(space, {"a": 2.0})


def test_kl_directions():
    target = distrax.Categorical(logits=jnp.array([[0.0, 1.0], [2.0, 0.0]]))
    student = distrax.Categorical(logits=jnp.array([[0.5, 0.0], [0.0, 0.0]]))
    p, q = target.probs, student.probs
    np.testing.assert_allclose(
        matching.kl(target, student), jnp.mean(jnp.sum(p * jnp.log(p / q), -1)), rtol=1e-5
    )
    np.testing.assert_allclose(
        matching.reverse_kl(target, student), jnp.mean(jnp.sum(q * jnp.log(q / p), -1)), rtol=1e-5
    )


def test_noise_of_the_target_biases_kl_towards_uniform_and_not_reverse_kl():
    """Why reverse_kl is the default: see its docstring."""
    student = jnp.array([3.0, 0.0])
    noise = jax.random.normal(jax.random.PRNGKey(0), (20_000, 1))
    noisy_target = student + jnp.concatenate([noise, -noise], -1)

    def pull(distance):
        def loss(logits):
            logits = jnp.broadcast_to(logits, noisy_target.shape)
            return distance(distrax.Categorical(noisy_target), distrax.Categorical(logits))

        return jax.grad(loss)(student)[0]

    standard_error = 1e-3
    assert pull(matching.kl) > 20 * standard_error  # descent lowers the larger logit
    assert abs(pull(matching.reverse_kl)) < 2 * standard_error
