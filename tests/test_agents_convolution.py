"""Convolutions as matrix products are those of the library, with its parameters."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from selftuning.agents.convolution import Conv2D, convolve


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape)


def reference(x, w, stride, padding):
    order = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=order)


@settings(max_examples=25)
@given(
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    channels=st.sampled_from([1, 3, 40]),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.sampled_from(["SAME", "VALID"]),
)
def test_is_the_convolution_of_the_library(height, width, channels, kernel, stride, padding):
    if padding == "VALID" and min(height, width) < kernel:
        return
    x, w = drawn(2, height, width, channels), drawn(kernel, kernel, channels, 3)
    with jax.enable_x64(True):
        wanted = reference(x, w, stride, padding)
        np.testing.assert_allclose(convolve(x, w, stride, padding), wanted, atol=1e-12)


@pytest.mark.parametrize(("kernel", "stride", "channels"), [(3, 1, 4), (4, 2, 3), (3, 2, 40)])
def test_has_its_derivatives(kernel, stride, channels):
    with jax.enable_x64(True):
        x, w = drawn(2, 9, 8, channels), drawn(kernel, kernel, channels, 5)

        def loss(conv):
            return lambda x, w: jnp.sum(jnp.sin(conv(x, w, stride, "VALID")))

        ours, theirs = (jax.grad(loss(conv), (0, 1))(x, w) for conv in (convolve, reference))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), ours, theirs)
        check_grads(lambda w: convolve(x, w, stride, "VALID"), (w,), order=2, modes=["rev"])


def test_has_the_parameters_of_haiku():
    x = drawn(2, 84, 84, 4).astype(np.float32)
    both = (lambda: Conv2D(32, 8, 4, "VALID")), (lambda: hk.Conv2D(32, 8, 4, padding="VALID"))
    ours, theirs = (hk.without_apply_rng(hk.transform(lambda x, m=m: m()(x))) for m in both)
    params, same = (net.init(jax.random.PRNGKey(1), x) for net in (ours, theirs))
    jax.tree.map(np.testing.assert_array_equal, params, same)
    np.testing.assert_allclose(ours.apply(params, x), theirs.apply(params, x), atol=1e-5)
