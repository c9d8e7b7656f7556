"""Both programs of the memory benchmark compute the same, and one of them in little memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.agents import self_tuning
from selftuning.benchmarks import memory
from selftuning.envs import registry
from selftuning.training.rollout import collect_in_graph

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("horizon", [1, 3])
def test_mixed_mode_is_reverse_over_reverse(horizon):
    settings = memory.settings_for(horizon, num_envs=4)
    task = registry.make(settings.env, 4, "jax")
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    mixed, reverse, _ = memory.programs(settings)
    collect = jax.jit(collect_in_graph(task, agent, settings.agent.rollout_length))
    inner_step = jax.jit(agent.inner_step)

    key = jax.random.PRNGKey(3)
    state, (env_state, observation) = agent.init(key), task.init(key)
    records = []
    # Some updates before, so that RMSProp's state and the critic are not those of the first step.
    for each in jax.random.split(key, 6 + horizon + 1):
        params = agent.params(state)
        env_state, observation, trajectory, _ = collect(params, env_state, observation, each)
        state, record = inner_step(state, trajectory)
        records.append(record)
    *steps, last = records[-horizon - 1 :]
    steps = jax.tree.map(lambda *x: jnp.stack(x), *steps)
    validation = jax.tree.map(lambda x: x[None], last.batch)
    arguments = state.learner, steps, last.before, validation
    found, expected = jax.jit(mixed)(*arguments), jax.jit(reverse)(*arguments)
    assert set(found) == {"gamma", "lambda", "entropy", "critic"}
    for name, value in expected.items():
        assert value != 0
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


def test_workspace_hardly_grows_with_the_horizon():
    few, many = (memory.row(horizon, num_envs=16) for horizon in (4, 16))
    assert many["data"] == 4 * few["data"] and many["records"] == 4 * few["records"]
    grown = many["mixed"] - few["mixed"]
    # At most copies of what is handed in; reverse mode keeps activations of all updates.
    assert grown < many["data"] + many["records"]
    assert many["reverse"] > 3 * few["reverse"]
