"""Returns and losses against their definitions, rlax, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from selftuning.agents import losses

T = 6


def example(seed=0):
    rng = np.random.default_rng(seed)
    reward, value = rng.normal(size=T), rng.normal(size=T + 1)
    return jnp.float32(reward), jnp.float32(value)


def by_hand(reward, discount, truncated, v_t, gamma, lambda_):
    """The recursion, in Python."""
    result, following = [], v_t[-1]
    for t in reversed(range(T)):
        lam = 0.0 if truncated[t] else lambda_
        following = reward[t] + gamma * discount[t] * ((1 - lam) * v_t[t] + lam * following)
        result.append(following)
    return np.array(result[::-1])


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_returns_give_the_generalised_advantage_of_rlax(lambda_):
    reward, value = example()
    discount = jnp.ones(T).at[2].set(0.0)
    returns = losses.lambda_returns(
        reward, discount, jnp.zeros(T, bool), value[1:], jnp.float32(0.9), jnp.float32(lambda_)
    )
    expected = rlax.truncated_generalized_advantage_estimation(
        reward, 0.9 * discount, lambda_, value
    )
    np.testing.assert_allclose(returns - value[:-1], expected, atol=1e-5)


def test_truncation_bootstraps_from_the_final_observation_and_termination_does_not():
    reward, value = example()
    gamma, lambda_ = jnp.float32(0.9), jnp.float32(0.8)
    ones, never = jnp.ones(T), jnp.zeros(T, bool)
    truncated = losses.lambda_returns(
        reward, ones, never.at[2].set(True), value[1:], gamma, lambda_
    )
    terminated = losses.lambda_returns(
        reward, ones.at[2].set(0.0), never, value[1:], gamma, lambda_
    )
    np.testing.assert_allclose(truncated[2], reward[2] + 0.9 * value[3], rtol=1e-5)
    np.testing.assert_allclose(terminated[2], reward[2], rtol=1e-5)
    for got, discount, cut in (
        (truncated, ones, never.at[2].set(True)),
        (terminated, ones.at[2].set(0.0), never),
    ):
        expected = by_hand(*map(np.asarray, (reward, discount, cut, value[1:])), 0.9, 0.8)
        np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.parametrize("end", ["truncated", "terminated"])
def test_nothing_of_the_next_episode_reaches_the_last(end):
    reward, value = example()
    discount = jnp.ones(T).at[2].set(0.0 if end == "terminated" else 1.0)
    cut = jnp.zeros(T, bool).at[2].set(end == "truncated")

    def first_return(later_rewards):
        return losses.lambda_returns(
            reward.at[3:].set(later_rewards), discount, cut, value[1:], 0.9 * jnp.ones(()), 0.8
        )[0]

    gradient = jax.grad(first_return)(reward[3:])
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("which", ["gamma", "lambda"])
def test_returns_are_differentiable_in_gamma_and_lambda(which):
    with jax.enable_x64(True):
        reward, value = (jnp.asarray(x, float) for x in example())
        point = {"gamma": 0.9, "lambda": 0.8}

        def total(x):
            at = {k: jnp.asarray(v, float) for k, v in {**point, which: x}.items()}
            returns = losses.lambda_returns(
                reward, jnp.ones(T), jnp.zeros(T, bool), value[1:], at["gamma"], at["lambda"]
            )
            return jnp.sum(jnp.square(returns))

        step, x = 1e-6, point[which]
        difference = (total(x + step) - total(x - step)) / (2 * step)
        assert abs(difference) > 1e-2
        np.testing.assert_allclose(jax.grad(total)(x), difference, rtol=1e-6)


def test_policy_gradient_loss_is_that_of_rlax():
    rng = np.random.default_rng(0)
    logits, advantage = jnp.float32(rng.normal(size=(T, 3))), jnp.float32(rng.normal(size=T))
    action = jnp.arange(T) % 3

    def ours(logits, advantage):
        log_prob = jax.nn.log_softmax(logits)[jnp.arange(T), action]
        return losses.policy_gradient_loss(log_prob, advantage)

    def theirs(logits, advantage):
        return rlax.policy_gradient_loss(logits, action, advantage, jnp.ones(T), False)

    for function in (ours, theirs):
        assert function(logits, advantage).shape == ()
    gradients = [jax.grad(f, (0, 1))(logits, advantage) for f in (ours, theirs)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *gradients)


def test_normalized_advantages_have_unit_deviation_and_keep_their_sign():
    advantage = jnp.float32([1.0, 2.0, -3.0])
    normalized = losses.normalize(advantage, 1e-4)
    np.testing.assert_allclose(jnp.std(normalized), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(jnp.sign(normalized), jnp.sign(advantage))
    assert np.all(np.isfinite(jax.jacobian(losses.normalize)(jnp.zeros(3), 1e-4)))


def test_advantages_below_the_noise_stay_small():
    advantage = jnp.float32([1.0, 2.0, -3.0])
    deviations = [
        float(jnp.std(losses.normalize(size * advantage / jnp.std(advantage), 0.03)))
        for size in (1e-3, 0.03, 1.0)
    ]
    np.testing.assert_allclose(deviations, [1 / 30, 2**-0.5, 1.0], rtol=1e-3)
