"""The agent around the engine: the window that slides over its experience, and its networks."""

from dataclasses import replace

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.agents import networks, parts, self_tuning, window
from selftuning.agents.trajectory import Experience, Trajectory
from selftuning.configs.hyperparameters import Hyperparameter
from selftuning.configs.settings import AgentSettings, RunSettings, TuningSettings
from tests.quick_jit import quick_jit

T, B = 4, 3
OBSERVATIONS = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
ACTIONS = {
    "discrete": gym.spaces.Discrete(3),
    "continuous": gym.spaces.Box(-2.0, 1.0, (2,), np.float32),
}
# Starts away from the outer values, so that no derivative vanishes by symmetry.
HYPERPARAMETERS = {
    "gamma": Hyperparameter(0.8, 0.1, 0.9999, True, 0.95),
    "lambda": Hyperparameter(0.6, 0.01, 0.999, True, 0.9),
    "entropy": Hyperparameter(0.2, 1e-5, 1.0, True, 0.01),
    "critic": Hyperparameter(0.3, 1e-3, 10.0, True, 0.5),
    "policy": Hyperparameter(0.7, 1e-2, 10.0, True, 1.2),
    "clip": Hyperparameter(0.15, 0.02, 1.0, True, 0.25),
    "alpha_rho": Hyperparameter(0.7, 0.01, 0.9999, True, 0.9),
    "alpha_c": Hyperparameter(0.6, 0.01, 0.9999, True, 0.8),
    "epsilon": Hyperparameter(0.3, 1e-3, 0.999, True),
    "learning_rate": Hyperparameter(1e-2, 1e-6, 1e-1, True),
    "momentum": Hyperparameter(0.7, 0.0, 0.999, True),
    "hint_weight": Hyperparameter(0.5, 0.0, 10.0, True),
    "l2_init": Hyperparameter(1e-2, 0.0, 1.0, True),
    "barrier": Hyperparameter(0.05, 1e-5, 1.0, True, 0.04),
}


def make_settings(method="bmg", agent=None, **tuning):
    """All that is in use is tuned."""
    settings = RunSettings(
        num_envs=B,
        hyperparameters=HYPERPARAMETERS,
        agent=AgentSettings(
            **(
                {
                    "algorithm": "actor_critic",
                    "inner_optimizer": "rms",
                    "anneal_learning_rate": False,
                    "hidden": (5,),
                    "rollout_length": T,
                    "normalize_observations": False,
                    "normalize_rewards": False,
                }
                | (agent or {})
            )
        ),
        # No update here is to be shortened: tests/test_metagrad_trust_region.py is about that.
        tuning=TuningSettings(
            method=method, **({"trust_region": 1e9, "optimizer": "adam"} | tuning)
        ),
    )
    tuned = {n: replace(h, tuned=n in settings.in_use) for n, h in HYPERPARAMETERS.items()}
    return replace(settings, hyperparameters=tuned)


def trajectory(seed, actions):
    """Random experience with a termination and a truncation in it."""
    rng = np.random.default_rng(seed)
    if isinstance(actions, gym.spaces.Discrete):
        action = rng.integers(0, actions.n, (T, B)).astype(np.int32)
    else:
        action = rng.normal(size=(T, B, *actions.shape))
    discount, truncated = np.ones((T, B)), np.zeros((T, B), bool)
    discount[1, 0] = 0.0
    truncated[2, 1] = True
    return jax.tree.map(
        jnp.asarray,
        Trajectory(
            rng.normal(size=(T, B, 3)),
            action,
            rng.normal(size=(T, B)),
            rng.normal(size=(T, B)),
            discount,
            truncated,
            rng.normal(size=(T, B, 3)),
        ),
    )


def compiled(agent):
    """The agent with its programs jitted."""
    return agent._replace(
        init=quick_jit(agent.init),
        inner_step=quick_jit(agent.inner_step),
        meta_step=quick_jit(agent.meta_step),
    )


def stack(items):
    return jax.tree.map(lambda *x: jnp.stack(x), *items)


