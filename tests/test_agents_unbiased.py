"""What meta-gradients estimate, on a Markov decision process small enough to enumerate.

An episode has a few steps in three states, with two actions in each; the policy is a table of
logits. Every episode and its probability can be written down, so expectations are finite sums.
The inner update is that of the agent with a table for a network and a fixed baseline.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selftuning.agents import losses
from selftuning.metagrad import core, targets, update_rules
from selftuning.metagrad import hyperparams as hp

GAMMA = 0.9  # of the outer objective
STATES, ACTIONS = 3, 2
RNG = np.random.default_rng(1)
MOVES = RNG.dirichlet(np.ones(STATES), (STATES, ACTIONS))  # [S, A, S]
REWARDS = RNG.normal(size=(STATES, ACTIONS))
BASELINE = RNG.normal(size=STATES) * 0.3
THETA = RNG.normal(size=(STATES, ACTIONS)) * 0.5
SPACE = {
    "gamma": hp.Hyperparameter(hp.UNIT_INTERVAL),
    "lambda": hp.Hyperparameter(hp.UNIT_INTERVAL),
    "policy": hp.Hyperparameter(hp.POSITIVE),
    "entropy": hp.Hyperparameter(hp.POSITIVE),
    "learning_rate": hp.Hyperparameter(hp.POSITIVE),
}
START = {"gamma": 0.8, "lambda": 0.7, "policy": 1.5, "entropy": 0.4, "learning_rate": 2.0}


class Episode(NamedTuple):
    state: jax.Array  # [T] int
    action: jax.Array  # [T] int


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def log_policy(params):
    return jax.nn.log_softmax(params, -1)


def returns(episode, gamma, lambda_):
    """Of an episode that terminates with its last step, with the baseline as values."""
    reward = jnp.asarray(REWARDS)[episode.state, episode.action]
    value = jnp.asarray(BASELINE)
    following = jnp.append(value[episode.state[1:]], 0.0)
    going_on = jnp.ones_like(reward).at[-1].set(0.0)
    cut = jnp.zeros_like(reward, bool)
    return losses.lambda_returns(reward, going_on, cut, following, gamma, lambda_)


def inner_loss(params, frozen, hyperparams, episode):
    advantage = returns(episode, hyperparams["gamma"], hyperparams["lambda"])
    advantage -= jnp.asarray(BASELINE)[episode.state]
    all_log_probs = log_policy(params)[episode.state]
    log_prob = log_policy(params)[episode.state, episode.action]
    entropy = -jnp.mean(jnp.sum(jnp.exp(all_log_probs) * all_log_probs, -1))
    return (
        hyperparams["policy"] * losses.policy_gradient_loss(log_prob, advantage)
        - hyperparams["entropy"] * entropy
    )


def outer_loss(params, frozen, episode):
    """Monte Carlo policy gradient of the return from the start, over T as in the agent."""
    advantage = returns(episode, jnp.asarray(GAMMA), jnp.ones(()))
    advantage -= jnp.asarray(BASELINE)[episode.state]
    from_start = GAMMA ** jnp.arange(episode.state.shape[0])
    log_prob = log_policy(params)[episode.state, episode.action]
    return losses.policy_gradient_loss(log_prob, from_start * advantage)


def no_match(target, params, hyperparams, batch):
    raise AssertionError("mg matches nothing")


def make():
    problem = targets.Problem(inner_loss, outer_loss, no_match)
    rule, objective = update_rules.sgd(), targets.meta_gradient()
    return core.meta_learner(problem, rule, hp.scalars(SPACE), objective, optax.sgd(1.0))


ENGINE = make()


def all_episodes(T):
    """Every episode that starts in state 0, stacked [N]."""
    rows = [
        ((0, *states), actions)
        for states in itertools.product(range(STATES), repeat=T - 1)
        for actions in itertools.product(range(ACTIONS), repeat=T)
    ]
    states, actions = zip(*rows, strict=True)
    return Episode(jnp.array(states), jnp.array(actions))


def probability(params, episode):
    chosen = jnp.exp(log_policy(params))[episode.state, episode.action]
    moved = jnp.asarray(MOVES)[episode.state[:-1], episode.action[:-1], episode.state[1:]]
    return jnp.prod(chosen) * jnp.prod(moved)


def expected_return(params, T):
    """By the linear system V = r + gamma P V over pairs of time and state."""
    policy = jnp.exp(log_policy(params))
    reward = jnp.tile(jnp.sum(policy * REWARDS, -1), T)
    move = jnp.einsum("sa,sax->sx", policy, jnp.asarray(MOVES))
    later = jnp.kron(jnp.eye(T, k=1), move)
    return jnp.linalg.solve(jnp.eye(T * STATES) - GAMMA * later, reward)[0]


def updated(params, raw, episode):
    """One update by hand."""
    at = hp.constrain(SPACE, hp.Values(raw, {}))
    gradient = jax.grad(inner_loss)(params, params, at, episode)
    return params - at["learning_rate"] * gradient


def estimate(first, validation):
    """The engine's meta-gradient, of an update on one episode judged by another."""
    state = ENGINE.init(jnp.asarray(THETA), START)
    state, step = ENGINE.inner_step(state, first)
    one = jax.tree.map(lambda x: x[None], (step, validation))
    return ENGINE.meta_gradient(state, one[0], state.inner, one[1])[0], state.inner.params


