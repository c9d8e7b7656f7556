"""Q(lambda): that it learns, and how the exploration of today is taught by the agent to come."""

from dataclasses import replace

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.agents import parts, q_lambda, self_tuning, window
from selftuning.agents.trajectory import Experience, seen
from selftuning.configs.errors import ConfigError
from selftuning.configs.hyperparameters import default_hyperparameters
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from selftuning.configs.validate import validate
from selftuning.training.runner import make_runner
from tests import probes
from tests.quick_jit import quick_jit
from tests.test_agents_self_tuning import ACTIONS, OBSERVATIONS, stack, trajectory

GAMMA = 0.9
SPACES = OBSERVATIONS, ACTIONS["discrete"]
A = 3


def settings_of(epsilon=0.3, agent=None, **tuning):
    hyperparameters = {
        name: replace(spec, tuned=name == "epsilon")
        for name, spec in default_hyperparameters().items()
    }
    changed = {
        "gamma": {"start": GAMMA, "outer": GAMMA},
        "lambda": {"start": 0.7, "outer": 0.7},
        "learning_rate": {"start": 2e-3},
        "epsilon": {"start": epsilon},
    }
    for name, values in changed.items():
        hyperparameters[name] = replace(hyperparameters[name], **values)
    settings = RunSettings(
        num_envs=3,
        hyperparameters=hyperparameters,
        agent=AgentSettings(
            **({"algorithm": "q_lambda", "hidden": (4,), "rollout_length": 4} | (agent or {}))
        ),
        tuning=TuningSettings(
            **({"inner_steps": 0, "matching": "kl", "period": 1} | tuning),
        ),
    )
    validate(settings)
    return settings


def train(probe, cycles, rule=None, times=1, note=None, **tuning):
    """Trains for so many cycles, so many times, after each of which it calls (agent, state)."""
    agent = {"hidden": (32,), "rollout_length": 8} | (rule or {})
    settings = replace(settings_of(agent=agent, **tuning), num_envs=16)
    task = probes.probe_task(probe, 16)
    agent = self_tuning.make(task.spec.observation_space, task.spec.action_space, settings)
    runner = make_runner(task, agent, settings)
    state = runner.init(jax.random.PRNGKey(0))
    run = runner.compile(state, cycles)
    for _ in range(times):
        state, metrics = run(state)
        if note:
            note(agent, state.agent)
    return agent, state.agent, metrics, settings, task


@pytest.mark.parametrize(
    "probe",
    [
        probes.MATCHING_REWARD,
        pytest.param(probes.DELAYED_REWARD, marks=pytest.mark.slow),
        probes.FINAL_OBSERVATION,
    ],
    ids=lambda probe: probe.name,
)
def test_learns_the_values_and_actions_of_a_probe(probe):
    """With the inner optimizer of the preset.

    Where rewards have no noise RMSProp's second moment decays, and values burst now and then for an
    update or two. What is learned is their median.
    """
    observations, values = jnp.asarray(probe.observations), []

    def note(agent, state):
        scales = agent.scales(state)
        found = agent.algorithm.value(state.learner.inner.params, seen(scales, observations))
        values.append(found / scales.reward)

    rule = {"inner_optimizer": "rms", "anneal_learning_rate": False}
    agent, state, *_ = train(probe, 20, rule, times=60, note=note, method="none")
    expected = probe.values(GAMMA)
    found = np.median(values[-25:], 0)
    np.testing.assert_allclose(found, expected, atol=0.02 * max(1, np.max(np.abs(expected))))
    if probe.actions is not None:
        np.testing.assert_array_equal(agent.mode(agent.params(state), observations), probe.actions)
    assert agent.hyperparameters(state)["epsilon"] == np.float32(0.3)


@pytest.mark.slow
def test_epsilon_falls_where_there_is_no_more_to_find():
    agent, state, metrics, *_ = train(
        probes.MATCHING_REWARD, 300, method="bmg", target_steps=3, learning_rate=0.05
    )
    epsilon = np.asarray(metrics.hyperparameters["epsilon"])
    assert epsilon[0] > 0.25 and epsilon[-1] < 0.02
    observations = jnp.asarray(probes.MATCHING_REWARD.observations)
    np.testing.assert_array_equal(
        agent.mode(agent.params(state), observations), probes.MATCHING_REWARD.actions
    )


