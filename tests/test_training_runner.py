"""The loop around the agent: in-graph and host, seeds, replay, episode boundaries, compilation."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.agents import networks, self_tuning
from selftuning.agents.trajectory import seen
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from selftuning.envs import registry
from selftuning.training.rollout import collect_in_graph, collect_on_host
from selftuning.training.runner import graph_cycle, make_runner

SETTINGS = RunSettings(
    num_envs=3,
    agent=AgentSettings(algorithm="actor_critic", hidden=(8,), rollout_length=8),
    tuning=TuningSettings(period=2, optimizer="adam"),
)


def make(backend="jax", settings=SETTINGS):
    task = registry.make("CartPole-v1", settings.num_envs, backend)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    return task, agent, make_runner(task, agent, settings)


def run(runner, seed, cycles=40):
    state = runner.init(jax.random.PRNGKey(seed))
    state, metrics = runner.compile(state, cycles)(state)
    return jax.tree.map(np.asarray, (state, metrics))


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "host"])
def test_one_seed_gives_one_result_and_another_another(backend):
    _, _, runner = make(backend)
    first, again, other = (run(make(backend)[2], seed, 15) for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first[0].agent, other[0].agent)
    assert runner.steps_per_cycle == 2 * 8 * 3


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_metrics_have_their_shapes_and_hyperparameters_move(backend):
    _, agent, runner = make(backend)
    state, metrics = run(runner, 0, 15)
    assert metrics.episode_end.shape == metrics.episode_return.shape == (15, 16, 3)
    assert metrics.episode_end.any()
    # 1 a step: a return is one more than the last, or 1 after an end.
    returns, ends = (x.reshape(-1, 3) for x in (metrics.episode_return, metrics.episode_end))
    np.testing.assert_array_equal(returns[1:], np.where(ends[:-1], 0, returns[:-1]) + 1)
    np.testing.assert_array_equal(metrics.reward, 1.0)
    for name, values in metrics.hyperparameters.items():
        assert values.shape == (15,)
        tuned = SETTINGS.in_use[name].tuned
        assert (values[0] != values[-1]) == tuned, name
        assert values[-1] == agent.hyperparameters(state.agent)[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("period", "num_envs", "backend"), [(1, 1, "jax"), (16, 2, "jax"), (1, 1, "host")]
)
def test_a_stream_without_end_has_rewards(period, num_envs, backend):
    settings = RunSettings(
        num_envs=num_envs,
        agent=AgentSettings(algorithm="actor_critic", hidden=(8,), rollout_length=16),
        tuning=TuningSettings(period=period, optimizer="adam"),
    )
    task = registry.make("TwoColors-v0", num_envs, backend)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    _, metrics = run(make_runner(task, agent, settings), 0, 3)
    assert metrics.reward.shape == (3,) and not metrics.episode_end.any()
    # The return of the one episode is the sum of its rewards, in time order.
    totals = np.cumsum(metrics.reward) * 16 * period * num_envs
    at_ends = metrics.episode_return[:, -1].sum(-1)
    np.testing.assert_allclose(totals, at_ends, rtol=1e-4, atol=1e-4)
    rewards = np.diff(metrics.episode_return.reshape(-1, num_envs), axis=0, prepend=0.0)
    step_reward = -0.04
    assert np.all(np.abs(rewards[:, :, None] - [1.0, -1.0, step_reward]).min(-1) < 1e-4)


@pytest.mark.slow
def test_vmapped_seeds_and_starts_equal_single_runs():
    task, agent, _ = make()
    init, cycle = graph_cycle(task, agent, SETTINGS)
    start = {name: h.start for name, h in SETTINGS.in_use.items()}

    def final(key, gamma):
        state = init(key, {**start, "gamma": gamma})
        return jax.lax.scan(cycle, state, None, 5)[0].agent.learner

    keys, gammas = jax.random.split(jax.random.PRNGKey(0), 3), jnp.float32([0.5, 0.9, 0.99])
    together = jax.jit(jax.vmap(final))(keys, gammas)
    for i in range(3):
        alone = jax.jit(final)(keys[i], gammas[i])
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-4),
            together.inner.params,
            alone.inner.params,
        )


def test_starts_are_traced_and_change_nothing_in_the_program():
    task, agent, _ = make()
    init, cycle = graph_cycle(task, agent, SETTINGS)
    compilations = []

    @jax.jit
    def final(key, start):
        compilations.append(1)
        return jax.lax.scan(cycle, init(key, start), None, 2)[0].agent.updates

    start = {name: jnp.float32(h.start) for name, h in SETTINGS.in_use.items()}
    for gamma in (0.5, 0.9, 0.99):
        assert final(jax.random.PRNGKey(0), {**start, "gamma": jnp.float32(gamma)}) == 4
    assert len(compilations) == 1


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_a_step_after_an_end_belongs_to_the_new_episode(backend):
    """Observations run on within an episode and start afresh after it, in the trajectory itself."""
    task, agent, _ = make(backend)
    length = 80
    state = agent.init(jax.random.PRNGKey(0))
    params, key = agent.params(state), jax.random.PRNGKey(1)
    if backend == "jax":
        env_state, observation = task.init(jax.random.PRNGKey(2))
        collect = jax.jit(collect_in_graph(task, agent, length))
        _, _, trajectory, timesteps = collect(params, env_state, observation, key)
    else:
        collect = collect_on_host(task, compiled_act(agent), length)
        _, trajectory, timesteps = collect(params, task.reset(0), key)
    trajectory, timesteps = jax.tree.map(np.asarray, (trajectory, timesteps))
    ends = timesteps.episode_end[:-1]
    assert ends.any()
    following = trajectory.observation[1:]
    np.testing.assert_array_equal(following[~ends], trajectory.next_observation[:-1][~ends])
    assert np.abs(following[ends]).max() <= 0.05  # a start state of CartPole
    assert np.abs(trajectory.next_observation[:-1][ends][:, [0, 2]]).max() > 0.2  # a fallen pole
    np.testing.assert_array_equal(timesteps.episode_length[1:][ends], 1)
    log_prob = agent_log_prob(task, params, trajectory)
    np.testing.assert_allclose(trajectory.log_prob, log_prob, rtol=1e-4, atol=1e-5)


def compiled_act(algorithm):
    return algorithm._replace(act=jax.jit(algorithm.act))


def agent_log_prob(task, params, trajectory):
    nets = networks.make(task.spec.observation_space, task.spec.action_space, SETTINGS.agent)
    observation = seen(params.scales, trajectory.observation)
    return nets.policy(params.behaviour, observation).log_prob(trajectory.action)


def test_truncation_reaches_the_trajectory():
    """Episodes cut by the time limit are marked, and are not terminations."""
    settings = replace(SETTINGS, agent=replace(SETTINGS.agent, rollout_length=501))
    task, agent, _ = make(settings=settings)

    def balance(actor, observation, key):
        push = observation[:, 2] + 0.3 * observation[:, 3] + 0.03 * observation[:, 1]
        return (push > 0).astype(jnp.int32), jnp.zeros(len(push))

    env_state, observation = task.init(jax.random.PRNGKey(0))
    collect = jax.jit(collect_in_graph(task, agent._replace(act=balance), 501))
    actor = agent.params(agent.init(jax.random.PRNGKey(0)))
    _, _, trajectory, timesteps = collect(actor, env_state, observation, jax.random.PRNGKey(1))
    np.testing.assert_array_equal(timesteps.episode_length[499], 500)
    np.testing.assert_array_equal(trajectory.truncated[499], True)
    np.testing.assert_array_equal(trajectory.discount[499], 1.0)
    assert trajectory.truncated.sum() == 3


def test_host_and_graph_learn_from_equal_programs():
    """The same trajectory moves both to the same parameters: only collecting differs."""
    _, graph_agent, _ = make("jax")
    host_task, host_agent, _ = make("host")
    state = host_agent.init(jax.random.PRNGKey(0))
    collect = collect_on_host(host_task, compiled_act(host_agent), 8)
    _, trajectory, _ = collect(host_agent.params(state), host_task.reset(0), jax.random.PRNGKey(1))
    moved = [agent.inner_step(state, trajectory)[0] for agent in (graph_agent, host_agent)]
    assert same(*moved)
