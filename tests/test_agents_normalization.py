"""Running scales: right moments, and learning that does not depend on the units of a task."""

import distrax
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import selftuning as st
from selftuning.agents import moments, normalization, self_tuning
from selftuning.agents.trajectory import Scales, scaled, seen
from selftuning.agents.window import kept
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from tests.quick_jit import quick_jit
from tests.test_agents_self_tuning import B, T, trajectory

SPACE, ACTIONS = gym.spaces.Box(-np.inf, np.inf, (3,)), gym.spaces.Discrete(2)


def test_moments_are_those_of_all_samples():
    samples = np.random.default_rng(0).normal(5.0, 3.0, (200, 3))
    found = moments.nothing((3,))
    for part in np.split(jnp.asarray(samples), [10, 11, 75]):
        found = moments.with_samples(found, part)
    np.testing.assert_allclose(found.mean, samples.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.variance, samples.var(0), rtol=1e-5)


def test_a_finite_memory_is_the_plain_mean_until_it_is_full_and_then_forgets():
    rng = np.random.default_rng(0)
    plain = finite = moments.nothing(())
    for _ in range(10):
        rows = jnp.asarray(rng.normal(0.0, 1.0, 100))
        plain = moments.with_samples(plain, rows)
        finite = moments.with_samples(finite, rows, 1000)
    np.testing.assert_allclose(finite.variance, plain.variance, rtol=1e-6)
    for _ in range(50):
        finite = moments.with_samples(finite, jnp.asarray(rng.normal(64.0, 2.0, 100)), 1000)
    np.testing.assert_allclose(finite.mean, 64.0, atol=0.7)
    assert 3 < finite.variance < 30


def test_moments_stay_right_after_a_billion_samples():
    old = moments.Moments(jnp.asarray(1e9), jnp.asarray(1e4), jnp.asarray(4.0))
    rows = jnp.asarray(np.random.default_rng(0).normal(1e4, 2.0, 64))
    add = jax.jit(lambda m, _: (moments.with_samples(m, rows, 1e8), None))
    found, _ = jax.lax.scan(add, old, None, 10_000)
    np.testing.assert_allclose([found.mean, found.variance], [1e4, 4.0], rtol=0.05)


def test_constant_elements_and_silent_rewards_stay_as_they_are():
    settings = AgentSettings()
    scaling = normalization.make(SPACE, settings, 3, 0.9)
    batch = trajectory(0, ACTIONS)
    batch = batch._replace(
        observation=jnp.full((*batch.reward.shape, 3), 7.0), reward=0.0 * batch.reward
    )
    state = scaling.init()._replace(discounted=jnp.zeros(batch.reward.shape[1]))
    scales = scaling.scales(scaling.update(state, batch))
    np.testing.assert_array_equal(seen(scales, batch.observation), 0.0)
    np.testing.assert_array_equal(scaled(scales, batch.reward), 0.0)


def test_images_and_choices_have_no_moments():
    for space in (gym.spaces.Box(0, 255, (8, 8, 3), np.uint8), gym.spaces.Discrete(4)):
        scaling = normalization.make(space, AgentSettings(), 2, 0.9)
        assert scaling.init().observation == ()
    assert seen(Scales(), jnp.arange(3.0)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("algorithm", [pytest.param("ppo", marks=pytest.mark.slow), "actor_critic"])
def test_learning_is_the_same_in_other_units(algorithm):
    """Parameters and hyperparameters after some rollouts, in units of 1e4 and 1e-3."""
    agent = {"hidden": (5,), "rollout_length": T, "epochs": 1, "minibatches": 2}
    settings = RunSettings(
        num_envs=B,
        agent=AgentSettings(algorithm=algorithm, **agent),
        tuning=TuningSettings(period=2, optimizer="adam"),
    )
    functions = self_tuning.make(SPACE, ACTIONS, settings)

    def learned(shift, factor, unit):
        def cycle(state):
            records = []
            for number in range(4):
                made = trajectory(number, ACTIONS)
                made = made._replace(
                    observation=shift + factor * made.observation,
                    next_observation=shift + factor * made.next_observation,
                    reward=unit * made.reward,
                )
                state, record = functions.inner_step(state, made, jax.random.PRNGKey(number))
                records.append(record)
                if len(records) == 2:
                    state, _ = functions.meta_step(state, kept(functions.window, records))
                    records = []
            return state

        state = quick_jit(cycle)(functions.init(jax.random.PRNGKey(0)))
        return state.learner.inner.params, state.learner.values.raw, functions.scales(state)

    params, raw, scales = learned(0.0, 1.0, 1.0)
    for shift, factor, unit in ((0.0, 1e4, 1e4), (3e3, 1e4, 1e-3)):
        others, others_raw, others_scales = learned(shift, factor, unit)
        np.testing.assert_allclose(others_scales.factor * factor, scales.factor, rtol=1e-3)
        np.testing.assert_allclose(others_scales.reward * unit, scales.reward, rtol=1e-4)
        np.testing.assert_allclose(others, params, atol=2e-4)
        for name, x in raw.items():
            np.testing.assert_allclose(others_raw[name], x, rtol=1e-2, err_msg=name)


def pendulum(shift, factor, unit):
    """Makes Pendulum with other observations and rewards."""
    seen = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)

    def moved(observation):
        return (shift + factor * observation.astype(np.float64)).astype(np.float32)

    def make():
        env = gym.wrappers.TransformObservation(gym.make("Pendulum-v1"), moved, seen)
        return gym.wrappers.TransformReward(env, lambda reward: unit * reward)

    return make


