"""What an agent's arithmetic is, counted by hand and in the programs themselves."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.benchmarks.speed import roofline
from selftuning.configs import presets
from selftuning.envs import registry


def test_products_of_a_network_of_two_layers_by_hand():
    """3 inputs, 5 hidden units, 2 outputs: 15 and 10 weights."""
    network = roofline.products((3, 5, 2))
    assert network.forward == 2 * 25
    assert network.backward == 2 * (15 + 10 + 10)
    assert network.twice == 2 * (15 + 5 * 10)


def count_products(function, *arguments):
    """Multiplications and additions of the matrix products of a function."""
    total = 0

    def walk(jaxpr):
        nonlocal total
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                (contracted, _), _ = equation.params["dimension_numbers"]
                shape = equation.invars[0].aval.shape
                inner = np.prod([shape[axis] for axis in contracted])
                total += int(2 * np.prod(equation.outvars[0].aval.shape) * inner)
            for parameter in equation.params.values():
                if hasattr(parameter, "jaxpr"):
                    walk(parameter.jaxpr)

    walk(jax.make_jaxpr(function)(*arguments).jaxpr)
    return total


def test_products_are_those_that_are_made():
    widths, batch = (3, 5, 4, 2), 7
    layers = [jnp.ones(pair) for pair in itertools.pairwise(widths)]
    x = jnp.ones((batch, 3))

    def loss(layers):
        y = x
        for w in layers:
            y = jnp.tanh(y @ w)
        return jnp.sum(y**2)

    def tangent(layers):
        return jax.jvp(loss, (layers,), (jax.tree.map(jnp.ones_like, layers),))[1]

    network = roofline.products(widths)
    assert count_products(loss, layers) == batch * network.forward
    assert count_products(jax.grad(loss), layers) == batch * (network.forward + network.backward)
    assert count_products(tangent, layers) == batch * (network.forward + network.backward)
    both = network.forward + network.backward + network.twice
    assert count_products(jax.grad(tangent), layers) == batch * both


def test_operations_of_a_step_by_hand():
    """One hidden unit: 1 weight in, 1 weight out; each network 4 forward and 6 backward."""
    tiny = presets.for_env("TwoColors-v0")
    tiny = replace(tiny, agent=replace(tiny.agent, hidden=(1,)))

    def of(**changes):
        settings = replace(tiny, tuning=replace(tiny.tuning, **changes))
        return roofline.flops(settings, 1, 1)

    plain = {"acting": 4.0, "learning": 10.0 + 10.0 + 4.0}
    assert of(method="none") == plain
    one = of(method="mg", inner_steps=1, period=2, value_weight=1.0)
    # Both backward; along the way back the entropy weight needs the policy alone.
    assert one == plain | {"judging": 6.0, "differentiation": 3.0}
    # The first update of a target has its outputs from the update that follows the student.
    # Values are not matched: per batch a target's forward pass, and the student's with gradient,
    # but for the student's first outputs.
    long = {"method": "bmg", "inner_steps": 3, "target_steps": 4, "period": 10}
    many = of(**long, matching="kl", value_weight=0.0)
    assert many["target"] == (4 * 24 - 12) / 10
    assert many["matching"] == (4 * 14 - 4) / 10
    # Through an update: as its backward passes, 4 + 4 x 2 for each network, values frozen twice.
    assert many["differentiation"] == pytest.approx((6 + 2 * (12 + 12 + 12 + 12)) / 10)
    values = of(**long, matching="kl", value_weight=1.0)
    assert values["matching"] == (4 * 28 - 8) / 10
    assert of(**long, matching="none", parameter_weight=1.0)["matching"] == 0


def test_the_ends_of_a_network_are_those_of_the_task():
    assert roofline.ends(registry.make("CartPole-v1", 1, "jax").spec) == (4, 2)
    with pytest.raises(ValueError, match="Pendulum-v1"):
        roofline.ends(registry.make("Pendulum-v1", 1, "host").spec)


def test_a_product_takes_time():
    assert 1e8 < roofline.matrix_product()() < 1e15
