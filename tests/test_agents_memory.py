"""Recurrent agents: what they remember while acting is what is replayed when they learn."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

import selftuning as st
from selftuning.agents import networks, parts, reuse, self_tuning
from selftuning.agents.memory import Moment
from selftuning.agents.trajectory import Experience
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from selftuning.envs import registry
from selftuning.envs.cartpole import CartPole
from selftuning.envs.functional import graph_task
from selftuning.training.rollout import collect_in_graph, collect_on_host
from tests.quick_jit import quick_jit
from tests.test_agents_self_tuning import ACTIONS, OBSERVATIONS, B, T, make_settings, trajectory
from tests.untrained import untrained

ALGORITHMS = {
    "actor_critic": {"algorithm": "actor_critic"},
    "ppo": {"algorithm": "ppo", "epochs": 2, "minibatches": 3},
}
LENGTH, NUM_ENVS = 40, 3  # some episodes end within it


def cartpole(backend):
    settings = RunSettings(
        num_envs=NUM_ENVS,
        agent=AgentSettings(core="gru", hidden=(8,), rollout_length=LENGTH, minibatches=NUM_ENVS),
        tuning=TuningSettings(period=1, optimizer="adam"),
    )
    task = registry.make("CartPole-v1", NUM_ENVS, backend)
    return task, self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)


def two_rollouts(backend, task, agent, actor):
    """The second one, which starts with a memory of the first."""
    key = jax.random.PRNGKey(1)
    if backend == "jax":
        env, observation = task.init(key)
        seen = agent.begin(observation)
        collect = jax.jit(collect_in_graph(task, agent, LENGTH))
        env, seen, _, _ = collect(actor, env, seen, key)
        return collect(actor, env, seen, jax.random.PRNGKey(2))[2]
    seen, collect = agent.begin(task.reset(0)), collect_on_host(task, agent, LENGTH)
    seen, _, _ = collect(actor, seen, key)
    return collect(actor, seen, jax.random.PRNGKey(2))[1]


@pytest.mark.parametrize("backend", [pytest.param("jax", marks=pytest.mark.slow), "host"])
def test_replayed_policies_are_those_that_acted(backend):
    task, agent = cartpole(backend)
    state = agent.init(jax.random.PRNGKey(0))
    # Policies of a fresh network are uniform whatever they remember.
    moved = jax.tree.map(lambda x: x + 0.5 * jnp.sin(jnp.arange(x.size)).reshape(x.shape), state)
    actor = agent.params(state)._replace(behaviour=agent.params(moved).behaviour)
    made = two_rollouts(backend, task, self_tuning.compiled(agent), actor)
    assert made.ended.any() and not made.ended.all()
    assert all(np.any(x != 0) for x in jax.tree.leaves(made.memory))
    settings = AgentSettings(core="gru", hidden=(8,))
    nets = networks.make(task.spec.observation_space, task.spec.action_space, settings)
    batch = Experience(made, jnp.zeros(0), actor.scales)
    log_prob = nets.policy(actor.behaviour, batch.observation).log_prob(made.action)
    np.testing.assert_allclose(log_prob, made.log_prob, rtol=1e-4, atol=1e-5)
    assert np.std(made.log_prob) > 0.05
    # The value of a successor is that of the observation that is acted on next.
    value = nets.value(actor.behaviour, batch.observation)
    following = nets.value(actor.behaviour, batch.next_observation)
    goes_on = ~np.asarray(made.ended)[:-1]
    np.testing.assert_allclose(value[1:][goes_on], following[:-1][goes_on], rtol=1e-4, atol=1e-5)
    assert np.all(np.abs(value[1:] - following[:-1])[~goes_on] > 1e-4)


def remembered(seed):
    """Random experience that starts with a memory; an end and a truncation are in it."""
    made, rng = trajectory(seed, ACTIONS["discrete"]), np.random.default_rng(seed + 50)
    memory = {name: jnp.asarray(rng.normal(size=(1, B, 4)) * 0.5) for name in ("policy", "value")}
    made = made._replace(log_prob=jnp.asarray(-1.1 + 0.2 * rng.normal(size=(T, B))))
    return Experience(made._replace(memory=memory), jnp.zeros(0))


@pytest.mark.parametrize("name", [pytest.param("ppo", marks=pytest.mark.slow), "actor_critic"])
def test_meta_gradients_through_memory_equal_finite_differences(name):
    with jax.enable_x64(True):
        check_finite_differences(name)


def check_finite_differences(name, K=2, step=2e-5):
    agent = {"core": "gru", "hidden": (4,), "inner_optimizer": "rms"} | ALGORITHMS[name]
    settings = make_settings("mg", agent, inner_steps=K)
    algorithm = parts.algorithm(OBSERVATIONS, ACTIONS["discrete"], settings)
    engine = parts.learner(algorithm, settings)
    start = {n: jnp.asarray(h.start, float) for n, h in settings.in_use.items()}
    shapes = algorithm.init(jax.random.PRNGKey(0))
    params = jnp.asarray(np.random.default_rng(0).normal(size=shapes.shape) * 0.5)
    update = quick_jit(reuse.updates(engine, algorithm.reuse, K).learn)

    begin, key = engine.init(params, start), jax.random.PRNGKey(3)
    begin, _ = update(begin, remembered(9), key)
    judge = remembered(2)
    if algorithm.reuse is None:

        def learned(raw):
            state, steps = begin._replace(values=begin.values._replace(raw=raw)), []
            for seed in range(K):
                state, record = update(state, remembered(seed), key)
                steps.append(record)
            return state, jax.tree.map(lambda *x: jnp.stack(x), *steps)
    else:
        whole = algorithm.reuse.prepare(begin.inner.params, remembered(0))
        rows = algorithm.reuse.order(key)[:K]
        assert rows.shape == (K, T, B // 3)
        step_on = quick_jit(engine.inner_step)

        def learned(raw):
            state, steps = begin._replace(values=begin.values._replace(raw=raw)), []
            for each in rows:
                state, record = step_on(state, algorithm.reuse.take(whole, each))
                steps.append(record)
            return state, jax.tree.map(lambda *x: jnp.stack(x), *steps)

    raw = begin.values.raw
    end, steps = learned(raw)
    frozen = end.inner.params
    if algorithm.reuse is not None:
        judge = algorithm.reuse.prepare(frozen, judge)
    validation = jax.tree.map(lambda x: x[None], judge)
    got = quick_jit(lambda *seen: engine.meta_gradient(*seen)[0])(end, steps, end.inner, validation)
    outer = quick_jit(algorithm.problem.outer_loss)
    for which, x in raw.items():
        moved = [
            outer(learned(raw | {which: x + s})[0].inner.params, frozen, judge)
            for s in (step, -step)
        ]
        difference = (moved[0] - moved[1]) / (2 * step)
        assert abs(difference) > 1e-8, which
        np.testing.assert_allclose(got[which], difference, rtol=1e-4, err_msg=which)


def test_minibatches_are_whole_sequences_of_some_environments():
    settings = make_settings(agent={"core": "gru", "hidden": (4,)} | ALGORITHMS["ppo"])
    algorithm = parts.algorithm(OBSERVATIONS, ACTIONS["discrete"], settings)
    whole = algorithm.reuse.prepare(algorithm.init(jax.random.PRNGKey(0)), remembered(0))
    rows = algorithm.reuse.order(jax.random.PRNGKey(1))
    made = trajectory(0, ACTIONS["discrete"])
    for each in rows:
        taken, env = algorithm.reuse.take(whole, each), int(each[0, 0])
        taken = taken._replace(trajectory=taken.trajectory.rows)
        np.testing.assert_array_equal(each[:, 0], env + B * np.arange(T))
        seen = taken.observation
        np.testing.assert_array_equal(seen.observation[:, 0], made.observation[:, env])
        np.testing.assert_array_equal(seen.ended[:, 0], made.ended[:, env])
        np.testing.assert_array_equal(
            seen.memory["policy"][0], remembered(0).trajectory.memory["policy"][0, env]
        )
    assert sorted(int(each[0, 0]) for each in rows[:3]) == [0, 1, 2]


class Masked(CartPole):
    """CartPole whose velocities are hidden."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def observation(self, state, rng, params=None):
        return state[jnp.array([0, 2])]