# Shift and factor of observations, and unit of rewards. In units of powers of two nothing rounds.
EXACT = (0.0, 2.0**13, 2.0**-10)
UNITS = [(0.0, 1.0, 1e-3), (0.0, 1.0, 1e4), (0.0, 1e4, 1.0), (1e4, 1.0, 1.0), (1e4, 1e4, 1e4)]


@pytest.mark.parametrize(
    ("algorithm", "steps", "units"),
    [
        pytest.param("actor_critic", 1536, UNITS[-1:], marks=pytest.mark.slow),
        pytest.param("ppo", 16_384, UNITS, marks=pytest.mark.slow),
    ],
    ids=["actor_critic", "ppo"],
)
def test_learning_curves_are_the_same_in_other_units(algorithm, steps, units):
    """Exactly where nothing rounds; elsewhere at first, and later rewards within what chance makes.

    What was rounded once makes other episodes in the end, and these another path of the discount.
    """
    agent = {"algorithm": algorithm, "hidden": [16], "num_envs": 4, "rollout_length": 64}

    def learned(*units):
        run = st.train(pendulum(*units), steps=steps, progress=False, **agent)
        return run.rewards / units[-1], run.hyperparameters["gamma"]

    rewards, gamma = learned(0.0, 1.0, 1.0)
    assert np.ptp(gamma) > 0
    for found, expected in zip(learned(*EXACT), (rewards, gamma), strict=True):
        np.testing.assert_array_equal(found, expected)
    for each in units:
        others, others_gamma = learned(*each)
        np.testing.assert_allclose(others[:4], rewards[:4], rtol=1e-3, err_msg=str(each))
        np.testing.assert_allclose(others_gamma[:4], gamma[:4], atol=1e-4, err_msg=str(each))
        assert np.abs(others - rewards).mean() < np.std(rewards) / 2, each


def test_what_acted_is_what_learns():
    """The log-probability of an action is the same when it is learned from: the ratio is 1."""
    settings = RunSettings(
        num_envs=B, agent=AgentSettings(algorithm="actor_critic", hidden=(5,), rollout_length=T)
    )
    functions = self_tuning.make(SPACE, ACTIONS, settings)
    state = functions.init(jax.random.PRNGKey(0))
    step = quick_jit(functions.inner_step)
    for number in range(2):
        state, _ = step(state, trajectory(number, ACTIONS))
    made = trajectory(7, ACTIONS)
    actor = functions.params(state)
    action, log_prob = functions.act(actor, made.observation[0], jax.random.PRNGKey(1))
    _, record = step(state, made)
    assert np.all(record.batch.scales.factor == actor.scales.factor)
    policy = functions.algorithm.act(
        actor.behaviour, record.batch.observation[0], jax.random.PRNGKey(1)
    )
    np.testing.assert_array_equal(policy[0], action)
    np.testing.assert_allclose(policy[1], log_prob, rtol=1e-6)


def moments_of(rows):
    return moments.with_samples(moments.nothing(rows.shape[1:]), jnp.asarray(rows))


def test_beyond_is_a_divergence_of_normal_distributions_in_any_units():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        known, now = rng.normal(size=(200, 3)), rng.normal([0.5, -2, 0], [2, 1, 0.1], (300, 3))
        found = moments.beyond(moments_of(now), moments_of(known))
        for element in range(2):
            mean, deviation = known[:, element].mean(), known[:, element].std()
            far = np.sqrt(np.mean((now[:, element] - mean) ** 2))
            apart = distrax.Normal(mean, far).kl_divergence(distrax.Normal(mean, deviation))
            np.testing.assert_allclose(found[element], apart, rtol=1e-9)
        assert found[2] == 0  # crowded together inside
        other = moments.beyond(moments_of(7 - 1e3 * now), moments_of(7 - 1e3 * known))
        np.testing.assert_allclose(other, found, rtol=1e-6)


def test_an_element_that_was_constant_tells_nothing():
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(100, 2))).at[:, 0].set(3.0)
    now = moments_of(rows.at[:, 0].add(jnp.arange(100.0)))
    assert moments.beyond(now, moments_of(rows))[0] == 0


def seen_after(*shifts, spread=1.0, steps=64, memory=np.inf, reset=1.5):
    """Statistics after rollouts [steps, 8] of normal observations around each of some points."""
    rng = np.random.default_rng(0)
    settings = AgentSettings(
        rollout_length=steps, normalization_reset=reset, normalization_memory=memory
    )
    scaling = normalization.make(SPACE, settings, 8, 0.9)
    state, update = scaling.init(), jax.jit(scaling.update)
    batch = jax.tree.map(
        lambda x: jnp.zeros((steps, 8, *x.shape[2:]), x.dtype), trajectory(0, ACTIONS)
    )
    for shift in shifts:
        rows = jnp.asarray(rng.normal(shift, spread, (steps, 8, 3)), jnp.float32)
        state = update(state, batch._replace(observation=rows))
    return state.observation


