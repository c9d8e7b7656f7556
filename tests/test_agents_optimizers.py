"""What moves the parameters and the hyperparameters of the agent, by the names of the settings."""

import itertools
from dataclasses import replace
from functools import partial
from typing import get_args

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.agents import actor_critic, parts, self_tuning, window
from selftuning.agents.trajectory import Experience
from selftuning.configs import presets
from selftuning.configs.errors import ConfigError
from selftuning.configs.hyperparameters import default_hyperparameters
from selftuning.configs.settings import (
    AgentSettings,
    InnerOptimizer,
    MetaOptimizer,
    RunSettings,
    TuningSettings,
)
from selftuning.configs.validate import validate
from selftuning.metagrad import hyperparams as hp
from selftuning.metagrad import trac, update_rules
from tests.marks import mostly_slow
from tests.quick_jit import quick_jit
from tests.test_agents_self_tuning import trajectory

OBSERVATIONS = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
ACTIONS = gym.spaces.Discrete(3)
SPACE = {
    "gamma": hp.Hyperparameter(hp.UNIT_INTERVAL, 0.1, 0.999),
    "entropy": hp.Hyperparameter(hp.POSITIVE, 1e-3, 1.0),
}


class Recording(dict):
    """Remembers which of its entries were read."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.read = set()

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("name", get_args(InnerOptimizer))
def test_the_settings_know_which_rule_reads_what(name):
    rule = parts.INNER_OPTIMIZERS[name]()
    values = Recording({n: h.start for n, h in default_hyperparameters().items()})
    params = jnp.ones(3)
    rule.update(params, rule.init(params), params, values)
    settings = RunSettings(agent=AgentSettings(algorithm="actor_critic", inner_optimizer=name))
    assert values.read == set(settings.agent.in_optimizer)
    assert set(settings.in_use) == set(settings.agent.in_loss) | values.read


def play(settings, gradients):
    optimizer = parts.meta_optimizer(settings, SPACE)
    raw = hp.init(SPACE, {"gamma": 0.9, "entropy": 0.1}).raw
    state = optimizer.init(raw)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, raw)
        raw = jax.tree.map(jnp.add, raw, updates)
    return hp.constrain(SPACE, hp.Values(raw, {}))


def some_gradients(scale=1.0):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(50, 2))
    return [
        {"gamma": jnp.float32(scale * (a - 1)), "entropy": jnp.float32(1e-3 * scale * (b + 1))}
        for a, b in noise
    ]


@pytest.mark.parametrize("name", sorted({*get_args(MetaOptimizer)} - {"ftrl"}))
def test_meta_gradients_far_below_epsilon_move_nothing(name):
    """With epsilon the size of meta-gradients tells: the smaller ones, of noise, stand still."""
    settings = TuningSettings(optimizer=name, learning_rate=0.04, epsilon=1.0)
    values = play(settings, some_gradients())
    assert abs(values["entropy"] - 0.1) < 0.01 < values["gamma"] - 0.9


@pytest.mark.parametrize("name", get_args(MetaOptimizer))
def test_meta_optimizers_descend_whatever_the_size_of_gradients(name):
    settings = TuningSettings(optimizer=name)
    values, same = play(settings, some_gradients()), play(settings, some_gradients(1e3))
    assert values["gamma"] > 0.93
    assert values["entropy"] < 0.07
    for key in values:
        np.testing.assert_allclose(values[key], same[key], rtol=1e-3)


@pytest.mark.parametrize("name", ["ogd", "ao_ftrl", "omega"])
def test_online_learners_stay_within_bounds_by_themselves(name):
    """The engine projects what Adam returns; these learners know their set."""
    for rate in (0.5, 50.0):
        values = play(TuningSettings(optimizer=name, learning_rate=rate), some_gradients())
        assert 0.1 - 1e-6 <= values["gamma"] <= 0.999 + 1e-6
        assert 1e-3 * (1 - 1e-5) <= values["entropy"] <= 1.0


def test_ftrl_leaves_a_learning_rate_to_adam():
    """What the trust region lowers stays lowered; an anchored learner would take it back."""
    space = SPACE | {"learning_rate": hp.Hyperparameter(hp.POSITIVE, 1e-6, 1.0)}
    optimizers = {
        name: parts.meta_optimizer(TuningSettings(optimizer=name), space)
        for name in ("ftrl", "adam")
    }
    ends = {}
    for name, optimizer in optimizers.items():
        raw = hp.init(space, {"gamma": 0.9, "entropy": 0.1, "learning_rate": 1e-2}).raw
        state = optimizer.init(raw)
        for number, gradient in enumerate(some_gradients()):
            gradient = gradient | {"learning_rate": gradient["gamma"]}
            updates, state = optimizer.update(gradient, state, raw)
            raw = jax.tree.map(jnp.add, raw, updates)
            if number == 20:
                raw["learning_rate"] -= 3.0  # a cut
        ends[name] = raw
    np.testing.assert_allclose(ends["ftrl"]["learning_rate"], ends["adam"]["learning_rate"])
    assert ends["ftrl"]["gamma"] != ends["adam"]["gamma"]


def test_what_is_tuned_by_default():
    def tuned(settings):
        return {name for name, spec in settings.in_use.items() if spec.tuned}

    assert tuned(presets.for_env("Hopper-v5")) == {"gamma"}
    actor_critic = presets.with_method(presets.for_env("CartPole-v1"), "actor_critic")
    assert tuned(actor_critic) == {"gamma", "lambda", "entropy", "critic"}
    assert actor_critic.tuning.optimizer == "adam"
    assert presets.for_env("TwoColors-v0").tuning.optimizer == "adam"


def run(settings, updates=6):
    agent = self_tuning.make(OBSERVATIONS, ACTIONS, settings)
    state = quick_jit(agent.init)(jax.random.PRNGKey(0))
    inner_step = quick_jit(agent.inner_step)
    meta_step = quick_jit(agent.meta_step, donate_argnums=0)
    states = [state]
    for seed in range(updates):
        state, step = inner_step(state, trajectory(seed, ACTIONS))
        states.append(jax.tree.map(jnp.copy, state))
        state, _ = meta_step(state, window.kept(agent.window, [step]))
    return agent, states


def tuned(names, starts=(), **agent):
    defaults = default_hyperparameters()
    hyperparameters = {
        name: replace(spec, tuned=name in names, start=dict(starts).get(name, spec.start))
        for name, spec in defaults.items()
    }
    return RunSettings(
        num_envs=3,
        hyperparameters=hyperparameters,
        agent=AgentSettings(algorithm="actor_critic", hidden=(5,), rollout_length=4, **agent),
        tuning=TuningSettings(period=1, optimizer="adam"),
    )


@pytest.mark.parametrize(
    "name",
    mostly_slow({name: name for name in get_args(InnerOptimizer)}, {"sgd", "adam", "accelerated"}),
)
def test_every_inner_optimizer_can_have_all_that_it_reads_tuned(name, monkeypatch):
    if name == "trac":  # as published it starts so slowly that float32 sees no meta-gradient
        larger = partial(trac.trac, update_rules.adam(), first=0.1)
        monkeypatch.setitem(parts.INNER_OPTIMIZERS, name, larger)
    names = set(
        RunSettings(agent=AgentSettings(algorithm="actor_critic", inner_optimizer=name)).in_use
    )
    agent, states = run(tuned(names, inner_optimizer=name))
    values = agent.hyperparameters(states[-1])
    assert set(values) == names
    for key, value in values.items():
        assert np.isfinite(value)
        assert value != np.float32(default_hyperparameters()[key].start), key
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(states[-1]))


def test_a_regularizer_is_read_and_tuned_only_where_it_is_asked_for():
    default = AgentSettings(algorithm="actor_critic")
    assert "l2_init" not in RunSettings(agent=default).in_use
    agent, states = run(tuned({"l2_init"}, regularize="l2_init"), 4)
    assert agent.hyperparameters(states[-1])["l2_init"] != np.float32(1e-3)
    rule = states[-1].learner.inner.rule
    jax.tree.map(np.testing.assert_array_equal, rule.start, states[0].learner.inner.params)
    settings = tuned({"l2_init"})
    with pytest.raises(ConfigError, match=r"agent.regularize: none .* l2_init to tune l2_init"):
        validate(settings)


def test_the_regularizer_is_clipped_with_the_gradient():
    """As a term of the loss would be: the weight is so large that nothing else is left."""
    settings = tuned({"gamma"}, {"l2_init": 1e6}.items(), regularize="l2_init", max_grad_norm=0.5)
    settings = replace(settings, agent=replace(settings.agent, inner_optimizer="sgd"))
    rule = parts.update_rule(settings)
    values = {name: spec.start for name, spec in settings.in_use.items()}
    state, away = rule.init(jnp.zeros(3)), jnp.array([3.0, 0.0, 4.0])
    moved, _ = rule.update(jnp.ones(3), state, away, values)
    annealed = values["learning_rate"] * 0.5
    np.testing.assert_allclose(moved, away * (1 - annealed / 5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tune", [True, False])
def test_a_learning_rate_that_is_tuned_is_kept_from_destroying_the_policy(tune):
    names = {"learning_rate"} if tune else {"gamma"}
    settings = tuned(names, {"learning_rate": 0.1}.items(), inner_optimizer="rms")
    agent, states = run(settings)
    change = quick_jit(actor_critic.make(OBSERVATIONS, ACTIONS, settings).change)
    changes = []
    for seed, (before, after) in enumerate(itertools.pairwise(states)):
        old, new = before.learner.inner.params, after.learner.inner.params
        batch = Experience(trajectory(seed, ACTIONS), jnp.zeros(0))
        changes.append(float(change(old, new, batch)))
    limit, rate = settings.tuning.trust_region, agent.hyperparameters(states[-1])["learning_rate"]
    if tune:
        assert max(changes) < 3 * limit  # a step that long is not yet quadratic in its length
        assert rate < 0.1 * 0.9
    else:
        assert max(changes) > 6 * limit, "an update that would do no harm tests nothing"
        assert rate == np.float32(0.1)


def test_the_last_update_of_a_run_is_the_last_that_moves():
    run = RunSettings(steps=5000)  # five rollouts of 1024 steps, 40 updates on each
    assert run.updates == 5 * 40
    assert replace(run, agent=AgentSettings("actor_critic")).updates == 5
