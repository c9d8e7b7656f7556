"""How learning goes, in numbers: against formulas by hand, and of no influence on learning."""

from functools import partial

import jax
import numpy as np
import pytest

from selftuning.agents import learning_metrics, networks, parts, self_tuning
from selftuning.agents.losses import explained_variance
from tests.quick_jit import quick_jit
from tests.test_agents_self_tuning import ACTIONS, OBSERVATIONS, B, T, make_settings, trajectory

KEY = jax.random.PRNGKey(3)
POLICY = {"entropy", "kl", "policy_loss"}
ALWAYS = {"gradient_norm", "learning_rate", "value_loss", "explained_variance"}
PPO = {"algorithm": "ppo", "epochs": 2, "minibatches": 3, "anneal_learning_rate": True}
WHOLE = {"epochs": 1, "minibatches": 1, "anneal_learning_rate": False}
AGENTS = {
    "actor_critic": {},
    "heads": {"heads": 2, "correction": "vtrace"},
    "ppo": PPO,
    "gru": PPO | {"core": "gru"},
    "whole": PPO | WHOLE,
    "barrier": {"regularize": "barrier"},
    "ppo with barrier": PPO | {"regularize": "barrier"},
    "q_lambda": {"algorithm": "q_lambda"},
}


def learned(name, actions="discrete", asked=True, **tuning):
    """Agent, state before, and what `learn` returns on a fixed rollout."""
    explores = {"inner_steps": 0, "matching": "kl"} if name == "q_lambda" else {}
    settings = make_settings(agent=AGENTS[name], **explores | tuning)
    space = ACTIONS[actions]
    agent = self_tuning.make(OBSERVATIONS, space, settings)
    before = quick_jit(agent.init)(jax.random.PRNGKey(0))
    made = trajectory(0, space)
    memory = agent.empty(T, B).memory
    made = made._replace(memory=memory)
    return settings, agent, before, made, quick_jit(agent.learn)(before, made, KEY, asked)


@pytest.mark.parametrize("name", AGENTS)
def test_who_is_not_asked_says_nothing_and_learns_the_same(name):
    _, agent, before, made, (after, _, metrics) = learned(name)
    names = ALWAYS if name == "q_lambda" else ALWAYS | POLICY
    names = names | {"barrier"} if "barrier" in name else names
    assert set(metrics) == names and all(np.isfinite(x) for x in metrics.values())
    unasked, _, unknown = quick_jit(agent.learn)(before, made, KEY, False)
    alone, _ = quick_jit(agent.inner_step)(before, made, KEY)
    assert set(unknown) == names and all(np.isnan(x) for x in unknown.values())
    for other in (unasked, alone):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), after, other)


def test_ppo_in_one_update_on_all_rows_is_the_actor_critic_in_all_but_its_surrogate():
    """Two ways to the same: policies are equal, and ratios are those of the first update."""
    ours, theirs = (learned(name)[-1][-1] for name in ("whole", "actor_critic"))
    for name in ("entropy", "value_loss", "explained_variance"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5)


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
def test_metrics_of_an_update_are_those_by_hand(actions):
    settings, agent, before, made, (after, step, metrics) = learned("actor_critic", actions)
    nets = networks.make(OBSERVATIONS, ACTIONS[actions], settings.agent)
    old, new = (agent.algorithm.packing.unpack(s.learner.inner.params) for s in (before, after))
    there, here = (nets.policy(p, made.observation) for p in (old, new))
    if actions == "discrete":
        p, q = here.probs, there.probs
        kl = (p * np.log(p / q)).sum(-1).mean()
        np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-3)
        np.testing.assert_allclose(metrics["entropy"], -(q * np.log(q)).sum(-1).mean(), rtol=1e-5)
    assert metrics["kl"] > 0
    value, following = (np.asarray(nets.value(old, x)) for x in (made[0], made.next_observation))
    start = {name: h.start for name, h in settings.in_use.items()}
    target = returns(made, following, start["gamma"], start["lambda"])
    np.testing.assert_allclose(metrics["value_loss"], ((value - target) ** 2).mean() / 2, rtol=1e-4)
    share = 1 - (target - value).var() / target.var()
    np.testing.assert_allclose(metrics["explained_variance"], share, rtol=1e-3, atol=1e-5)
    norm = np.sqrt(sum((np.asarray(x) ** 2).sum() for x in jax.tree.leaves(step.gradient)))
    np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-5)
    assert metrics["learning_rate"] == np.float32(start["learning_rate"])


