"""Processes that take turns: what is drawn, when they switch, and what they pay."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from selftuning.configs.errors import ConfigError
from selftuning.envs.switching_mdp import SwitchingMDP, SwitchingMDPState
from tests.random_walks import random_walk


def test_a_walk_keeps_the_rules():
    env = SwitchingMDP(num_states=4, num_actions=2, num_mdps=3, switch_every=20)
    (at, mdp, time), actions, steps = random_walk(env, 64, 1000)
    clock = np.arange(1000)[:, None].repeat(64, 1)
    np.testing.assert_array_equal(mdp, clock // 20 % 3)  # the first one again after the last
    np.testing.assert_array_equal(time, clock % 20)
    np.testing.assert_array_equal(steps.reward, env.rewards[mdp, at, actions].astype(np.float32))
    np.testing.assert_array_equal(steps.next_observation[:-1], np.eye(4, dtype="f4")[at[1:]])
    assert not steps.episode_end.any() and np.all(steps.discount == 1)
    # Each process's successors are as frequent as it says.
    counts = np.zeros((3, 4, 2, 4))
    np.add.at(counts, (mdp[:-1], at[:-1], actions[:-1], at[1:]), 1)
    expected = env.probabilities * counts.sum(axis=-1, keepdims=True)
    often = expected > 5
    deviation = ((counts - expected) ** 2 / expected)[often].sum()
    assert stats.chi2(often.sum() - 24).sf(deviation) > 1e-3
    assert counts.sum(axis=-1).min() > 100


def test_a_state_survives_the_switch():
    env = SwitchingMDP(num_mdps=2, switch_every=5)
    env.probabilities[:] = np.eye(10)[:, None]
    env._cumulative = env.probabilities.cumsum(-1)[..., :-1].reshape(80, 9).astype(np.float32)
    (at, mdp, _), _, _ = random_walk(env, 8, 12)
    assert np.all(at == at[0]) and mdp[:, 0].tolist() == [0] * 5 + [1] * 5 + [0] * 2


def test_the_seed_determines_the_processes():
    one, again, other = SwitchingMDP(), SwitchingMDP(switch_every=3), SwitchingMDP(seed=1)
    np.testing.assert_array_equal(one.probabilities, again.probabilities)
    np.testing.assert_array_equal(one.rewards, again.rewards)
    assert not np.any(one.rewards == other.rewards)
    assert len(np.unique(one.rewards)) == one.rewards.size  # and no two processes are alike
    np.testing.assert_allclose(one.probabilities.sum(axis=-1), 1.0)
    assert one.probabilities.min() >= 0.001 and np.all(np.abs(one.rewards) <= 1)


def test_starts_are_random_states_of_the_first_process():
    starts = SwitchingMDP().initial_batch(jax.random.key(2), 5000)
    assert stats.chisquare(np.bincount(starts.at, minlength=10)).pvalue > 0.01
    assert not np.any(starts.mdp) and not np.any(starts.time)
    one = SwitchingMDP().initial(jax.random.key(3))
    assert all(leaf.shape == () and leaf.dtype == jnp.int32 for leaf in one)


def mean_reward(env: SwitchingMDP, mdp: int, policy: np.ndarray) -> float:
    """Of a policy [state, action] of probabilities, from its stationary distribution."""
    chain = np.einsum("sa,sat->st", policy, env.probabilities[mdp])
    equations = np.vstack([chain.T - np.eye(len(chain)), np.ones(len(chain))])
    visits = np.linalg.lstsq(equations, np.append(np.zeros(len(chain)), 1.0))[0]
    return float(visits @ (policy * env.rewards[mdp]).sum(axis=-1))


def test_optimal_rewards_are_those_of_the_best_of_all_policies():
    env = SwitchingMDP(num_states=4, num_actions=3, num_mdps=3, seed=5)
    policies = [np.eye(3)[list(choice)] for choice in itertools.product(range(3), repeat=4)]
    best = [max(mean_reward(env, mdp, policy) for policy in policies) for mdp in range(3)]
    np.testing.assert_allclose(env.optimal_rewards(), best, rtol=1e-6)


def test_random_rewards():
    env = SwitchingMDP()
    uniform = np.full((10, 4), 0.25)
    expected = [mean_reward(env, mdp, uniform) for mdp in range(4)]
    np.testing.assert_allclose(env.random_rewards(), expected, rtol=1e-6)
    assert np.all(env.optimal_rewards() > np.array(expected) + 0.3)


def test_vmap_equals_single_steps():
    env = SwitchingMDP(num_states=5, switch_every=2)
    states = env.initial_batch(jax.random.key(0), 6)
    states = states._replace(mdp=jnp.arange(6) % 4, time=jnp.arange(6) // 3)
    keys, actions = jax.random.split(jax.random.key(1), 6), jnp.arange(6) % 4
    together = jax.jit(jax.vmap(env.transition))(states, actions, keys)
    single = jax.jit(env.transition)
    for i in range(6):
        alone = single(jax.tree.map(lambda x, i=i: x[i], states), actions[i], keys[i])
        assert tuple(map(int, alone)) == tuple(int(leaf[i]) for leaf in together)


def test_extreme_settings():
    env = SwitchingMDP(num_states=1, num_actions=1, num_mdps=1, switch_every=2**31 - 1)
    np.testing.assert_allclose(env.optimal_rewards(), env.rewards.reshape(-1))
    last = SwitchingMDPState(jnp.int32(0), jnp.int32(0), jnp.int32(2**31 - 2))
    after = env.transition(last, jnp.int32(0), jax.random.key(0))
    assert tuple(map(int, after)) == (0, 0, 0)


@pytest.mark.parametrize("field", ["num_states", "num_actions", "num_mdps", "switch_every"])
def test_bad_settings(field):
    for value in (0, 1.5, True):
        with pytest.raises(ConfigError, match=field):
            SwitchingMDP(**{field: value})
    with pytest.raises(ConfigError, match="switch_every"):
        SwitchingMDP(switch_every=2**31)