@pytest.mark.parametrize(
    ("inner_steps", "target_steps", "period"),
    [
        # The latest updates are of the last cycles, of this one and the last, and of this one.
        (1, 1, 1),
        (2, 2, 3),
        (1, 1, 4),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((1, 1, 2), (2, 3, 1), (1, 3, 5))
        ),
    ],
)
def test_the_window_holds_the_latest_updates_and_replays_the_live_parameters(
    inner_steps, target_steps, period
):
    """What the agent hands to the engine, recorded: its K updates lead to the state after them."""
    settings = make_settings(
        "bmg", inner_steps=inner_steps, target_steps=target_steps, period=period
    )
    actions = ACTIONS["discrete"]
    agent = compiled(self_tuning.make(OBSERVATIONS, actions, settings))
    engine = parts.learner(agent.algorithm, settings)
    engine = engine._replace(
        inner_step=quick_jit(engine.inner_step), meta_step=quick_jit(engine.meta_step)
    )
    state, nothing = agent.init(jax.random.PRNGKey(1)), jnp.zeros(0)
    size, live, moved = inner_steps + target_steps, [], []
    seed = 0
    for _ in range(5):
        steps = []
        for _ in range(period):
            live.append((state.learner, trajectory(seed, actions)))
            state, step = agent.inner_step(state, live[-1][1])
            steps.append(step)
            seed += 1
        before = state
        state, _ = agent.meta_step(state, window.kept(agent.window, steps))
        moved.append(
            any(
                np.any(a != b)
                for a, b in zip(
                    *map(jax.tree.leaves, (before.learner.values, state.learner.values)),
                    strict=True,
                )
            )
        )
        if len(live) < size:
            assert not moved[-1]
            continue
        # The same meta-step from the live path.
        last = live[-size:]
        records, end = [], None
        for learner, batch in last[:inner_steps]:
            end, record = engine.inner_step(learner, Experience(batch, nothing))
            records.append(record)
        following = last[inner_steps][0].inner
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            end.inner,
            following,
        )
        validation = stack([Experience(b, nothing) for _, b in last[inner_steps:]])
        expected, _ = engine.meta_step(before.learner, stack(records), following, validation)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6),
            expected.values,
            state.learner.values,
        )
    assert moved[-1]


@pytest.mark.parametrize("method", ["mg", "bmg"])
def test_experience_without_any_reward_gives_no_nan(method):
    settings = make_settings(method, period=2)
    agent = compiled(self_tuning.make(OBSERVATIONS, ACTIONS["discrete"], settings))
    nothing = jax.tree.map(jnp.zeros_like, trajectory(0, ACTIONS["discrete"]))
    state = agent.init(jax.random.PRNGKey(0))
    for _ in range(3):
        state, a = agent.inner_step(state, nothing)
        state, b = agent.inner_step(state, nothing)
        state, info = agent.meta_step(state, window.kept(agent.window, [a, b]))
    leaves = jax.tree.leaves((state, info))
    assert all(np.all(np.isfinite(x)) for x in leaves)


def test_fixed_hyperparameters_keep_their_value_and_bounds_hold():
    fixed = replace(HYPERPARAMETERS["gamma"], tuned=False)
    narrow = replace(HYPERPARAMETERS["entropy"], low=0.19, high=0.21)
    settings = make_settings("bmg", learning_rate=0.5, period=2)
    changed = {**settings.hyperparameters, "gamma": fixed, "entropy": narrow}
    settings = replace(settings, hyperparameters=changed)
    agent = compiled(self_tuning.make(OBSERVATIONS, ACTIONS["discrete"], settings))
    state = agent.init(jax.random.PRNGKey(0))
    for seed in range(4):
        state, a = agent.inner_step(state, trajectory(2 * seed, ACTIONS["discrete"]))
        state, b = agent.inner_step(state, trajectory(2 * seed + 1, ACTIONS["discrete"]))
        state, _ = agent.meta_step(state, window.kept(agent.window, [a, b]))
        values = agent.hyperparameters(state)
        assert values["gamma"] == np.float32(0.8)
        assert 0.19 - 1e-6 <= values["entropy"] <= 0.21 + 1e-6
    assert values["entropy"] != np.float32(0.2)
    assert values["lambda"] != np.float32(0.6)


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (gym.spaces.Box(-1, 1, (2, 3), np.float32), (2, 3)),
        (gym.spaces.Discrete(4), ()),
        (gym.spaces.MultiDiscrete([2, 3]), (2,)),
        (gym.spaces.MultiBinary(5), (5,)),
        (gym.spaces.Box(0, 255, (44, 44, 3), np.uint8), (44, 44, 3)),
    ],
    ids=["box", "discrete", "multi_discrete", "multi_binary", "image"],
)
def test_networks_for_every_kind_of_observation(space, shape):
    nets = networks.make(space, gym.spaces.Discrete(3), AgentSettings(hidden=(4,)))
    params = nets.init(jax.random.PRNGKey(0))
    observation = np.stack([np.stack([space.sample() for _ in range(B)]) for _ in range(T)])
    assert observation.shape == (T, B, *shape)
    assert nets.value(params, observation).shape == (T, B)
    assert nets.policy(params, observation).logits.shape == (T, B, 3)
    uniform = np.full((T, B, 3), 1 / 3)
    np.testing.assert_allclose(nets.policy(params, observation).probs, uniform, atol=0.02)