def exact(T):
    """- d/d raw E[ J(updated parameters) ] / T, the expectation over all inner rollouts."""
    episodes, params = all_episodes(T), jnp.asarray(THETA)
    weights = jax.vmap(probability, (None, 0))(params, episodes)

    def objective(raw):
        after = jax.vmap(updated, (None, None, 0))(params, raw, episodes)
        return -jnp.sum(weights * jax.vmap(expected_return, (0, None))(after, T)) / T

    return jax.grad(objective)(hp.init(SPACE, START).raw)


def test_probabilities_and_returns_of_all_episodes_are_those_of_the_linear_system():
    for T in (2, 3):
        episodes, params = all_episodes(T), jnp.asarray(THETA)
        weights = jax.vmap(probability, (None, 0))(params, episodes)
        np.testing.assert_allclose(jnp.sum(weights), 1.0, rtol=1e-12)
        rewards = jnp.asarray(REWARDS)[episodes.state, episodes.action]
        total = jnp.sum(weights[:, None] * rewards * GAMMA ** jnp.arange(T))
        np.testing.assert_allclose(total, expected_return(params, T), rtol=1e-12)


def test_meta_gradients_are_unbiased_with_a_fresh_rollout_and_biased_without():
    """Exactly: summed over all pairs of an inner and a validation rollout."""
    T, wanted = 3, exact(3)
    episodes, params = all_episodes(T), jnp.asarray(THETA)
    weights = jax.vmap(probability, (None, 0))(params, episodes)

    @jax.jit
    @jax.vmap
    def over_validation(first):
        gradients, after = jax.vmap(estimate, (None, 0))(first, episodes)
        fresh = jax.vmap(probability)(after, episodes)
        return jax.tree.map(lambda g: jnp.sum(fresh * g), gradients)

    fresh = jax.tree.map(lambda g: jnp.sum(weights * g), over_validation(episodes))
    same, _ = jax.jit(jax.vmap(estimate))(episodes, episodes)
    same = jax.tree.map(lambda g: jnp.sum(weights * g), same)
    for name, value in wanted.items():
        assert abs(value) > 1e-4, "a vanishing derivative would test nothing"
        np.testing.assert_allclose(fresh[name], value, rtol=1e-9, err_msg=name)
        assert abs(same[name] / value - 1) > 0.05, name


@pytest.mark.slow
def test_the_average_of_sampled_meta_gradients_is_the_exact_one():
    T, number, wanted = 3, 60_000, exact(3)

    def roll_out(params, key):
        def step(state, key):
            choose, move = jax.random.split(key)
            action = jax.random.categorical(choose, params[state])
            following = jax.random.categorical(move, jnp.log(jnp.asarray(MOVES))[state, action])
            return following, (state, action)

        return Episode(*jax.lax.scan(step, jnp.array(0), jax.random.split(key, T))[1])

    @jax.jit
    @jax.vmap
    def sample(key):
        first_key, key = jax.random.split(key)
        params = jnp.asarray(THETA)
        first = roll_out(params, first_key)
        after = updated(params, hp.init(SPACE, START).raw, first)
        return estimate(first, roll_out(after, key))[0], estimate(first, first)[0]

    fresh, same = sample(jax.random.split(jax.random.PRNGKey(0), number))
    for name, value in wanted.items():
        error = np.std(fresh[name]) / np.sqrt(number)
        assert error < 0.2 * abs(value), "an average that is not known well tests nothing"
        assert abs(np.mean(fresh[name]) - value) < 4 * error, name
    far = [abs(np.mean(g) - wanted[n]) / np.std(g) * np.sqrt(number) for n, g in same.items()]
    assert max(far) > 4


@pytest.mark.slow
def test_over_two_updates_the_second_rollout_counts_as_given():
    """What the first update does to the distribution of the second rollout is left out.

    The estimate is exactly the derivative with that distribution held fixed. The whole derivative
    is another one: it has a term of the score function, as with every unrolled meta-gradient.
    """
    T = 2
    episodes, params = all_episodes(T), jnp.asarray(THETA)
    chance = jax.vmap(probability, (None, 0))
    raw = hp.init(SPACE, START).raw

    def objective(raw, held):
        def second(first):
            between = updated(params, raw, first)
            after = jax.vmap(updated, (None, None, 0))(between, raw, episodes)
            sampled_by = jax.lax.stop_gradient(between) if held else between
            judged = jax.vmap(expected_return, (0, None))(after, T)
            return jnp.sum(chance(sampled_by, episodes) * judged)

        return -jnp.sum(chance(params, episodes) * jax.vmap(second)(episodes)) / T

    @jax.jit
    @jax.vmap
    def over_two(first):
        state, one = ENGINE.inner_step(ENGINE.init(params, START), first)
        second_chance = chance(state.inner.params, episodes)

        def over_validation(episode):
            end, two = ENGINE.inner_step(state, episode)
            steps = jax.tree.map(lambda *x: jnp.stack(x), one, two)

            def judge(validation):
                batch = jax.tree.map(lambda x: x[None], validation)
                return ENGINE.meta_gradient(end, steps, end.inner, batch)[0]

            third_chance = chance(end.inner.params, episodes)
            return jax.tree.map(lambda g: jnp.sum(third_chance * g), jax.vmap(judge)(episodes))

        gradients = jax.vmap(over_validation)(episodes)
        return jax.tree.map(lambda g: jnp.sum(second_chance * g), gradients)

    got = jax.tree.map(lambda g: jnp.sum(chance(params, episodes) * g), over_two(episodes))
    held, whole = (jax.grad(objective)(raw, held) for held in (True, False))
    for name, value in held.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-9, err_msg=name)
        assert abs(whole[name] / value - 1) > 0.01, name