def test_the_barrier_is_the_divergence_of_the_policy_from_the_uniform_one_by_hand():
    settings, agent, _, made, (first, *_) = learned("barrier")
    *_, metrics = quick_jit(agent.learn)(first, made, KEY, True)
    nets = networks.make(OBSERVATIONS, ACTIONS["discrete"], settings.agent)
    params = agent.algorithm.packing.unpack(first.learner.inner.params)
    p = np.asarray(nets.policy(params, made.observation).probs, float)
    divergence = -np.log(p.shape[-1] * p).mean(-1)
    assert divergence.mean() > 0.01
    np.testing.assert_allclose(metrics["barrier"], divergence.mean(), rtol=1e-3)


def returns(made, following, gamma, lambda_):
    """TD(lambda) targets [T, B], backwards step by step."""
    reward, discount, cut = (np.asarray(x) for x in (made.reward, made.discount, made.truncated))
    target, later = np.zeros((T, B)), following[-1]
    for t in reversed(range(T)):
        mixed = np.where(cut[t], following[t], (1 - lambda_) * following[t] + lambda_ * later)
        later = target[t] = reward[t] + gamma * discount[t] * mixed
    return target


def test_kl_is_that_of_all_updates_on_a_rollout_and_the_rate_that_of_the_last():
    settings, agent, before, made, (after, record, metrics) = learned("ppo")
    nets = networks.make(OBSERVATIONS, ACTIONS["discrete"], settings.agent)
    old, new = (agent.algorithm.packing.unpack(s.learner.inner.params) for s in (before, after))
    rows = jax.tree.map(lambda x: x[-1], record.last).batch.trajectory.row
    seen = made.observation.reshape(T * B, -1)[rows]
    p, q = nets.policy(new, seen).probs, nets.policy(old, seen).probs
    np.testing.assert_allclose(metrics["kl"], (p * np.log(p / q)).sum(-1).mean(), rtol=1e-2)
    rate = settings.hyperparameters["learning_rate"].start
    for rollout in range(2):  # 6 updates each
        left = 1 - (6 * rollout + 5) / settings.updates
        np.testing.assert_allclose(metrics["learning_rate"], left * rate, rtol=1e-5)
        after, _, metrics = quick_jit(agent.learn)(after, made, KEY, True)


@pytest.mark.parametrize(("slope", "noise"), [(1.0, 0.0), (1.0, 0.5), (0.0, 1.0), (-1.0, 0.0)])
def test_explained_variance_is_one_for_targets_and_nothing_for_a_constant(slope, noise):
    rng = np.random.default_rng(0)
    target = rng.normal(3.0, 2.0, 20_000)
    value = slope * target + noise * rng.normal(size=target.shape) + 7.0
    left = (1 - slope) ** 2 + noise**2 / 4  # of a variance of 4
    np.testing.assert_allclose(explained_variance(value, target), 1 - left, atol=0.03)
    assert np.isnan(explained_variance(value, np.ones_like(target)))


def test_an_algorithm_without_metrics_has_those_of_every_one():
    settings, agent, before, made, _ = learned("actor_critic")
    bare = agent.algorithm._replace(metrics=None)
    metrics = learning_metrics.make(bare, parts.learner(bare, settings), settings)
    after, record = agent.inner_step(before, made, KEY)
    found = metrics(True, before.learner, record, after.learner, before.updates)
    assert set(found) == {"gradient_norm", "learning_rate"}
