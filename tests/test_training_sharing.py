"""A meta-step does not evaluate networks again where an update has just done so."""

from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.agents import self_tuning
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from selftuning.envs import registry
from selftuning.training import runner as runners
from selftuning.training.runner import make_runner
from tests.compiled import products

WIDTH, LENGTH, NUM_ENVS, CYCLES = 24, 5, 6, 4
# Products with a hidden layer as result. An update makes 9: in policy and value two forwards and
# one or two backwards each, and two for the values of successors.
OF_UPDATE = 9
BACKWARD, TANGENT, FORWARD = 3, 6, 6  # of both networks; of successors as well


POLICY = 2  # products of its forward pass


def hidden_products(look=lambda cycles: None, **tuning):
    """In each cycle of a chunk of four; `look` says in which to look how learning goes."""
    settings = RunSettings(
        num_envs=NUM_ENVS,
        agent=AgentSettings(algorithm="actor_critic", hidden=(WIDTH, WIDTH), rollout_length=LENGTH),
        tuning=TuningSettings(**tuning),
    )
    task = registry.make("CartPole-v1", NUM_ENVS, "jax")
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    runner = make_runner(task, agent, settings)
    state = runner.init(jax.random.PRNGKey(0))
    with patch.object(runners, "looked_at", look):
        made = products(runner.compile(state, CYCLES))
    rows = LENGTH * NUM_ENVS
    return made[f"f32[{rows},{WIDTH}]"] / CYCLES


def test_products_of_a_program_are_counted():
    x = jnp.ones((3, 4))

    def loop(x):
        return jax.lax.fori_loop(0, 5, lambda i, x: jnp.tanh(x @ jnp.ones((4, 4))), x)

    assert products(jax.jit(lambda x: loop(x) @ jnp.ones((4, 7))).lower(x).compile()) == {
        "f32[3,4]": 5,
        "f32[3,7]": 1,
    }


@pytest.mark.slow
def test_without_tuning_there_is_an_update():
    assert hidden_products(method="none", period=1) == OF_UPDATE


@pytest.mark.slow
def test_plain_meta_gradients_add_a_backward_and_a_tangent():
    once = OF_UPDATE + BACKWARD + TANGENT
    # The tangent is taken where the update before was made: in another turn of the loop for one
    # of four, which has to evaluate the networks for it.
    assert hidden_products(method="mg", period=1) == once + FORWARD / 4


@pytest.mark.slow
def test_a_look_at_learning_evaluates_the_new_policy_and_nothing_else():
    tuning = {"method": "mg", "period": 1}
    looked = hidden_products(runners.looked_at, **tuning)  # in the last of four cycles
    assert looked == hidden_products(**tuning) + POLICY / 4


def test_bootstrapping_adds_a_target_too():
    target = 4  # two networks forward
    assert hidden_products(method="bmg", period=4) == 4 * OF_UPDATE + (
        BACKWARD + target + BACKWARD + TANGENT
    )


@pytest.mark.slow
def test_cycles_in_one_piece_are_those_one_by_one():
    settings = RunSettings(
        num_envs=NUM_ENVS,
        agent=AgentSettings(algorithm="actor_critic", hidden=(WIDTH,), rollout_length=LENGTH),
        tuning=TuningSettings(method="mg", period=1, optimizer="adam"),
    )
    task = registry.make("CartPole-v1", NUM_ENVS, "jax")
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    runner = make_runner(task, agent, settings)
    together, metrics = runner.compile(runner.init(jax.random.PRNGKey(0)), 6)(
        runner.init(jax.random.PRNGKey(0))
    )
    one = runner.init(jax.random.PRNGKey(0))
    step = runner.compile(one, 1)
    for _ in range(6):
        one, last = step(one)
    for a, b in zip(jax.tree.leaves(together.agent), jax.tree.leaves(one.agent), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(metrics.episode_return[-1], last.episode_return[-1])
