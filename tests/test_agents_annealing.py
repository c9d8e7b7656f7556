"""An entropy weight that falls with the run: the same as one that is smaller, to the last digit."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selftuning.agents import actor_critic, parts, self_tuning
from selftuning.configs import cli, studies
from selftuning.configs.errors import ConfigError
from tests.quick_jit import quick_jit
from tests.small_agents import experience, packed, settings_of, start_of
from tests.test_agents_self_tuning import ACTIONS, OBSERVATIONS, make_settings, stack, trajectory

SPACES = OBSERVATIONS, ACTIONS["discrete"]
UPDATES = 4  # of a run


def settings_with(algorithm, anneal):
    agent = {"algorithm": algorithm, "anneal_entropy": anneal, "epochs": 2, "minibatches": 2}
    settings = make_settings("none", agent=agent)
    rollout = settings.agent.rollout_length * settings.num_envs
    return replace(settings, steps=UPDATES * rollout)


@pytest.mark.parametrize("algorithm", ["actor_critic", "ppo"])
def test_each_rollout_is_learned_from_with_what_is_left_of_the_weight(algorithm):
    settings = settings_with(algorithm, True)
    falling, fixed = (
        self_tuning.make(*SPACES, settings_with(algorithm, anneal)) for anneal in (True, False)
    )
    learn, learn_fixed = quick_jit(falling.inner_step), quick_jit(fixed.inner_step)
    key, start = jax.random.PRNGKey(0), {"entropy": 0.5}
    state, there = falling.init(key, start), fixed.init(key, start)
    for number in range(UPDATES + 1):
        left = max(0.0, 1 - number / UPDATES)
        there = self_tuning.with_value(there, settings, "entropy", lambda _, x=left: x * 0.5 + 0.0)
        rollout = trajectory(number, ACTIONS["discrete"])
        state, there = (
            learn(state, rollout, key)[0],
            learn_fixed(there, rollout, key)[0],
        )
        np.testing.assert_allclose(
            state.learner.inner.params, there.learner.inner.params, rtol=1e-6, atol=1e-7
        )
        assert float(falling.hyperparameters(state)["entropy"]) == 0.5  # as before annealing
    assert int(state.updates) == (UPDATES + 1) * (4 if algorithm == "ppo" else 1)


@pytest.mark.parametrize("tuning", [{"method": "mg"}, {"method": "bmg", "target_by": "learned"}])
def test_meta_gradients_are_those_of_the_smaller_weight(tuning):
    """On a scale of logarithms the same: half of exp(raw) is exp(raw - log 2)."""
    K, L = 2, 1 if tuning["method"] == "mg" else 2
    found = []
    with jax.enable_x64(True):
        for anneal, entropy, left in ((True, 0.4, jnp.asarray(0.5)), (False, 0.2, ())):
            settings = settings_of(
                "sgd", inner_steps=K, **tuning | ({"target_steps": L} if L > 1 else {})
            )
            settings = replace(settings, agent=replace(settings.agent, anneal_entropy=anneal))
            made = actor_critic.make(*SPACES, settings)
            engine = parts.learner(made, settings)
            start = start_of("sgd", settings.in_use) | {"entropy": jnp.asarray(entropy)}
            state = engine.init(made.init(jax.random.PRNGKey(3)), start)
            batches = [packed(experience(seed, "sgd"))._replace(left=left) for seed in range(K + L)]
            steps = []
            for batch in batches[:K]:
                state, step = engine.inner_step(state, batch)
                steps.append(step)
            gradient, _ = engine.meta_gradient(state, stack(steps), state.inner, stack(batches[K:]))
            found.append(gradient)
    assert abs(found[0]["entropy"]) > 1e-9
    for name, x in found[0].items():
        np.testing.assert_allclose(x, found[1][name], rtol=1e-9, err_msg=name)


def test_it_is_refused_where_there_is_no_entropy_weight():
    with pytest.raises(ConfigError, match=r"anneal-entropy: True .* q_lambda, which has no"):
        cli.parse(["--env", "CartPole", "--preset", "q_lambda", "--anneal-entropy"])
    with pytest.raises(
        ConfigError, match=r"methods.anneal.changes.agent.anneal_entropy: True .* which has no"
    ):
        cli.parse(["study", "--env", "TwoColors", "--algorithm", "q_lambda", "--methods", "anneal"])


def test_a_study_has_annealing_as_a_method():
    for algorithm in ("ppo", "actor_critic"):
        study = cli.parse(["study", "--algorithm", algorithm, "--methods", "none,anneal"]).settings
        kept, falling = (studies.run_settings(study, name) for name in study.methods)
        agent = replace(kept.agent, anneal_learning_rate=True, anneal_entropy=True)
        assert falling == replace(kept, agent=agent)
        assert falling.tuning.method == "none"
        assert studies.starts(study, "anneal") == studies.starts(study, "none")
