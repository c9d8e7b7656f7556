"""The trust region: what it does to an update, to the learning rate and to meta-gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftuning.metagrad import core, matching, targets, trust_region, update_rules
from selftuning.metagrad import hyperparams as hp
from selftuning.metagrad.trust_region import TrustRegion

LIMIT = 0.01


def half_square(before, after, batch):
    return matching.squared(before, after)


def region(power=0.25, limit=LIMIT):
    return TrustRegion(half_square, limit, power)


SPACE = {
    "learning_rate": hp.Hyperparameter(hp.POSITIVE, 1e-3, 1e3),
    "tilt": hp.Hyperparameter(),
}
START = {"learning_rate": 0.5, "tilt": 0.3}


def inner_loss(params, frozen, hyperparams, batch):
    return jnp.sum(jnp.cosh(params["x"] - hyperparams["tilt"] * batch)) + params["y"] ** 2


PROBLEM = targets.Problem(
    inner_loss,
    lambda params, frozen, batch: jnp.sum(jnp.square(params["x"] - batch)) + params["y"] ** 4,
    lambda target, params, hyperparams, batch: matching.squared(target, params),
)
PARAMS = {"x": jnp.array([1.0, -2.0]), "y": jnp.array(0.7)}
BATCHES = jnp.array([[0.5, 0.1], [0.2, -0.3], [-0.4, 0.8], [0.3, 0.3]])


def make(region, rule=None, objective=None):
    return core.meta_learner(
        PROBLEM,
        rule or update_rules.sgd(),
        hp.scalars(SPACE),
        objective or targets.meta_gradient(),
        optax.sgd(0.1),
        region,
    )


@given(st.floats(1e-4, 1e4))
def test_an_update_is_shortened_to_the_limit_and_never_lengthened(rate):
    advance = trust_region.advance(update_rules.sgd(), region())
    before = update_rules.InnerState(PARAMS, ())
    after, scale = advance(PARAMS, before, {"learning_rate": rate}, None)
    whole = rate**2 * float(matching.squared(jax.tree.map(jnp.zeros_like, PARAMS), PARAMS))
    change = float(half_square(before.params, after.params, None))
    np.testing.assert_allclose(change, min(whole, LIMIT), rtol=1e-3)
    assert 0 < scale <= 1
    assert (scale == 1) == (whole <= LIMIT * (1 + 1e-6)) or abs(whole / LIMIT - 1) < 1e-5


def test_without_a_region_or_inside_it_nothing_changes_to_the_last_bit():
    states = []
    for where in (None, region(limit=1e9)):
        learner = make(where)
        state = learner.init(PARAMS, START)
        for batch in BATCHES:
            state, step = learner.inner_step(state, batch)
            assert step.scale == 1
        states.append(state)
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.parametrize("power", [0.0, 0.25, 1.0])
def test_a_cut_is_passed_on_to_a_tuned_learning_rate(power):
    learner = make(region(power))
    state = learner.init(PARAMS, START)
    state, step = learner.inner_step(state, BATCHES[0])
    assert step.scale < 0.5
    want = 0.5 * step.scale**power
    np.testing.assert_allclose(learner.hyperparams(state)["learning_rate"], want, rtol=1e-6)
    np.testing.assert_allclose(jnp.exp(step.raw["learning_rate"]), 0.5, rtol=1e-6)


def test_the_cut_stays_within_bounds_and_leaves_a_fixed_learning_rate_alone():
    space = {**SPACE, "learning_rate": hp.Hyperparameter(hp.POSITIVE, 0.4, 1.0)}
    values = hp.init(space, START)
    lowered, _ = trust_region.settle(region(1.0), space, values, (), jnp.float32(1e-3))
    np.testing.assert_allclose(hp.constrain(space, lowered)["learning_rate"], 0.4, rtol=1e-6)
    assert lowered.raw["tilt"] == values.raw["tilt"]
    fixed = {**space, "learning_rate": space["learning_rate"]._replace(tuned=False)}
    values = hp.init(fixed, START)
    assert trust_region.settle(region(1.0), fixed, values, (), jnp.float32(1e-3))[0] is values


@pytest.mark.parametrize("bootstrapped", [False, True])
@pytest.mark.parametrize("rule", ["sgd", "rms"])
@pytest.mark.parametrize("count", [1, 3])
def test_meta_gradients_hold_the_cut_constant(rule, count, bootstrapped):
    """Against finite differences of the same steps, each shortened as it was."""
    with jax.enable_x64(True):
        rule = {"sgd": update_rules.sgd, "rms": update_rules.rms}[rule]()
        objective = targets.bootstrapped(2) if bootstrapped else targets.meta_gradient()
        learner = make(region(power=0.0), rule, objective)
        params, batches = jax.tree.map(lambda x: x.astype(float), (PARAMS, BATCHES))
        # One step first: the very first of RMSProp goes by the signs of gradients alone.
        start, _ = learner.inner_step(learner.init(params, START), batches[3])
        state, steps = start, []
        for batch in batches[:count]:
            state, step = learner.inner_step(state, batch)
            steps.append(step)
        assert any(step.scale < 1 for step in steps)
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *steps)
        validation = batches[3:]
        got, _ = learner.meta_gradient(state, stacked, state.inner, validation)

        target, advance = state.inner, trust_region.advance(rule, region())
        for _ in range(2):
            gradient = jax.grad(PROBLEM.outer_loss)(target.params, target.params, validation[0])
            target, _ = advance(gradient, target, START, validation[0])

        def objective_at(raw):
            used, inner = hp.constrain(SPACE, hp.Values(raw, {})), start.inner
            for batch, step in zip(batches, steps, strict=False):
                gradient = jax.grad(inner_loss)(inner.params, inner.params, used, batch)
                new = rule.update(gradient, inner.rule, inner.params, used)
                inner = trust_region.shorten(inner, update_rules.InnerState(*new), step.scale)
            if bootstrapped:
                return PROBLEM.match(target.params, inner.params, None, validation[0])
            return PROBLEM.outer_loss(inner.params, inner.params, validation[0])

        for name, value in start.values.raw.items():
            up, down = (objective_at({**start.values.raw, name: value + h}) for h in (1e-5, -1e-5))
            assert abs(up - down) > 1e-9, "a vanishing derivative would test nothing"
            np.testing.assert_allclose(got[name], (up - down) / 2e-5, rtol=1e-5)


def test_an_infinite_change_is_refused_and_nan_is_not_hidden():
    for change, moved in ((jnp.inf, 0.0), (jnp.nan, 1.0)):
        where = TrustRegion(lambda before, after, batch, c=change: jnp.float32(c), 0.1)
        advance = trust_region.advance(update_rules.sgd(), where)
        before = update_rules.InnerState(jnp.ones(2), ())
        after, _ = advance(jnp.ones(2), before, {"learning_rate": 1.0}, None)
        np.testing.assert_array_equal(after.params, 1.0 - moved)


def test_a_learning_rate_that_would_diverge_is_brought_down():
    """On f(x) = x^2 steps above 1 diverge; from 1000 the tuned one ends below that."""
    problem = PROBLEM._replace(
        inner_loss=lambda x, frozen, hyperparams, batch: jnp.sum(x**2),
        outer_loss=lambda x, frozen, batch: jnp.sum(x**2),
    )
    space = {"learning_rate": SPACE["learning_rate"]}
    ends = {}
    for name, where in (("free", None), ("bounded", region(limit=0.5))):
        learner = core.meta_learner(
            problem,
            update_rules.sgd(),
            hp.scalars(space),
            targets.meta_gradient(),
            optax.sgd(0.0),
            where,
        )
        state = learner.init(jnp.array([1.0, 2.0]), {"learning_rate": 1e3})
        for _ in range(60):
            state, _ = learner.inner_step(state, jnp.zeros(()))
        ends[name] = float(jnp.sum(state.inner.params**2))
    assert not ends["free"] < 1e3
    assert ends["bounded"] < 1.0


def with_noise(curvature, seed=0):
    """Gradients a n of a/2 (x - n)^2 around x = 0, n normal; the change of x in units of a."""
    noise = np.random.default_rng(seed).normal(size=curvature.shape)
    return jnp.asarray(np.stack([curvature, noise], -1), jnp.float32)


def rates(batches, where, start, low=1e-12):
    """After each update, [T]: learning rate, part of the update that was left, debt."""
    problem = PROBLEM._replace(
        inner_loss=lambda x, frozen, hyperparams, batch: jnp.sum(batch[0] * batch[1] * x),
        outer_loss=lambda x, frozen, batch: jnp.sum(x),
    )
    space = {"learning_rate": hp.Hyperparameter(hp.POSITIVE, low, 1e3)}
    learner = core.meta_learner(
        problem,
        update_rules.sgd(),
        hp.scalars(space),
        targets.meta_gradient(),
        optax.sgd(0.0),
        where,
    )

    def step(state, batch):
        state, step = learner.inner_step(state, batch)
        return state, (learner.hyperparams(state)["learning_rate"], step.scale, state.debt)

    state = learner.init(jnp.zeros(()), {"learning_rate": start})
    return jax.tree.map(np.asarray, jax.lax.scan(step, state, batches)[1])


def curved(repay, power=0.25):
    """KL of Gaussians whose precision is the curvature."""
    return TrustRegion(
        lambda old, new, batch: 0.5 * batch[0] * jnp.sum((new - old) ** 2), LIMIT, power, repay
    )


REPAY = 0.02


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_a_rate_that_is_repaid_follows_the_curvature_both_ways(factor):
    """Curvature a allows rates like a^(-3/2): here a thousand times larger ones, or smaller."""
    batches = with_noise(np.where(np.arange(3000) < 1500, 1.0, factor))
    rate, _, _ = rates(batches, curved(REPAY), start=500.0)
    before, end = (np.mean(np.log(rate[last - 600 : last])) for last in (1500, 3000))
    change = -1.5 * np.log(factor)
    np.testing.assert_allclose(end - before, change, atol=0.1)
    # Up by REPAY an update inside, down at once.
    left = np.abs(np.log(rate[1500:]) - before - change)
    assert np.argmax(left < 0.3) < (1.2 * change / REPAY if factor < 1 else 60)
    kept, _, debt = rates(batches, curved(0.0), start=500.0)
    assert debt == ()
    assert np.all(np.diff(kept) <= 0), "without repayment a rate only falls"


@pytest.mark.parametrize("start", [1e3, 0.3])
def test_noise_moves_a_repaid_rate_up_as_much_as_down(start):
    """power E[log(1/c)] = repay P(c = 1), at one rate from wherever it starts."""
    batches = with_noise(np.ones(6000), seed=1)
    rate, scale, debt = rates(batches, curved(REPAY), start)
    cut, inside = 0.25 * np.mean(-np.log(scale[1000:])), REPAY * np.mean(scale[1000:] == 1)
    np.testing.assert_allclose(cut, inside, rtol=0.05)
    first, second = (np.mean(np.log(rate[part])) for part in (slice(1000, 3500), slice(3500, 6000)))
    assert abs(first - second) < 0.05
    np.testing.assert_allclose(debt, np.log(start / rate), atol=1e-2)


def test_a_rate_that_the_region_allows_owes_nothing():
    """It is the start but for the moments after the few cuts, and never above it."""
    rate, scale, debt = rates(with_noise(np.ones(3000)), curved(REPAY), start=0.06)
    assert 0 < np.mean(scale < 1) < 0.05
    assert np.all(rate <= 0.06 * (1 + 1e-5))
    assert np.median(debt) == 0
    assert np.exp(np.mean(np.log(rate / 0.06))) > 0.95


def test_bounds_are_not_owed():
    low = 1e-2
    _, _, debt = rates(with_noise(np.full(50, 100.0)), curved(REPAY, 1.0), start=1.0, low=low)
    assert np.max(debt) <= np.log(1.0 / low) + 1e-5


def test_what_a_bound_holds_back_is_not_repaid():
    """A rate at its upper bound owes what it did, and gets it back as soon as there is room."""
    space = {"learning_rate": hp.Hyperparameter(hp.POSITIVE, 1e-3, 1.0)}
    values, debt = hp.Values({"learning_rate": jnp.zeros(())}, {}), jnp.asarray(0.5)
    for room in (0.0, 0.25):
        values = values._replace(raw={"learning_rate": jnp.asarray(-room)})
        for _ in range(20):
            values, debt = trust_region.settle(curved(REPAY), space, values, debt, jnp.ones(()))
        np.testing.assert_allclose(debt, 0.5 - room, rtol=1e-4)
        np.testing.assert_allclose(values.raw["learning_rate"], 0.0, atol=1e-5)


def test_what_is_repaid_is_added_to_what_meta_gradients_say():
    """Meta-steps leave the debt alone, and a payment comes on top of them."""
    learner = make(region(power=1.0)._replace(repay=0.1))
    state, step = learner.inner_step(learner.init(PARAMS, START), BATCHES[0])
    owed = float(state.debt)
    np.testing.assert_allclose(owed, -np.log(step.scale), rtol=1e-5)
    one = jax.tree.map(lambda x: x[None], step)
    moved, _ = learner.meta_step(state, one, state.inner, BATCHES[1:2])
    assert moved.debt == state.debt
    assert moved.values.raw["learning_rate"] != state.values.raw["learning_rate"]
    calm = make(region(power=1.0, limit=1e9)._replace(repay=0.1))
    after, step = calm.inner_step(moved, BATCHES[1])
    assert step.scale == 1
    gained = after.values.raw["learning_rate"] - moved.values.raw["learning_rate"]
    np.testing.assert_allclose(gained, 0.1, rtol=1e-4)
    np.testing.assert_allclose(after.debt, owed - 0.1, rtol=1e-4)
