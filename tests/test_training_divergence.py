"""Numbers that are not finite: found within a chunk, named, and what is done then."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import selftuning as st
from selftuning.envs import registry
from tests.small_runs import SMALL, UNTUNED


def bad_cartpole(kind):
    """CartPole with one number that is not finite, in environment 2 after 20 steps of its life."""
    task = registry.make("CartPole-v1", 4, "jax")

    def init(key):
        state, observation = task.init(key)
        return (state, jnp.int32(0)), observation

    def step(both, action):
        (state, count), (state, timestep) = both, task.step(both[0], action)
        here = (count == 20) & (jnp.arange(4) == 2)
        if kind == "reward":
            timestep = timestep._replace(reward=jnp.where(here, jnp.inf, timestep.reward))
        else:
            bad = jnp.where(here[:, None], jnp.nan, timestep.next_observation)
            timestep = timestep._replace(next_observation=bad)
        return (state, count + 1), timestep

    return task._replace(init=init, step=step)


@pytest.mark.fault("a number is not finite", "found within a chunk, named; the last agent is kept")
@pytest.mark.parametrize("kind", ["reward", "observation"])
def test_a_bad_number_of_an_environment_is_named(kind, tmp_path):
    without_envs = {name: x for name, x in SMALL.items() if name != "num_envs"}
    run = st.train(bad_cartpole(kind), out=tmp_path / "run", **without_envs)
    said = "is not finite at its step 21, step 84 of all environments"
    assert (
        run.summary["not_finite"] == f"the {kind} of environment 2 of 4 {said}"
        and run.summary["diverged"]
    )
    assert run.summary["agent_env_steps"] == 64 and run.summary["env_steps"] <= 4 * 64
    assert jax.tree.all(jax.tree.map(lambda x: np.isfinite(x).all(), run.agent.params))
    assert st.load(tmp_path / "run").env_steps == 64
    json.loads((tmp_path / "run" / "summary.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.fault("parameters diverge", "found within a chunk, named; the last agent is kept")
@pytest.mark.parametrize("backend", ["jax", "host"])
def test_parameters_that_diverge_are_found_at_once(backend):
    wild = {"start": {"learning_rate": 1e30}}
    wild |= {"inner_optimizer": "sgd", "max_grad_norm": float("inf"), "backend": backend}
    run = st.train("CartPole", **UNTUNED | wild)
    assert (
        run.summary["not_finite"]
        == "a parameter of the agent is not finite at step 64 of all environments"
    )
    assert run.agent.env_steps == 0 and np.isfinite(run.evaluate(2).mean)
    on = st.train("CartPole", **UNTUNED | wild | {"on_divergence": "ignore"})
    assert on.summary["env_steps"] == 4032 and on.summary["diverged"]


def test_half_the_learning_rate_until_it_is_small_enough():
    wild = {"inner_optimizer": "sgd", "max_grad_norm": float("inf")}
    # The critic's step is stable below 2 over its curvature.
    wild |= {"start": {"learning_rate": 50.0}}
    wild |= {"checkpoint_every": float("inf")}  # back to the beginning each time
    stopped = st.train("CartPole", **UNTUNED | wild)
    assert stopped.summary["diverged"]
    run = st.train("CartPole", **UNTUNED | wild | {"on_divergence": "halve"})
    rate = run.agent.hyperparameters["learning_rate"]
    halved = np.log2(50.0 / rate)
    assert not run.summary["diverged"] and 1 <= halved <= 10 and halved == round(halved)
    assert run.summary["env_steps"] == 4032, "each step counts, in vain or not"
    # Episodes that were begun again, each as long as it pays.
    assert len(run.episodes.returns) > 20
    np.testing.assert_array_equal(run.episodes.lengths, run.episodes.returns)
