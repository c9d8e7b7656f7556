"""The agent as it is run, jitted, in each of the ways in which it can tune itself."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.agents import self_tuning, window
from selftuning.configs.validate import validate
from tests.test_agents_self_tuning import (
    ACTIONS,
    OBSERVATIONS,
    compiled,
    make_settings,
    trajectory,
)

ACTION_SPACE = ACTIONS["discrete"]
WAYS = {
    "no context": ({}, {}),
    "reward": ({}, {"context": "reward", "context_hidden": (8,)}),
    "rich": ({}, {"context": "rich", "context_hidden": (8,), "inner_steps": 2}),
    "online in context": (
        {"inner_optimizer": "accelerated"},
        {"context": "rich", "context_hidden": (8,), "optimizer": "omega"},
    ),
    "heads": ({"heads": 3, "correction": "vtrace"}, {"context": "none"}),
    "heads in context": (
        {"heads": 2, "correction": "vtrace", "outer_critic": True},
        {"context": "rich", "context_hidden": (8,), "method": "mg", "inner_steps": 2},
    ),
    "outer critic": ({"outer_critic": True}, {"method": "mg", "outer_kl": 0.1}),
    "implicit": (
        {},
        {"differentiation": "implicit", "implicit_damping": 0.5, "horizon_mixing": 0.5},
    ),
    "horizons": ({"inner_optimizer": "adam"}, {"inner_steps": 3, "horizon_mixing": 0.5}),
}


def settings_of(agent, tuning):
    settings = make_settings(agent=agent, **({"period": 2, "learning_rate": 0.1} | tuning))
    if tuning.get("differentiation") == "implicit":
        by_rule = ("learning_rate", "momentum")
        fixed = {
            n: replace(h, tuned=h.tuned and n not in by_rule)
            for n, h in settings.hyperparameters.items()
        }
        settings = replace(settings, hyperparameters=fixed)
    validate(settings)
    return settings


def made(settings):
    return compiled(self_tuning.make(OBSERVATIONS, ACTION_SPACE, settings))


def run(agent, settings, cycles=4):
    """States after each inner step of each cycle, and after its meta-step."""
    state, seed, cycles_seen = agent.init(jax.random.PRNGKey(0)), 0, []
    for _ in range(cycles):
        states, steps = [state], []
        for _ in range(settings.tuning.period):
            batch = trajectory(seed, ACTION_SPACE)
            batch = batch._replace(log_prob=batch.log_prob * 0.3 - 1)
            state, step = agent.inner_step(state, batch)
            states.append(state)
            steps.append(step)
            seed += 1
        state, info = agent.meta_step(state, window.kept(agent.window, steps))
        cycles_seen.append((states, state, info))
    return cycles_seen


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_all_that_is_tuned_moves_and_stays_finite_and_within_bounds(way):
    settings = settings_of(*WAYS[way])
    agent = made(settings)
    seen = run(agent, settings)
    first, last = seen[0][0][0], seen[-1][1]
    start, end = agent.hyperparameters(first), agent.hyperparameters(last)
    heads, in_loss = settings.agent.heads, settings.agent.in_loss
    assert set(end) == set(settings.in_use)
    for name, spec in settings.in_use.items():
        assert end[name].shape == ((heads,) if heads > 1 and name in in_loss else ())
        np.testing.assert_allclose(start[name], spec.start, rtol=1e-5)
        assert np.all(end[name] != start[name]) == spec.tuned, name
        assert np.all((end[name] >= spec.low - 1e-6) & (end[name] <= spec.high + 1e-6))
        if end[name].shape and spec.tuned:
            assert len(set(np.asarray(end[name]).tolist())) == heads, name
    everything = last.learner, last.history, [info for _, _, info in seen]
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(everything))


@pytest.mark.parametrize("name", ["rich", pytest.param("reward", marks=pytest.mark.slow)])
def test_hyperparameters_follow_the_context_from_rollout_to_rollout(name):
    settings = settings_of(*WAYS[name])
    agent = made(settings)
    states, _, _ = run(agent, settings)[-1]
    for before, after in itertools.pairwise(states):
        old, new = agent.hyperparameters(before), agent.hyperparameters(after)
        for x in settings.in_use:
            assert old[x] != new[x], "no meta-step lies between them"


SLOWER = [pytest.param(*case, marks=pytest.mark.slow) for case in ((1, 1, 2), (1, 2, 5))]


@pytest.mark.parametrize(("K", "L", "period"), [(2, 1, 3), *SLOWER])
def test_resuming_from_the_student_takes_back_the_updates_that_judged_it(K, L, period):
    tuning = {"inner_steps": K, "target_steps": L, "period": period}
    settings = settings_of({"inner_optimizer": "momentum"}, tuning | {"continue_from": "student"})
    agent = made(settings)
    latest = made(settings_of({"inner_optimizer": "momentum"}, tuning))
    for number, (states, after, _) in enumerate(run(agent, settings, 3)):
        student = states[-1 - L].learner.inner
        jax.tree.map(np.testing.assert_array_equal, after.learner.inner, student)
        moved = jax.tree.map(
            lambda a, b: jnp.max(jnp.abs(a - b)), student, states[-1].learner.inner
        )
        assert moved.params > 0
        assert after.updates == (number + 1) * period
    states, after, _ = run(latest, settings, 1)[0]
    jax.tree.map(np.testing.assert_array_equal, after.learner.inner, states[-1].learner.inner)


def test_a_target_with_a_state_of_its_own_keeps_it_and_uses_it():
    """And not before there is a student to judge: the window is filled in the second cycle."""
    tuning = {"inner_steps": 2, "target_steps": 1, "period": 2, "target_state": "own"}
    settings = settings_of({}, tuning)
    agent = made(settings)
    own = [state.learner.objective for _, state, _ in run(agent, settings)]
    start = agent.init(jax.random.PRNGKey(0)).learner
    jax.tree.map(np.testing.assert_array_equal, start.objective, start.inner.rule)
    jax.tree.map(np.testing.assert_array_equal, own[0], start.objective)
    for before, after in itertools.pairwise(own):
        for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
            assert np.any(x != y)
    # Another state, another target.
    states, _, _ = run(agent, settings)[-1]
    steps = run_steps(agent, states[0], settings)
    found = []
    for scale in (1.0, 4.0):
        learner = states[-1].learner
        other = jax.tree.map(lambda x, s=scale: s * x, learner.objective)
        changed = states[-1]._replace(learner=learner._replace(objective=other))
        found.append(agent.meta_step(changed, steps)[1]["target_distance"])
    assert abs(found[0] / found[1] - 1) > 1e-3


def run_steps(agent, state, settings):
    steps = []
    for seed in range(settings.tuning.period):
        state, step = agent.inner_step(state, trajectory(seed, ACTION_SPACE))
        steps.append(step)
    return window.kept(agent.window, steps)
