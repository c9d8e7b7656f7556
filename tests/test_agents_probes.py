"""The agent learns the values and actions of environments where these are known."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.agents import networks, self_tuning
from selftuning.agents.trajectory import seen
from selftuning.configs.hyperparameters import default_hyperparameters
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from selftuning.training.runner import make_runner
from tests import probes
from tests.marks import mostly_slow

GAMMA = 0.9


def train(probe, method="none", cycles=1000, num_envs=16):
    """Trains on a probe; returns its networks, and what the agent acts by."""
    hyperparameters = default_hyperparameters()
    hyperparameters["gamma"] = replace(hyperparameters["gamma"], start=GAMMA, outer=GAMMA)
    hyperparameters["learning_rate"] = replace(hyperparameters["learning_rate"], start=1e-3)
    settings = RunSettings(
        num_envs=num_envs,
        hyperparameters=hyperparameters,
        agent=AgentSettings(
            algorithm="actor_critic", inner_optimizer="rms", hidden=(32,), rollout_length=8
        ),
        tuning=TuningSettings(method=method, period=1, optimizer="adam", learning_rate=1e-2),
    )
    return trained(probe, settings, cycles)


def trained(probe, settings, cycles):
    task = probes.probe_task(probe, settings.num_envs)
    spaces = task.spec.observation_space, task.spec.action_space
    agent = self_tuning.make(*spaces, settings)
    runner = make_runner(task, agent, settings)
    state = runner.init(jax.random.PRNGKey(0))
    state, _ = runner.compile(state, cycles)(state)
    return networks.make(*spaces, settings.agent), agent.params(state.agent)


# A discount, what only the final observation tells, a time limit, and actions.
SHORT = {"delayed_reward", "final_observation", "truncated", "matching_reward"}


@pytest.mark.parametrize(
    "probe", mostly_slow({probe.name: probe for probe in probes.PROBES}, SHORT)
)
def test_learns_the_values_and_actions_of_a_probe(probe):
    nets, (params, scales) = train(probe)
    observations = seen(scales, jnp.asarray(probe.observations))
    expected = probe.values(GAMMA)
    tolerance = 0.1 * max(1.0, float(np.max(np.abs(expected))))
    np.testing.assert_allclose(
        nets.value(params, observations) / scales.reward, expected, atol=tolerance
    )
    if probe.actions is not None:
        np.testing.assert_array_equal(nets.policy(params, observations).mode(), probe.actions)
        probability = jnp.exp(nets.policy(params, observations).log_prob(probe.actions))
        assert np.min(probability) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mg", "bmg"])
def test_learns_with_tuning_on(method):
    nets, (params, scales) = train(probes.MATCHING_REWARD, method)
    observations = seen(scales, jnp.asarray(probes.MATCHING_REWARD.observations))
    actions = nets.policy(params, observations).mode()
    np.testing.assert_array_equal(actions, probes.MATCHING_REWARD.actions)


def test_a_policy_stays_random_where_rewards_are_silent():
    agent = AgentSettings(hidden=(32,), epochs=4, rollout_length=64, anneal_learning_rate=False)
    settings = RunSettings(agent=agent, tuning=TuningSettings(method="none"))
    nets, (params, scales) = trained(probes.SILENT, settings, cycles=60)
    observations = seen(scales, jnp.asarray(probes.SILENT.observations))
    # Without a floor under the deviation of advantages: 0.1 to 0.6.
    assert np.min(nets.policy(params, observations).entropy()) > 0.95 * np.log(2)
