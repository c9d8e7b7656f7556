"""Policies by action space: densities, entropies and divergences, and what a task is sent."""

import math

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import selftuning as st
from selftuning.agents import networks, policies
from selftuning.configs.settings import AgentSettings
from selftuning.envs.spaces import graph_action, to_env
from tests.marks import mostly_slow
from tests.quick_jit import quick_jit

INF, LARGEST = np.inf, float(np.finfo(np.float32).max)
BOUNDS = ["clip", "squash"]


def box(low, high):
    return gym.spaces.Box(np.float32([low]), np.float32([high]))


def squashed(mean, scale):
    return policies.SquashedNormal(jnp.array([mean]), jnp.array([scale]), np.array([True]))


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (0.7, 0.5), (-1.5, 2.7), (0.3, 0.01)])
def test_the_density_of_a_squashed_action_integrates_to_one(mean, scale):
    """Over a = tanh(u), on a grid that is fine where the mass is; so does its entropy."""
    u = np.linspace(mean - 12 * scale, mean + 12 * scale, 200_001)
    a = np.tanh(u)
    policy = squashed(mean, scale)
    log_prob = np.asarray(policy.log_prob(jnp.asarray(u)[:, None]), np.float64)
    seen = np.abs(u) < 8  # beyond, neighbours have the same tanh
    density = np.exp(log_prob)
    within = np.diff(special.ndtr((np.array([-8, 8]) - mean) / scale))[0]
    assert np.trapezoid(density[seen], a[seen]) == pytest.approx(within, abs=1e-3)
    # By the density of u, which has no edge.
    entropy = -np.trapezoid(density * (1 - a**2) * log_prob, u)
    assert float(policy.entropy()) == pytest.approx(entropy, abs=0.02)


def test_squashed_policies_know_what_they_have_drawn():
    policy = squashed(0.4, 1.3)
    u, log_prob = policy.sample_and_log_prob(seed=jax.random.PRNGKey(0), sample_shape=(20_000,))
    np.testing.assert_array_equal(log_prob, policy.log_prob(u))
    assert -float(log_prob.mean()) == pytest.approx(float(policy.entropy()), abs=0.03)
    np.testing.assert_allclose(policy.mode(), [0.4], rtol=1e-6)


def test_divergence_of_squashed_policies_by_integration():
    one, other = squashed(0.4, 0.8), squashed(-0.2, 1.1)
    u = jnp.linspace(-6, 6, 20_001)[:, None]
    density = jnp.exp(one.log_prob(u)) * (1 - jnp.tanh(u[:, 0]) ** 2)
    expected = jnp.trapezoid(density * (one.log_prob(u) - other.log_prob(u)), u[:, 0])
    assert float(one.kl_divergence(other)) == pytest.approx(float(expected), rel=1e-3)


def test_derivatives_of_a_squashed_policy_equal_finite_differences():
    """By mean and log scale, in float64; the second number of an action is not squashed."""

    def policy(x):
        return policies.SquashedNormal(x[:2], jnp.exp(x[2:]), np.array([True, False]))

    def values(x, at):
        """Of a policy x near another one, with an action that this one might have drawn."""
        here, other = policy(x), policy(at + 0.3)
        u = at[:2] + jnp.exp(at[2:]) * jnp.array([0.8, -1.3])
        divergences = here.kl_divergence(other), other.kl_divergence(here)
        return jnp.stack([here.log_prob(u), here.entropy(), *divergences])

    with jax.enable_x64(True):
        grid = [(m, 0.2, s, -0.5) for m in (-6.0, -0.7, 0.4, 3.0) for s in (-4.0, -0.3, 0.9)]
        points, moves = jnp.array(grid), 1e-5 * jnp.eye(4)
        around = jax.vmap(jax.vmap(values, (0, None)))
        more, less = (around(points[:, None] + step, points) for step in (moves, -moves))
        found = np.swapaxes((more - less) / 2e-5, 1, 2)  # [point, value, parameter]
        slopes = quick_jit(jax.vmap(jax.jacobian(values)))(points, points)
    np.testing.assert_allclose(slopes, found, rtol=1e-5, atol=1e-6)
    entropy, others = found[:, 1], found[:, [0, 2, 3]]
    assert np.all(np.abs(others) > 1e-3), "a vanishing derivative would test nothing"
    # An entropy depends on the mean where the action is squashed, and only there.
    assert np.all(np.abs(entropy[:, [0, 2, 3]]) > 1e-3) and np.all(np.abs(entropy[:, 1]) < 1e-6)


