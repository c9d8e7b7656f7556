"""Acting while learning: with the parameters of one rollout earlier, and weights that know it."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

import selftuning as st
from selftuning.agents import networks, self_tuning
from selftuning.agents.trajectory import seen
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from selftuning.envs import registry
from selftuning.training import parallel, runner

TWO_CPUS = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
from tests import test_training_overlap
test_training_overlap.{}()
print("passed")
"""


def in_a_process_with_two_cpus(check):
    """The number of devices is that of a process, and pytest's has one."""
    command = [sys.executable, "-c", TWO_CPUS.format(check.__name__)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.endswith("passed\n"), done.stderr


def recorded(overlap):
    """Four rollouts as they were acted on, and the states that learned from them."""
    settings = RunSettings(
        num_envs=2,
        agent=AgentSettings(
            hidden=(8,), rollout_length=16, epochs=2, minibatches=2, overlap=overlap
        ),
        tuning=TuningSettings(period=1, inner_steps=2, optimizer="adam"),
    )
    task = registry.make("CartPole-v1", 2, "host")
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    states, rollouts = [], []

    def collect_on_host(task, agent, length):
        collect = collect_before(task, agent, length)

        def recording(actor, *others):
            found = collect(actor, *others)
            rollouts.append((actor, found[1]))
            return found

        return recording

    collect_before, runner.collect_on_host = runner.collect_on_host, collect_on_host
    try:
        made = runner.make_runner(task, agent, settings)
    finally:
        runner.collect_on_host = collect_before
    state = made.init(jax.random.PRNGKey(0))
    run = made.compile(state, 1)
    for _ in range(4):
        states.append(jax.tree.map(np.asarray, agent.params(state.agent)))
        state, _ = run(state)
    return settings, task, states, rollouts


def check_who_acts():
    for overlap in (False, True):
        settings, task, states, rollouts = recorded(overlap)
        spaces = task.spec.observation_space, task.spec.action_space
        nets = networks.make(*spaces, settings.agent)
        for number, (actor, made) in enumerate(rollouts):
            who = states[max(number - 1, 0)] if overlap else states[number]
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), actor, who)
            policy = nets.policy(who.behaviour, seen(who.scales, made.observation))
            np.testing.assert_allclose(
                policy.log_prob(made.action), made.log_prob, rtol=1e-4, atol=1e-5
            )
            device = parallel.acting_device() if overlap else jax.devices()[0]
            assert all(x.devices() == {device} for x in jax.tree.leaves(actor))
        changed = (
            states[1].behaviour["policy"]["linear"]["w"]
            - states[0].behaviour["policy"]["linear"]["w"]
        )
        assert np.abs(changed).max() > 1e-4


def test_rollouts_are_those_of_the_parameters_before_the_last_update():
    in_a_process_with_two_cpus(check_who_acts)


def check_learning():
    run = st.train(
        "CartPole-v1", steps=60_000, seed=0, backend="host", overlap=True, progress=False
    )
    assert run.settings.agent.overlap and np.max(run.returns) > 300
    assert run.agent.evaluate(5).mean > 400


@pytest.mark.slow
def test_an_agent_that_overlaps_learns():
    in_a_process_with_two_cpus(check_learning)


def test_where_it_cannot_be():
    settings = RunSettings(num_envs=2, agent=AgentSettings(overlap=True))
    task = registry.make("CartPole-v1", 2)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    with pytest.raises(ConfigError, match=r"^agent.overlap: true is not allowed.*inside jit"):
        runner.make_runner(task, agent, settings)
    with pytest.raises(ConfigError, match=r"^agent.overlap: true is not allowed.*one CPU device"):
        parallel.acting_device()


def test_overlap_and_several_heads_need_no_more_words():
    settings = AgentSettings(algorithm="actor_critic", heads=2, overlap=True)
    assert {"alpha_rho", "alpha_c"} <= set(RunSettings(agent=settings).in_use)
    assert not replace(settings, overlap=False).off_policy