def masked(core, steps, **changes):
    task = graph_task(Masked(), 8, env_id="MaskedCartPole-v0", max_episode_steps=500)
    return st.train(task, steps=steps, core=core, algorithm="ppo", progress=False, **changes)


def test_an_agent_that_acts_remembers():
    run = masked("gru", 512, hidden=(8,), rollout_length=16, epochs=1, minibatches=2, meta="none")
    agent, observation = run.agent, np.array([0.1, -0.1], np.float32)
    _, state = agent.act(observation)
    _, later = agent.act(observation, state)
    first, then = (x.seen.memory["policy"] for x in (state, later))
    assert isinstance(later.seen, Moment) and np.any(first != then)
    _, anew = agent.act(observation)
    np.testing.assert_array_equal(anew.seen.memory["policy"], first)
    assert agent.evaluate(3, seed=1).ended.all()


def test_a_member_of_a_batch_that_begins_anew_forgets_and_the_others_do_not():
    """As agents that act in one environment each, and start without a state."""
    agent, rng = untrained("CartPole-v1", core="gru"), np.random.default_rng(2)
    # A fresh network sees the mean, whatever there is, and does not act by what it remembers.
    scales = agent.params.scales._replace(factor=np.ones(4, np.float32))
    moved = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), agent.params.behaviour)
    agent = replace(agent, params=agent.params._replace(behaviour=moved, scales=scales))
    starts = np.array([[1, 1, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    whole, single, forgetful, actions = None, [None] * 3, None, []
    for observations, start in zip(rng.normal(size=(5, 3, 4)), starts, strict=True):
        got, whole = agent.act(observations, whole, episode_start=start)
        _, forgetful = agent.act(observations, forgetful)
        for i in range(3):
            expected, single[i] = agent.act(observations[i], None if start[i] else single[i])
            assert got[i] == expected
            for found, own in zip(*map(memories, (whole, single[i])), strict=True):
                np.testing.assert_allclose(found[i], own[0], rtol=1e-5, atol=1e-6)
        actions.append(got)
    assert 0 < np.mean(actions) < 1
    for found, kept in zip(memories(whole), memories(forgetful), strict=True):
        differs = np.any(found != kept, axis=-1)
        assert differs.tolist() == [True, True, False]
    with pytest.raises(st.ConfigError, match=r"^state: of 3 observations .* must be of 1, as"):
        agent.act(np.zeros(4), whole)
    with pytest.raises(st.ConfigError, match=r"^episode_start: shape \(2,\) .* must be \(3,\)"):
        agent.act(np.zeros((3, 4)), whole, episode_start=[True, False])


def memories(state):
    return jax.tree.leaves(state.seen.memory)


@pytest.mark.slow
def test_memory_makes_up_for_velocities_that_are_hidden():
    how = {"inner_optimizer": "adam", "start": {"learning_rate": 1e-3}, "rollout_length": 64}
    blind = masked("none", 100_000, **how).evaluate(20).mean
    assert blind < 200
    assert masked("gru", 200_000, **how).evaluate(20).mean >= 450