def test_statistics_begin_anew_where_observations_are_of_another_task():
    before, after = [0.0] * 9, [[3.0, -3.0, 4.0]]
    for known in (seen_after(*before, *after), seen_after(*before, *after, memory=1e4)):
        assert known.number == 64 * 8
        np.testing.assert_allclose(known.mean, after[0], atol=0.2)
    assert seen_after(*before, *after, *after).number == 2 * 64 * 8
    assert seen_after(*before, [1.0, -1.0, 1.0]).number == 10 * 64 * 8  # half a nat
    assert seen_after(*before, *after, reset=np.inf).number == 10 * 64 * 8


@pytest.mark.parametrize(("step", "size"), [(0, 1), (1, 1), (17, 1), (17, 100), (48, 100)])
def test_steps_before_the_change_are_of_the_old_task(step, size):
    """A few of them would make deviations as large as the change is, for a long time."""
    there = size * np.array([3.0, -3.0, 4.0])
    mixed = np.where(np.arange(64)[:, None, None] < step, 0.0, there)
    known = seen_after(*[0.0] * 9, mixed)
    assert known.number == (64 - step) * 8
    np.testing.assert_allclose(known.mean, there, atol=0.2)
    np.testing.assert_allclose(known.variance, 1.0, atol=0.3)
    assert seen_after(*[0.0] * 9, mixed, there).number == (64 - step + 64) * 8


def normal(rng, size):
    return rng.normal(size=size)


def but_three(rng, size):
    return rng.normal(size=size) * (np.arange(size[-1]) > 2)


def but_seven(rng, size):
    return rng.normal(size=size) * (np.arange(size[-1]) > 6)


def bits(rng, size):
    return (rng.random(size) < 0.02).astype(float)


UNUSUAL = {  # rollouts [T, B, n] of a task, of another one, and n
    "two of five": (normal, lambda x: x + 100 * (np.arange(5) < 2), 5),
    "half, a little": (normal, lambda x: x + 3.4 * (np.arange(4) < 2), 4),
    "most are constant": (but_seven, lambda x: x + 100, 10),
    "constants": (but_three, lambda x: x + 100 * (np.arange(9) > 2) * (np.arange(9) < 7), 9),
    "wider": (normal, lambda x: x * 2.7, 4),
    "heavy tails": (normal, lambda x: 2 * np.random.default_rng(1).standard_t(3, x.shape), 4),
    "rare bits": (bits, lambda x: np.random.default_rng(1).random(x.shape) < 0.2, 4),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_whatever_lies_outside_by_the_limit_begins_anew_with_all_of_its_steps(name):
    draw, other, size = UNUSUAL[name]
    rng, space = np.random.default_rng(0), gym.spaces.Box(-np.inf, np.inf, (size,))
    settings = AgentSettings(rollout_length=128, normalization_reset=1.5)
    scaling = normalization.make(space, settings, 8, 0.9)
    update, state = jax.jit(scaling.update), scaling.init()
    batch = jax.tree.map(
        lambda x: jnp.zeros((128, 8, *x.shape[2:]), x.dtype), trajectory(0, ACTIONS)
    )
    for number in range(12):
        rows = draw(rng, (128, 8, size))
        rows = rows if number < 11 else other(rows)
        state = update(state, batch._replace(observation=jnp.asarray(rows, jnp.float32)))
    assert state.observation.number >= 128 * 8 * 0.9
    assert state.observation.number <= 128 * 8


def test_after_a_change_at_the_end_of_a_rollout_the_next_one_tells():
    there = np.array([3.0, -3.0, 4.0])
    mixed = np.where(np.arange(64)[:, None, None] < 55, 0.0, there)
    assert seen_after(*[0.0] * 9, mixed).number == 10 * 64 * 8
    known = seen_after(*[0.0] * 9, mixed, there)
    assert known.number == 64 * 8
    np.testing.assert_allclose(known.variance, 1.0, atol=0.3)


def test_what_moves_little_by_little_or_alone_is_the_same_task():
    gradual = np.linspace(0.0, 12.0, 40)
    assert seen_after(*gradual).number == 40 * 64 * 8
    # Episodes that begin together: what has not been seen of late is not new.
    phases = [*np.linspace(0.0, 5.0, 8), *[5.0] * 6, 0.0, *[5.0] * 6, 0.0]
    assert seen_after(*phases).number == len(phases) * 64 * 8
    assert seen_after(*[0.0] * 9, [1e6, 0.0, 0.0]).number == 10 * 64 * 8


def test_short_rollouts_cannot_tell_a_task_from_another():
    assert seen_after(*[0.0] * 9, 1e3, steps=16).number == 10 * 16 * 8
