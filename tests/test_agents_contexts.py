"""What a meta-network is told of how learning goes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.agents import contexts
from selftuning.agents.trajectory import Experience

T, B = 5, 3


class Seen(NamedTuple):
    """The parts of a trajectory that contexts read; values are the observations themselves."""

    observation: jax.Array
    reward: jax.Array
    discount: jax.Array
    next_observation: jax.Array
    memory: tuple[()] = ()


def seen(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    observation, following, reward = (rng.normal(size=(T, B)) * scale for _ in range(3))
    discount = (rng.random((T, B)) > 0.2).astype(float)
    return Seen(*map(jnp.float32, (observation, reward + scale, discount, following)))


def value(observation):
    return observation


def follow(name, rollouts, gamma=0.9):
    """States after each rollout."""
    context = contexts.make(name, gamma)
    states = [context.init()]
    update = jax.jit(
        lambda state, rollout: context.update(state, Experience(rollout, jnp.zeros(0)), value)
    )
    for rollout in rollouts:
        states.append(update(states[-1], rollout))
    return context, states


def test_none_is_empty():
    context, states = follow("none", [seen(0)])
    assert context.size == 0
    assert context.features(states[-1]).shape == (0,)


@pytest.mark.parametrize("name", ["reward", "rich"])
def test_before_anything_was_seen_features_are_zeros(name):
    context, states = follow(name, [])
    np.testing.assert_array_equal(context.features(states[0]), jnp.zeros(context.size))


def test_rewards_are_remembered_latest_first_in_deviations_from_their_mean():
    rollouts = [seen(seed, 1 + seed % 3) for seed in range(14)]
    context, states = follow("reward", rollouts)
    means = np.array([np.mean(x.reward) for x in rollouts])
    assert context.size == 10
    for number in (1, 2, 5, 10, 14):
        features = np.array(context.features(states[number]))
        so_far = means[:number]
        scaled = (so_far - np.mean(so_far)) / max(np.std(so_far), 1e-6)
        latest = scaled[::-1][:10]
        np.testing.assert_allclose(features[: len(latest)], np.tanh(latest), atol=1e-4)
        np.testing.assert_array_equal(features[len(latest) :], 0.0)


def test_rich_is_mean_and_deviation_of_reward_value_and_error():
    rollouts = [seen(seed, 1 + seed % 4) for seed in range(6)]
    context, states = follow("rich", rollouts)

    def measured(x):
        error = x.reward + 0.9 * x.discount * x.next_observation - x.observation
        return [f(part) for part in (x.reward, x.observation, error) for f in (np.mean, np.std)]

    rows = np.array([measured(x) for x in rollouts])
    assert context.size == 6
    for number in (1, 2, 6):
        so_far = rows[:number]
        np.testing.assert_allclose(states[number].measured, so_far[-1], rtol=1e-5)
        scaled = (so_far[-1] - so_far.mean(0)) / np.maximum(so_far.std(0), 1e-6)
        np.testing.assert_allclose(context.features(states[number]), np.tanh(scaled), atol=1e-4)


@pytest.mark.parametrize("name", ["reward", "rich"])
def test_moments_are_those_of_numpy(name):
    """Of numbers far from zero too, where the mean of squares would lose everything."""
    rollouts = [seen(seed)._replace(reward=1000 + seen(seed).reward) for seed in range(50)]
    _, states = follow(name, rollouts)
    moments = states[-1].moments
    rewards = np.array([np.mean(np.float64(x.reward)) for x in rollouts])
    assert moments.number == 50
    np.testing.assert_allclose(moments.mean[0], np.mean(rewards), rtol=1e-6)
    np.testing.assert_allclose(moments.variance[0], np.var(rewards), rtol=2e-2)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("name", ["reward", "rich"])
def test_features_are_finite_and_inside_one_whatever_the_scale_of_the_task(name, scale):
    rollouts = [seen(seed, scale) for seed in range(12)]
    rollouts.append(jax.tree.map(lambda x: 5 * x, rollouts[0]))
    context, states = follow(name, rollouts)
    for state in states:
        features = context.features(state)
        assert features.shape == (context.size,)
        assert np.all(np.abs(features) < 1)


@pytest.mark.parametrize("name", ["reward", "rich"])
def test_features_do_not_depend_on_the_scale_of_the_task(name):
    """But in values that no longer vary: then there is nothing to tell."""
    (context, small), (_, large) = (
        follow(name, [seen(seed, scale) for seed in range(12)]) for scale in (1.0, 1e3)
    )
    for one, other in zip(small, large, strict=True):
        np.testing.assert_allclose(context.features(one), context.features(other), atol=1e-2)


@pytest.mark.parametrize("name", ["reward", "rich"])
def test_constant_rewards_say_nothing(name):
    rollout = seen(0)
    context, states = follow(name, [rollout] * 5)
    np.testing.assert_array_equal(context.features(states[-1]), 0.0)