def test_far_out_nothing_is_infinite():
    policy = squashed(300.0, 0.01)
    for f in (lambda m: squashed(m, 0.01).entropy(), lambda m: policy.log_prob(m[None])):
        value, slope = jax.value_and_grad(f)(300.0)
        assert np.isfinite([value, slope]).all()


def test_entropy_alone_does_not_widen_a_policy_for_ever():
    """A squashed one ends near uniform; a clipped one at the bound of its scale."""

    def entropy(x, bounds):
        return policies.make(box(-1, 1), bounds).distribution(x).entropy()

    for bounds in BOUNDS:
        x = jnp.array([0.5, 0.0])  # mean and scale
        ascend = jax.jit(lambda x, b=bounds: x + 0.1 * jax.grad(entropy)(x, b))
        for _ in range(2000):
            x = ascend(x)
        scale = float(jnp.exp(policies.bounded_log_scale(x[1])))
        if bounds == "squash":
            assert scale == pytest.approx(0.87, abs=0.05)
            assert float(entropy(x, bounds)) == pytest.approx(math.log(2), abs=0.03)
        else:
            assert 2 < scale < math.e


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize(
    ("low", "high", "middle", "one", "far"),
    [
        (-2.0, 1.0, -0.5, 1.0, 1.0),
        (-INF, INF, 0.0, 1.0, 50.0),
        (0.0, INF, 1.0, 2.0, 51.0),
        (-INF, 3.0, 2.0, 3.0, 3.0),
        (0.5, 0.5, 0.5, 0.5, 0.5),
        (-LARGEST, LARGEST, 0.0, 1.0, 50.0),
        (-1e29, 1e29, 0.0, 1e29, 1e29),
    ],
    ids=["both", "none", "below", "above", "equal", "largest", "huge"],
)
def test_what_a_task_is_sent(bounds, low, high, middle, one, far):
    """Of u = 0, 1 and 50; the same in-graph and on the host, and always in the space."""
    space = box(low, high)
    to_task = policies.make(space, bounds).to_task
    u = np.float32([[0.0], [1.0], [50.0], [-50.0]])
    sent = to_task(u)
    assert isinstance(sent, np.ndarray)
    assert sent.dtype == np.float32
    np.testing.assert_allclose(sent, to_task(jnp.asarray(u)), rtol=1e-6)
    final = np.stack([to_env(space)(action) for action in sent])
    np.testing.assert_allclose(final, jax.vmap(lambda a: graph_action(space, a))(sent), rtol=1e-6)
    assert all(space.contains(action) for action in final)
    inside = bounds == "squash" and math.isfinite(high - low) and low > -LARGEST
    if inside:
        one = middle + math.tanh(1) * (high - middle)
    np.testing.assert_allclose(final[:3, 0], [middle, one, far], rtol=1e-6)


@pytest.mark.parametrize("bounds", BOUNDS)
def test_odd_bounds_have_finite_losses(bounds):
    space = gym.spaces.Box(np.float32([-INF, 0, 1, -1e29]), np.float32([INF, INF, 1, 1e29]))
    policy = policies.make(space, bounds)

    def loss(outputs):
        one, other = policy.distribution(outputs), policy.distribution(outputs + 1)
        u = jax.lax.stop_gradient(one.sample(seed=jax.random.PRNGKey(0)))
        return one.log_prob(u) + one.entropy() + one.kl_divergence(other)

    values = jax.value_and_grad(loss)(jnp.linspace(-3, 3, 8))
    assert all(np.isfinite(x).all() for x in values)


