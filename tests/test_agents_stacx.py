"""Several heads (STACX): what the others owe to the first, and what it owes to them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from selftuning.agents import actor_critic, networks, parts, self_tuning
from selftuning.agents.trajectory import Experience
from tests.quick_jit import quick_jit
from tests.test_agents_self_tuning import ACTIONS, OBSERVATIONS, make_settings, stack, trajectory

HEADS = 3
SPACES = OBSERVATIONS, ACTIONS["discrete"]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def settings_of(heads, method="mg", inner_steps=2, correction="vtrace", **agent):
    agent = {"heads": heads, "correction": correction, "inner_optimizer": "sgd"} | agent
    settings = make_settings(method, agent, inner_steps=inner_steps, target_steps=2)
    # Weights that are to be exactly zero are on no logarithmic scale: those stay fixed.
    fixed = {
        n: replace(h, tuned=h.tuned and n not in ("policy", "critic", "entropy"))
        for n, h in settings.hyperparameters.items()
    }
    return replace(settings, hyperparameters=fixed)


def structured(settings):
    nets = networks.make(*SPACES, settings.agent)
    params = nets.init(jax.random.PRNGKey(0))
    return nets, params, ravel_pytree(params)[1]


def some_params(settings, seed=0):
    _, params, _ = structured(settings)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.5), params)


def first_head(params, heads=HEADS):
    """The parameters of an agent of one head: torsos, and the outputs of the first."""

    def of_network(net):
        cut = jax.tree.map(lambda x: x[..., : x.shape[-1] // heads], net["linear"])
        return {**net, "linear": cut}

    return {name: of_network(net) for name, net in params.items()}


def experience(seed):
    made = trajectory(seed, ACTIONS["discrete"])
    rng = np.random.default_rng(seed + 50)
    return Experience(
        made._replace(log_prob=jnp.asarray(-1.1 + rng.normal(size=made.reward.shape))),
        jnp.zeros(0),
    )


def learn(settings, params, start, batches, K, acted=lambda params, batch: batch):
    """Parameters after K updates, and the meta-gradient; `acted` has what each batch meets."""
    engine = parts.learner(actor_critic.make(*SPACES, settings), settings)
    inner_step = quick_jit(engine.inner_step)
    state, steps = engine.init(ravel_pytree(params)[0], start), []
    for batch in batches[:K]:
        state, step = inner_step(state, acted(state.inner.params, batch))
        steps.append(step)
    meta_gradient = quick_jit(lambda *seen: engine.meta_gradient(*seen)[0])
    judges = [acted(state.inner.params, batch) for batch in batches[K:]]
    gradient = meta_gradient(state, stack(steps), state.inner, stack(judges))
    return structured(settings)[2](state.inner.params), gradient


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mg", "bmg"])
def test_heads_of_zero_weight_leave_the_agent_of_one_head(method):
    many, one = settings_of(HEADS, method), settings_of(1, method)
    params, K = some_params(many), 2
    batches = [experience(seed) for seed in range(K + (2 if method == "bmg" else 1))]
    single = {n: jnp.asarray(h.start, float) for n, h in one.in_use.items()}
    several = self_tuning.start_of(many, None)
    several = {n: x.astype(float) for n, x in several.items()}
    for name in ("policy", "critic", "entropy"):
        several[name] = several[name].at[1:].set(0.0)
    single = {n: x if jnp.ndim(x) == 0 else x[0] for n, x in several.items()}

    after_many, from_many = learn(many, params, several, batches, K)
    after_one, from_one = learn(one, first_head(params), single, batches, K)

    def same(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)

    jax.tree.map(same, first_head(after_many), after_one)
    moved = ravel_pytree(jax.tree.map(lambda a, b: a - b, after_one, first_head(params)))[0]
    assert np.max(np.abs(moved)) > 1e-3
    for name, gradient in from_one.items():
        assert abs(gradient) > 1e-9, name
        first = from_many[name] if jnp.ndim(from_many[name]) == 0 else from_many[name][0]
        np.testing.assert_allclose(first, gradient, rtol=1e-10, atol=1e-12, err_msg=name)
        if jnp.ndim(from_many[name]):
            np.testing.assert_array_equal(from_many[name][1:], 0.0, err_msg=name)


def test_heads_with_weight_move_the_torso():
    """What the test above would not see if other heads were ignored altogether."""
    many = settings_of(HEADS)
    params, batch = some_params(many), experience(0)
    start = self_tuning.start_of(many, None)
    heavier = start | {"policy": start["policy"].at[1].multiply(2.0)}
    (one, _), (two, _) = (
        learn(many, params, at, [batch, experience(1)], 1) for at in (start, heavier)
    )
    torsos = [x["policy"]["mlp/~/linear_0"]["w"] for x in (one, two)]
    assert np.max(np.abs(torsos[0] - torsos[1])) > 1e-4


@pytest.mark.parametrize("outer_critic", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_only_the_first_head_acts_and_is_judged(outer_critic):
    settings = settings_of(HEADS, outer_critic=outer_critic)
    nets, _, _ = structured(settings)
    agent = actor_critic.make(*SPACES, settings)
    params = some_params(settings)
    flat, unravel = ravel_pytree(params)
    batch, key = experience(0), jax.random.PRNGKey(1)
    slope = unravel(jax.grad(agent.problem.outer_loss)(flat, flat, batch))
    match = jax.grad(agent.problem.match, 1)(0.9 * flat, flat, {}, batch)
    for gradient in (slope, unravel(match)):
        for name in ("policy", "value"):
            for x in gradient[name]["linear"].values():
                size = x.shape[-1] // HEADS
                np.testing.assert_array_equal(x[..., size:], 0.0)
                judged_elsewhere = outer_critic and name == "value"
                assert np.any(x[..., :size] != 0) != judged_elsewhere
    # Other outputs, the same behaviour.
    others = jax.tree.map(lambda x: x, params)
    for name in ("policy", "value"):
        for key_of, x in params[name]["linear"].items():
            changed = jnp.arange(x.shape[-1]) >= x.shape[-1] // HEADS
            others[name]["linear"][key_of] = jnp.where(changed, x + 3.0, x)
    observation = batch.trajectory.observation
    for seen in (observation[0], observation[1]):
        action, log_prob = agent.act(params, seen, key)
        again, as_likely = agent.act(others, seen, key)
        np.testing.assert_array_equal(action, again)
        np.testing.assert_array_equal(log_prob, as_likely)
        np.testing.assert_array_equal(agent.mode(params, seen), agent.mode(others, seen))
    np.testing.assert_array_equal(nets.value(params, observation), nets.value(others, observation))
    changed_loss = agent.problem.outer_loss(*[ravel_pytree(others)[0]] * 2, batch)
    np.testing.assert_array_equal(agent.problem.outer_loss(flat, flat, batch), changed_loss)


def test_on_policy_one_head_learns_the_same_with_and_without_correction():
    """On a path, where each successor is what is acted on next, but at ends."""
    plain, corrected = (settings_of(1, correction=c) for c in ("none", "vtrace"))
    nets, _, _ = structured(plain)
    params = some_params(plain)

    def on_policy(seed):
        made = trajectory(seed, ACTIONS["discrete"])
        over = ((made.discount == 0) | made.truncated)[:-1, :, None]
        onwards = jnp.where(over, made.next_observation[:-1], made.observation[1:])
        following = jnp.concatenate([onwards, made.next_observation[-1:]])
        log_prob = nets.policy(params, made.observation).log_prob(made.action)
        return Experience(
            made._replace(log_prob=log_prob, next_observation=following), jnp.zeros(0)
        )

    batches = [on_policy(0), on_policy(1)]
    ends = []
    for settings in (plain, corrected):
        start = {n: jnp.asarray(h.start, float) for n, h in settings.in_use.items()}
        ends.append(learn(settings, params, start, batches, 1))
    (after_plain, _), (after_corrected, _) = ends
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12),
        after_plain,
        after_corrected,
    )


def test_the_last_bit_of_what_was_on_policy_decides_nothing():
    """Weights of those who act are 1, where the clip has its corner."""
    settings = settings_of(1, "bmg", inner_steps=3)
    nets, _, unravel = structured(settings)
    start = {n: jnp.asarray(h.start, float) for n, h in settings.in_use.items()}
    batches, found = [experience(seed) for seed in range(5)], []
    for seed in range(3):
        rng = np.random.default_rng(seed)

        def acted(params, batch, rng=rng):
            made = batch.trajectory
            log_prob = nets.policy(unravel(params), made.observation).log_prob(made.action)
            last_bits = 1e-12 * rng.normal(size=log_prob.shape)
            return batch._replace(trajectory=made._replace(log_prob=log_prob + last_bits))

        found.append(learn(settings, some_params(settings), start, batches, 3, acted)[1])
    assert all(abs(x) > 1e-6 for x in (found[0]["gamma"], found[0]["lambda"]))
    for name in ("gamma", "lambda", "alpha_rho", "alpha_c"):
        for other in found[1:]:
            np.testing.assert_allclose(other[name], found[0][name], rtol=1e-6, atol=1e-12)