def test_acts_epsilon_greedily():
    ql = q_lambda.make(*SPACES, settings_of())
    actor = ql.packing.unpack(ql.init(jax.random.PRNGKey(0))), 0.3
    observation = jnp.ones((6000, 3))
    greedy = ql.mode(actor, observation[:1])[0]
    action, log_prob = ql.act(actor, observation, jax.random.PRNGKey(1))
    np.testing.assert_allclose(np.mean(action == greedy), 1 - 0.3 + 0.1, atol=0.02)
    wanted = jnp.where(action == greedy, jnp.log(0.8), jnp.log(0.1))
    np.testing.assert_allclose(log_prob, wanted, rtol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_the_best_epsilon_is_told_by_the_share_of_observations_of_disagreement(share):
    """At epsilon = share A / (A - 1) the behaviour does what the target will, as often."""
    ql = q_lambda.make(*SPACES, settings_of(agent={"hidden": (2,)}))
    params = ql.packing.unpack(ql.init(jax.random.PRNGKey(0)))
    # The first feature is the sign of the first number observed.
    first = {"w": jnp.zeros((3, 2)).at[0, 0].set(50.0), "b": jnp.zeros(2)}
    student = {
        "mlp/~/linear_0": first,
        "linear": {"w": jnp.zeros((2, A)), "b": jnp.array([0.0, 1, 0])},
    }
    swaps = {"w": jnp.zeros((2, A)).at[0, 2].set(5.0), "b": jnp.array([0.0, 1, 0])}
    target = student | {"linear": swaps}
    assert jax.tree.structure(params) == jax.tree.structure(student)
    student, target = (jax.flatten_util.ravel_pytree(x)[0] for x in (student, target))
    sign = jnp.where(jnp.arange(8) < 8 * share, 1.0, -1.0)
    observation = jnp.zeros((8, 1, 3)).at[:, 0, 0].set(sign)
    made = jax.tree.map(lambda x: x[:1, :1], trajectory(0, SPACES[1]))
    made = Experience(made._replace(observation=observation), jnp.zeros(0))

    def distance(epsilon):
        return match_of(target, student, {"epsilon": epsilon}, made)

    match_of = ql.problem.match

    match, slope = quick_jit(distance), quick_jit(jax.grad(distance))

    for epsilon in (0.05, 0.3, 0.9):
        agreed, not_agreed = 1 - epsilon + epsilon / A, epsilon / A
        by_hand = -(1 - share) * np.log(agreed) - share * np.log(not_agreed)
        np.testing.assert_allclose(match(epsilon), by_hand, rtol=1e-5)
    best = share * A / (A - 1)
    if share:
        np.testing.assert_allclose(slope(best), 0.0, atol=1e-5)
        assert slope(best - 0.05) < -1e-3
    assert slope(best + 0.05) > 1e-3
    slopes = jax.grad(match_of, (0, 1))(target, student, {"epsilon": 0.3}, made)
    for x in jax.tree.leaves(slopes):
        np.testing.assert_array_equal(x, 0.0)


@pytest.mark.parametrize("L", [1, 3])
def test_with_no_inner_steps_the_meta_gradient_is_the_direct_one(L):
    """Against finite differences, with L steps of Q(lambda) by hand to the target."""
    with jax.enable_x64(True):
        settings = settings_of(target_steps=L, agent={"inner_optimizer": "sgd"})
        rate = replace(settings.hyperparameters["learning_rate"], start=2.0)
        settings = replace(
            settings, hyperparameters=settings.hyperparameters | {"learning_rate": rate}
        )
        agent = q_lambda.make(*SPACES, settings)
        engine = parts.learner(agent, settings)
        params = agent.packing.unpack(agent.init(jax.random.PRNGKey(0)))
        rng = np.random.default_rng(0)
        params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.5), params)
        flat, _ = jax.flatten_util.ravel_pytree(params)
        start = {n: jnp.asarray(h.start, float) for n, h in settings.in_use.items()}
        state = engine.init(flat, start)
        batches = [Experience(trajectory(seed, SPACES[1]), jnp.zeros(0)) for seed in range(L)]
        _, step = quick_jit(engine.inner_step)(state, batches[0])
        none = jax.tree.map(lambda x: x[None][:0], step)
        meta_gradient = quick_jit(lambda *seen: engine.meta_gradient(*seen)[0])
        got = meta_gradient(state, none, state.inner, stack(batches))
        assert set(got) == {"epsilon"}

        def values(params, observation):
            one = params["mlp/~/linear_0"]
            hidden = jnp.tanh(observation @ one["w"] + one["b"])
            return hidden @ params["linear"]["w"] + params["linear"]["b"]

        def loss(params, frozen, made):
            following, total = None, 0.0
            best = jnp.max(values(frozen, made.next_observation), -1)
            for t in reversed(range(4)):
                lambda_ = jnp.where(made.truncated[t], 0.0, 0.7)
                following = best[t] if following is None else following
                mixed = (1 - lambda_) * best[t] + lambda_ * following
                following = made.reward[t] + GAMMA * made.discount[t] * mixed
                q = values(params, made.observation[t])
                chosen = jnp.sum(q * (made.action[t][:, None] == jnp.arange(A)), -1)
                total += jnp.sum((chosen - following) ** 2) / 2
            return total / 12

        np.testing.assert_allclose(
            agent.problem.outer_loss(flat, flat, batches[0]),
            loss(params, params, batches[0].trajectory),
            rtol=1e-10,
        )
        target = params
        slope_of = quick_jit(jax.grad(loss))
        for batch in batches:
            slope = slope_of(target, target, batch.trajectory)
            norm = jnp.linalg.norm(jax.flatten_util.ravel_pytree(slope)[0])
            target = jax.tree.map(lambda x, g, n=norm: x - 2.0 * g * min(1, 0.5 / n), target, slope)

        def objective(raw):
            epsilon, total, disagreed = 1 / (1 + np.exp(-raw)), 0.0, 0.0
            for batch in batches:
                old, new = (
                    jnp.argmax(values(p, batch.trajectory.observation), -1)
                    for p in (params, target)
                )
                agrees = jnp.where(old == new, 1 - epsilon, 0.0) + epsilon / A
                total -= jnp.mean(jnp.log(agrees)) / L
                disagreed += jnp.mean(old != new) / L
            return total, disagreed

        raw = np.log(0.3 / 0.7)
        assert 0 < objective(raw)[1] < 1, "targets that change nothing test nothing"
        difference = (objective(raw + 1e-5)[0] - objective(raw - 1e-5)[0]) / 2e-5
        assert abs(difference) > 1e-3
        np.testing.assert_allclose(got["epsilon"], difference, rtol=1e-6)


def test_continuous_actions_are_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"agent.algorithm: q_lambda .* actor_critic") as error:
        q_lambda.make(OBSERVATIONS, ACTIONS["continuous"], settings_of())
    assert "\n" not in str(error.value)


def test_epsilon_can_be_made_from_a_context():
    settings = settings_of(context="rich", context_hidden=(8,), learning_rate=0.3)
    agent = self_tuning.make(*SPACES, settings)
    state = quick_jit(agent.init)(jax.random.PRNGKey(0))
    inner_step, meta_step = quick_jit(agent.inner_step), quick_jit(agent.meta_step)
    epsilons = [agent.hyperparameters(state)["epsilon"]]
    np.testing.assert_allclose(epsilons[0], 0.3, rtol=1e-5)
    for seed in range(5):
        state, step = inner_step(state, trajectory(seed, gym.spaces.Discrete(A)))
        state, _ = meta_step(state, window.kept(agent.window, [step]))
        epsilons.append(agent.hyperparameters(state)["epsilon"])
    assert len({float(x) for x in epsilons}) == 6
    acting = agent.params(state).behaviour
    np.testing.assert_array_equal(acting[1], epsilons[-1])  # behaviour reads it
