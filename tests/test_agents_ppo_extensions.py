"""What users add to PPO: it sees in rows what the actor-critic sees whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import selftuning as st
from selftuning.agents import actor_critic, ppo, self_tuning
from selftuning.configs.extensions import extended
from tests import by_hand
from tests.quick_jit import quick_jit
from tests.test_agents_memory import remembered
from tests.test_agents_ppo import (
    KEY,
    experience,
    nearly_on_policy,
    random_params,
    settings_of,
)
from tests.test_agents_self_tuning import ACTIONS, OBSERVATIONS

MODULE = "tests.own_terms"  # a loss term, a reward term, and a value that it reads


@st.loss_term(start=0.3, low=1e-3, high=1.0, outer=0.1)
def everything(seen):
    """Reads all that a term is given, so that a row of anything in a wrong place is found."""
    made, frozen = seen.trajectory, seen.frozen
    return (
        seen.target * seen.value
        + seen.advantage * seen.policy.log_prob(made.action)
        + made.reward * seen.next_value
        + made.discount * frozen.policy.kl_divergence(seen.policy)
        + frozen.next_value * seen.next_policy.entropy()
        + frozen.value * frozen.next_policy.kl_divergence(seen.next_policy)
    )


@st.outer_objective
def judge(seen):
    return jnp.mean(everything.term(seen))


@st.outer_objective
def many(seen):
    return seen.value


def both(actions, *parts, **agent):
    """PPO and the actor-critic with the same parts, settings and two sets of parameters."""
    settings = extended(settings_of(agent=agent), parts)
    made = [module.make(OBSERVATIONS, actions, settings) for module in (ppo, actor_critic)]
    frozen = random_params(settings, actions)
    moved = jnp.asarray(np.random.default_rng(1).normal(size=frozen.shape), float)
    return settings, made, frozen, frozen + 0.1 * moved


def starts(settings):
    return {n: jnp.asarray(h.start, float) for n, h in settings.in_use.items()}


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((everything,), id="loss", marks=pytest.mark.slow),
        pytest.param((MODULE,), id="loss and reward"),
    ],
)
def test_one_update_of_all_rows_is_that_of_the_actor_critic_with_the_same_terms(parts):
    """On policy: the ratio is 1, where the surrogate has the slope of the policy gradient."""
    actions = ACTIONS["continuous"]
    settings, made, flat, _ = both(actions, *parts, epochs=1, minibatches=1)
    task, start = by_hand.task_of(settings, actions), starts(settings)
    first = nearly_on_policy(0, task, made[0].packing.unpack(flat), actions, spread=0.0)
    whole = made[0].reuse.prepare(flat, experience(first))
    batches = made[0].reuse.take(whole, made[0].reuse.order(KEY)[0]), experience(first)
    clipped, plain = (
        quick_jit(jax.grad(one.problem.inner_loss))(flat, flat, start, batch)
        for one, batch in zip(made, batches, strict=True)
    )
    # The rounded corners of the clip take one part in ten thousand of that slope.
    np.testing.assert_allclose(clipped, plain, atol=2e-4 * np.abs(plain).max())
    without = start | dict.fromkeys(settings.in_use.keys() - settings_of().in_use.keys(), 0.0)
    other = jax.grad(made[1].problem.inner_loss)(flat, flat, without, batches[1])
    assert np.abs(plain - other).max() > 1e-2, "what is added would not be missed"


@pytest.mark.parametrize("core", ["none", "gru"])
def test_terms_of_the_minibatches_of_an_epoch_average_to_those_of_the_rollout(core):
    """All at the same parameters, which are not those that the rollout started from."""
    actions = ACTIONS["discrete"]
    settings, (clipped, plain), frozen, params = both(actions, everything, MODULE, core=core)
    start, batch = starts(settings), remembered(0)
    if core == "none":
        batch = batch._replace(trajectory=batch.trajectory._replace(memory=()))

    def slopes(algorithm, batch):
        """In each hyperparameter; in a weight that is the mean of its term."""
        return jax.grad(algorithm.problem.inner_loss, 2)(params, frozen, start, batch)

    @quick_jit
    def all_of_them(batch):
        whole, rows = clipped.reuse.prepare(frozen, batch), clipped.reuse.order(KEY)[:3]
        each = jax.vmap(lambda rows: slopes(clipped, clipped.reuse.take(whole, rows)))(rows)
        return each, slopes(clipped, whole), slopes(plain, batch)

    each, whole, of_actor_critic = all_of_them(batch)
    for name in start.keys() - {"learning_rate"}:
        np.testing.assert_allclose(
            np.mean(each[name]), whole[name], rtol=1e-4, atol=1e-6, err_msg=name
        )
    for name in ("everything", "smoothness"):
        assert np.ptp(each[name]) > 1e-3, "minibatches differ"
        np.testing.assert_allclose(whole[name], of_actor_critic[name], rtol=1e-4, err_msg=name)
    for name in ("surprise", "temperature"):
        assert abs(whole[name]) > 1e-4, f"{name} is in the targets"


def test_an_own_objective_judges_it_as_it_judges_the_actor_critic():
    actions = ACTIONS["discrete"]
    settings, made, frozen, params = both(actions, judge, MODULE)
    batch = remembered(1)
    batch = batch._replace(trajectory=batch.trajectory._replace(memory=()))
    whole = made[0].reuse.prepare(frozen, batch)
    clipped, plain = (
        quick_jit(jax.value_and_grad(one.problem.outer_loss))(params, frozen, seen)
        for one, seen in zip(made, (whole, batch), strict=True)
    )
    np.testing.assert_allclose(clipped[0], plain[0], rtol=1e-5)
    np.testing.assert_allclose(clipped[1], plain[1], rtol=1e-4, atol=1e-6)
    built_in = ppo.make(OBSERVATIONS, actions, extended(settings_of(), (MODULE,)))
    other = built_in.problem.outer_loss(params, frozen, built_in.reuse.prepare(frozen, batch))
    assert abs(clipped[0] - other) > 1e-3
    # What students and targets are compared by is that of the rows alone.
    start = starts(settings)
    for one, seen in ((made[0], whole), (built_in, built_in.reuse.prepare(frozen, batch))):
        for found, expected in (
            (
                one.problem.match(frozen, params, start, seen),
                made[1].problem.match(frozen, params, start, batch),
            ),
            (one.change(frozen, params, seen), made[1].change(frozen, params, batch)),
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_an_objective_that_is_no_scalar_is_refused_with_its_shape():
    with pytest.raises(st.ConfigError, match=r"many: shape \(3, 2\) .* must be a scalar"):
        self_tuning.make(OBSERVATIONS, ACTIONS["discrete"], extended(settings_of(), (many,)))