def every(space):
    """All actions of a small space, one a row."""
    sizes = space.nvec if isinstance(space, gym.spaces.MultiDiscrete) else [2] * space.n
    return np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, len(sizes))


@pytest.mark.parametrize(
    "space",
    [gym.spaces.MultiDiscrete([2, 5, 1, 3]), gym.spaces.MultiBinary(4)],
    ids=["multi_discrete", "multi_binary"],
)
def test_independent_choices_by_listing_all_of_them(space):
    policy = policies.make(space, "clip")
    rng = np.random.default_rng(0)
    one, other = (
        policy.distribution(jnp.asarray(2 * rng.normal(size=policy.num_outputs))) for _ in range(2)
    )
    actions = every(space)
    log_p, log_q = (np.asarray(x.log_prob(actions)) for x in (one, other))
    p = np.exp(log_p)
    assert p.sum() == pytest.approx(1, rel=1e-5)
    assert float(one.entropy()) == pytest.approx(-(p * log_p).sum(), rel=1e-5)
    assert float(one.kl_divergence(other)) == pytest.approx((p * (log_p - log_q)).sum(), rel=1e-4)
    np.testing.assert_array_equal(one.mode(), actions[p.argmax()])
    drawn, log_prob = one.sample_and_log_prob(seed=jax.random.PRNGKey(0), sample_shape=(5000,))
    np.testing.assert_allclose(log_prob, one.log_prob(drawn), rtol=1e-4)
    found = (np.asarray(drawn)[:, None] == actions).all(-1).mean(0)
    np.testing.assert_allclose(found, p, atol=0.03)


