"""Masks of actions: what is not allowed is never chosen, and losses see the policy that acted."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

import selftuning as st
from selftuning.agents import networks
from selftuning.configs.errors import ConfigError, FailedEnvironmentError
from selftuning.configs.settings import AgentSettings
from selftuning.envs import given, registry
from selftuning.envs.functional import graph_task
from selftuning.envs.spaces import SpacesOnly, agent_spaces
from tests.quick_jit import quick_jit
from tests.untrained import untrained

AGENT = {"hidden": [8], "rollout_length": 8, "epochs": 1, "minibatches": 2}
SPACES = {
    "discrete": spaces.Discrete(4),
    "multi_discrete": spaces.MultiDiscrete([3, 2]),
    "multi_binary": spaces.MultiBinary(3),
}


def masked_networks(actions, size):
    numbers = {"action_mask": spaces.MultiBinary(size), "seen": spaces.Box(-1, 1, (2,))}
    both = agent_spaces("Mine-v0", SpacesOnly(spaces.Dict(numbers), actions))
    nets = networks.make(*both, AgentSettings(hidden=(4,)))
    return nets, nets.init(jax.random.PRNGKey(0))


@pytest.mark.parametrize(
    ("kind", "mask", "allowed"),
    [
        ("discrete", [0, 1, 0, 1], [[1], [3]]),
        ("multi_discrete", [1, 0, 1, 0, 1], [[0, 1], [2, 1]]),
        ("multi_binary", [1, 0, 0], [[0, 0, 0], [1, 0, 0]]),
    ],
)
def test_only_what_is_allowed_has_a_chance(kind, mask, allowed):
    nets, params = masked_networks(SPACES[kind], len(mask))
    observation = jnp.array([[*mask, 0.3, -0.2]], jnp.float32)
    policy = nets.policy(params, observation)
    drawn = np.asarray(policy.sample(seed=jax.random.PRNGKey(0), sample_shape=(500,)))[:, 0]
    found = np.unique(drawn.reshape(500, -1), axis=0)
    np.testing.assert_array_equal(found, allowed)
    assert policy.mode()[0].reshape(-1).tolist() in allowed
    actions = np.squeeze(np.array(allowed)[:, None], () if kind != "discrete" else -1)
    log_probs = np.concatenate([policy.log_prob(action) for action in actions])
    np.testing.assert_allclose(np.exp(log_probs).sum(), 1, rtol=1e-5)
    entropy = -(np.exp(log_probs) * log_probs).sum()
    np.testing.assert_allclose(policy.entropy()[0], entropy, rtol=1e-4)

    def loss(params):
        here = nets.policy(params, observation)
        return (here.entropy() + here.kl_divergence(policy) + here.log_prob(actions[0])).sum()

    tangents = jax.tree.map(jnp.ones_like, params)
    slopes = quick_jit(lambda p, t: jax.jvp(jax.grad(loss), (p,), (t,)))(params, tangents)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))


def test_a_mask_that_allows_nothing_is_left_out():
    nets, params = masked_networks(SPACES["multi_discrete"], 5)
    probabilities = [
        nets.policy(params, jnp.array([[*mask, 0.3, -0.2]], jnp.float32)).entropy()
        for mask in ([0] * 5, [1] * 5)
    ]
    np.testing.assert_allclose(*probabilities, rtol=1e-6)


def test_features_do_not_depend_on_the_mask():
    nets, params = masked_networks(SPACES["discrete"], 4)
    seen = jnp.array([[1, 0, 0, 1, 0.3, -0.2], [1, 1, 1, 1, 0.3, -0.2]])
    values = nets.value(params, seen)
    assert values[0] == values[1]


class Doors(FuncEnv):
    """One of three doors is open, and pays 1; to try another would be the end of the program."""

    observation_space = spaces.Discrete(2, start=1)
    action_space = spaces.Discrete(3)

    def initial(self, rng, params=None):
        return jax.random.randint(rng, (), 0, 3)

    def transition(self, state, action, rng, params=None):
        return jnp.where(action == state, jax.random.randint(rng, (), 0, 3), -1)

    def observation(self, state, rng, params=None):
        return jnp.asarray(1)

    def reward(self, state, action, next_state, rng, params=None):
        return jnp.where(action == state, 1.0, -100.0)

    def terminal(self, state, rng, params=None):
        return state < 0

    def action_mask(self, state):
        return jnp.arange(3) == state


def test_in_graph_environments_have_masks():
    task = graph_task(Doors(), 4, max_episode_steps=20)
    run = st.train(task, steps=500, meta="none", progress=False, **AGENT)
    assert run.agent.evaluate(4).mean == 20
    _, observation = task.init(jax.random.PRNGKey(0))
    assert observation.shape == (4, 3 + 2)
    assert (observation[:, :3].sum(-1) == 1).all()
    np.testing.assert_array_equal(observation[:, 3:], [[1, 0]] * 4)


def test_taxi_never_makes_an_illegal_move(tmp_path):
    task = registry.make("Taxi-v4", 2, "host")
    try:
        observation = task.reset(0)
        assert observation.shape == (2, 6 + 500)
        for step in range(220):
            allowed = observation[:, :6]
            action = np.array([np.flatnonzero(row)[step % int(row.sum())] for row in allowed])
            timestep = task.step(action)
            assert (timestep.reward > -10).all()  # what an illegal pick-up costs
            observation = timestep.observation
    finally:
        task.close()
    run = st.train(
        "Taxi-v4",
        steps=200,
        meta="none",
        eval_episodes=1,
        progress=False,
        out=tmp_path / "run",
        **AGENT,
    )
    agent, env = st.load(tmp_path / "run"), gym.make("Taxi-v4")
    observation, info = env.reset(seed=0)
    for greedy in (True, False):
        action, _ = agent.act(observation, greedy=greedy, action_mask=info["action_mask"])
        assert info["action_mask"][action]
    many, masks = np.array([observation] * 3), np.array([info["action_mask"]] * 3)
    assert agent.act(many, action_mask=masks)[0].shape == (3,)
    with pytest.raises(ConfigError, match=r"^action_mask: None is not allowed; it must be info"):
        agent.act(observation)
    assert run.agent.observation_space == agent.observation_space


class Locks(gym.Env):
    """Most of what could be done would be the end of the program; it pays to try all the same."""

    def __init__(self, actions=SPACES["discrete"], parts=False):
        self.action_space, self.steps = actions, 0
        number = spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = spaces.Dict({"seen": number}) if parts else number
        self.sizes = getattr(actions, "nvec", [getattr(actions, "n", 1)])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.shown()

    def step(self, action):
        for each, allowed in zip(np.atleast_1d(action), self.mask, strict=True):
            assert allowed[each], f"{each} is not in {allowed}"
        self.steps += 1
        observation, info = self.shown()
        return observation, float(np.sum(action)), self.steps == 7, False, info

    def shown(self):
        kept = [self.np_random.integers(n) for n in self.sizes]
        self.mask = tuple(
            (self.np_random.random(n) < 0.2) | (np.arange(n) == one)
            for n, one in zip(self.sizes, kept, strict=True)
        )
        seen = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return {"seen": seen} if isinstance(self.observation_space, spaces.Dict) else seen, {}

    def told(self):
        whole = isinstance(self.action_space, spaces.Discrete)
        return self.mask[0].astype(np.int8) if whole else self.mask


class LocksInInfo(Locks):
    def shown(self):
        observation, _ = super().shown()
        return observation, {"action_mask": self.told()}


class LocksByMethod(Locks):
    """As sb3-contrib has it; there is no answer after an episode."""

    def action_masks(self):
        assert self.steps < 7
        return np.concatenate(self.mask)


LOCKS = {
    "in info": (LocksInInfo, {}),
    "in info, of parts": (LocksInInfo, {"actions": SPACES["multi_discrete"], "parts": True}),
    "by method": (LocksByMethod, {}),
}


@pytest.mark.parametrize(("kind", "settings"), LOCKS.values(), ids=LOCKS)
def test_what_a_host_environment_forbids_is_never_chosen(kind, settings, tmp_path):
    """In training, in evaluation and by an agent that was loaded: the environment would raise."""
    how = {"steps": 300, "num_envs": 4, "eval_episodes": 4, "progress": False, **AGENT}
    make = lambda: kind(**settings)  # noqa: E731
    run = st.train(make, meta="none", out=tmp_path / "run", **how)
    assert run.evaluate(4, stochastic=True).ended.all()
    env, agent = make(), st.load(tmp_path / "run")
    assert agent.evaluate(2).ended.all()
    for greedy in (True, False):
        (observation, _), ended, state = env.reset(seed=1), False, None
        while not ended:
            action, state = agent.act(observation, state, greedy=greedy, action_mask=env.told())
            observation, _, ended, _, _ = env.step(action)


@pytest.mark.parametrize("first", [True, False], ids=["at reset", "later"])
def test_a_mask_of_another_size_or_a_late_one_is_refused_in_a_line(first):
    class Odd(Locks):
        def shown(self):
            there = {"action_mask": np.ones(3)} if first or self.steps == 2 else {}
            return super().shown()[0], there

        def step(self, action):
            return super().step(np.flatnonzero(self.mask[0])[0])

    said = {
        True: "environment 0 of 2, its step 0: ValueError: a mask of 3 numbers for 4 actions",
        False: 'environment 0 of 2, its step 2: .*"action_mask"., .* --wrapper .*:ActionMask',
    }
    task = registry.make(given.register(Odd), 2)

    def begin():
        task.reset(0)
        for _ in range(3):
            task.step(np.zeros(2, int))

    with pytest.raises(FailedEnvironmentError, match=said[first]) as error:
        begin()
    assert "\n" not in str(error.value)


def test_masks_that_an_agent_cannot_use_are_refused():
    agent = untrained(given.register(LocksInInfo))
    with pytest.raises(ConfigError, match=r"^action_mask: shape \(3,\) .* must be \(4,\), or"):
        agent.act(np.zeros(1), action_mask=np.ones(3))
    many, _ = agent.act(np.zeros((5, 1)), action_mask=np.eye(4)[[0, 2, 2, 1, 3]])
    np.testing.assert_array_equal(many, [0, 2, 2, 1, 3])
    with pytest.raises(ConfigError, match=r"^action_mask: a mask .* None: the agent was trained"):
        untrained("CartPole-v1").act(np.zeros(4), action_mask=np.ones(2))