class Switches(gym.Env):
    """A reward for each part of the action that is as high as it can be."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, space):
        self.action_space = space
        low = getattr(space, "low", getattr(space, "start", 0))
        self.best = getattr(space, "high", low + getattr(space, "nvec", 2) - 1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        reward = float(np.mean(np.abs(action - self.best) < 0.2))
        return np.zeros(1, np.float32), reward, self.steps == 5, False, {}


@pytest.mark.parametrize(
    "space",
    mostly_slow(
        {
            "multi_discrete": gym.spaces.MultiDiscrete([[2, 3], [3, 2]], start=[[1, 0], [-1, 2]]),
            "multi_binary": gym.spaces.MultiBinary([2, 2]),
            "box": gym.spaces.Box(-1.0, 2.0, (1, 2)),
        },
        {"box"},
    ),
)
def test_agents_learn_and_act_in_spaces_of_several_axes(space, tmp_path):
    run = st.train(
        lambda: Switches(space),
        steps=3000,
        num_envs=4,
        hidden=[16],
        rollout_length=16,
        epochs=4,
        minibatches=2,
        start={"learning_rate": 1e-2},
        meta="none",
        eval_episodes=4,
        progress=False,
        out=tmp_path / "run",
    )
    loaded = st.load(tmp_path / "run")
    observation = np.zeros(1, np.float32)
    for agent in (run.agent, loaded):
        for greedy in (True, False):
            action, _ = agent.act(observation, greedy=greedy)
            assert space.contains(action)
    best, _ = run.agent.act(observation)
    np.testing.assert_array_equal(best, loaded.act(observation)[0])
    assert run.evaluation.mean > 4
    many, _ = loaded.act(np.zeros((3, 1), np.float32), greedy=False)
    assert many.shape == (3, *space.shape)


@pytest.mark.parametrize("number", [1, 2, 6])
def test_noise_is_as_long_with_many_actions_as_with_one(number):
    """E|u|^2 = 1 at first; entropies say the standard deviation of each of n Gaussians."""
    actions = gym.spaces.Box(-3.0, 5.0, (number,), np.float32)
    seen, settings = (
        gym.spaces.Box(-1.0, 1.0, (4,), np.float32),
        AgentSettings(action_bounds="clip"),
    )
    nets = networks.make(seen, actions, settings)
    policy = nets.policy(nets.init(jax.random.PRNGKey(0)), jnp.zeros(4))
    u = policy.sample(seed=jax.random.PRNGKey(1), sample_shape=(20_000,))
    assert float(jnp.mean(jnp.sum(u**2, -1))) == pytest.approx(1.0, abs=0.05)
    one = 0.5 * math.log(2 * math.pi * math.e / number)
    assert float(policy.entropy()) == pytest.approx(number * one, abs=1e-3)


def test_in_graph_actions_of_several_axes():
    space = gym.spaces.MultiDiscrete([[2, 3]], start=[[1, -1]])
    sent = graph_action(space, jnp.array([1, 2]))
    np.testing.assert_array_equal(sent, [[2, 1]])
    np.testing.assert_array_equal(sent, to_env(space)(np.array([1, 2])))
    assert space.contains(to_env(space)(np.array([0, 0])))
    bits = gym.spaces.MultiBinary([1, 2])
    assert bits.contains(np.asarray(graph_action(bits, jnp.array([1, 0]))))


@pytest.mark.parametrize(
    "space",
    [gym.spaces.Discrete(4), gym.spaces.MultiDiscrete([2, 5, 1, 3]), gym.spaces.MultiBinary(4)],
    ids=["discrete", "multi_discrete", "multi_binary"],
)
def test_the_barrier_is_the_divergence_of_the_uniform_policy(space):
    policy = policies.make(space, "clip")
    outputs = jnp.asarray(2 * np.random.default_rng(1).normal(size=(3, policy.num_outputs)))
    one, uniform = policy.distribution(outputs), policy.distribution(jnp.zeros_like(outputs))
    found = policies.barrier(one)
    assert found.shape == (3,) and np.all(np.asarray(found) > 0)
    np.testing.assert_allclose(found, uniform.kl_divergence(one), rtol=1e-4)
    np.testing.assert_allclose(policies.barrier(uniform), 0.0, atol=1e-6)


def test_the_barrier_sees_only_what_a_mask_allows():
    policy = policies.make(gym.spaces.Discrete(4), "clip")
    logits = jnp.array([1.0, policies.NEVER, -2.0, policies.NEVER])
    found, slope = jax.value_and_grad(lambda x: policies.barrier(policy.distribution(x)))(logits)
    alone = policies.make(gym.spaces.Discrete(2), "clip").distribution(logits[::2])
    assert float(found) == pytest.approx(float(policies.barrier(alone)), rel=1e-5)
    np.testing.assert_array_equal(slope[1::2], 0.0)


def test_the_barrier_leaves_out_bits_that_a_mask_does_not_allow():
    policy = policies.make(gym.spaces.MultiBinary(3), "clip")
    logits = jnp.array([0.3, policies.NEVER, 1.0])
    found, slope = jax.value_and_grad(lambda x: policies.barrier(policy.distribution(x)))(logits)
    alone = policies.make(gym.spaces.MultiBinary(2), "clip").distribution(logits[::2])
    assert float(found) == pytest.approx(float(policies.barrier(alone)), rel=1e-5)
    assert slope[1] == 0


def test_the_barrier_brings_back_a_policy_that_is_certain_and_the_entropy_does_not():
    """Of a probability of e^-20 the entropy's derivative is 20 e^-20, the barrier's a half."""
    policy = policies.make(gym.spaces.Discrete(2), "clip")
    certain = jnp.array([20.0, 0.0])
    by_entropy = jax.grad(lambda x: -policy.distribution(x).entropy())(certain)
    by_barrier = jax.grad(lambda x: policies.barrier(policy.distribution(x)))(certain)
    assert np.all(np.abs(by_entropy) < 1e-6)
    np.testing.assert_allclose(by_barrier, [0.5, -0.5], rtol=1e-5)


def test_continuous_actions_have_no_barrier():
    with pytest.raises(TypeError, match="SquashedNormal"):
        policies.barrier(squashed(0.0, 1.0))
    message = r"^regularize: barrier is not allowed; it must be none \| l2_init"
    with pytest.raises(st.ConfigError, match=message):
        st.train("Pendulum", steps=1000, regularize="barrier", progress=False)
