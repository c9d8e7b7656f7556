"""Hyperparameters that a network makes of the context they are used in."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selftuning.metagrad import core, matching, meta_network, targets, trust_region, update_rules
from selftuning.metagrad import hyperparams as hp
from selftuning.metagrad.meta_network import NETWORK
from tests.quick_jit import quick_jit

SPACE = {
    "tilt": hp.Hyperparameter(hp.between(-2.0, 2.0)),
    "decay": hp.Hyperparameter(hp.between(0.0, 1.0)),
    "rates": hp.Hyperparameter(hp.between(0.0, 0.5)),
    "learning_rate": hp.Hyperparameter(hp.POSITIVE, tuned=False),
}
START = {"tilt": 0.3, "decay": 0.2, "rates": np.array([0.1, 0.3]), "learning_rate": 0.5}
SIZE = 4


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def inner_loss(params, frozen, hyperparams, batch):
    data, _ = batch
    fit = jnp.sum(jnp.cosh(params - hyperparams["tilt"] * data))
    shrink = jnp.sum(hyperparams["rates"]) * jnp.sum(jnp.abs(params) ** 3)
    return fit + hyperparams["decay"] * jnp.sum(params**2) + shrink


PROBLEM = targets.Problem(
    inner_loss,
    lambda params, frozen, batch: jnp.sum((params - jnp.cos(batch[0])) ** 2),
    lambda target, params, hyperparams, batch: matching.squared(target, params),
)


def contextual(hidden=(6,)):
    return meta_network.contextual(SPACE, lambda batch: batch[1], SIZE, hidden)


def learner(source, optimizer, objective=None):
    made = core.meta_learner(
        PROBLEM,
        update_rules.sgd(),
        source,
        objective or targets.bootstrapped(2),
        optimizer,
    )

    @quick_jit
    def cycle(state, batches):
        """Two updates, and a meta-step of them."""
        steps = []
        for k in range(2):
            state, step = made.inner_step(state, jax.tree.map(lambda x, k=k: x[k], batches))
            steps.append(step)
        steps = jax.tree.map(lambda *x: jnp.stack(x), *steps)
        validation = jax.tree.map(lambda x: x[2:], batches)
        return made.meta_step(state, steps, state.inner, validation)

    return made, cycle


def path(source, context, optimizer, number=5):
    """Values after each meta-step, at the context, and the diagnostics of each."""
    made, cycle = learner(source, optimizer)
    state = made.init(jnp.array([0.5, -1.0]), START, jax.random.PRNGKey(3))
    rng, values, found = np.random.default_rng(0), [], []
    for _ in range(number):
        batches = jnp.asarray(rng.normal(size=(4, 2))), jnp.broadcast_to(context, (4, SIZE))
        state, info = cycle(state, batches)
        values.append(made.hyperparams(state, jax.tree.map(lambda x: x[0], batches)))
        found.append(info)
    return values, found


def same(paths, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), *paths)


def test_a_context_of_zeros_gives_what_scalars_give():
    """The same path through several meta-steps: a network that sees nothing learns nothing."""
    zeros = jnp.zeros(SIZE)
    paths = [path(s, zeros, optax.adam(0.1))[0] for s in (hp.scalars(SPACE), contextual())]
    same(paths, rtol=1e-12)
    assert abs(paths[0][-1]["tilt"] - 0.3) > 0.05


def test_under_a_constant_context_the_offset_has_the_gradient_of_a_scalar():
    context = jnp.array([0.5, -1.0, 2.0, 0.1])

    def offsets_alone(optimizer):
        def labels(raw):
            return {n: jax.tree.map(lambda _, n=n: n, x) for n, x in raw.items()}

        transforms = dict.fromkeys(SPACE, optimizer) | {NETWORK: optax.set_to_zero()}
        return optax.multi_transform(transforms, labels)

    of_scalars, scalar_info = path(hp.scalars(SPACE), context, optax.sgd(0.05))
    of_network, network_info = path(contextual(), context, offsets_alone(optax.sgd(0.05)))
    same((of_scalars, of_network), rtol=1e-12)
    for one, other in zip(scalar_info, network_info, strict=True):
        for name in ("tilt", "decay", "rates"):
            gradient = one[f"meta_gradient/{name}"]
            assert np.all(np.abs(gradient) > 1e-6)
            np.testing.assert_allclose(other[f"meta_gradient/{name}"], gradient, rtol=1e-12)
    # A network that learns too takes longer steps the same way.
    whole, _ = path(contextual(), context, optax.sgd(0.05), number=1)
    moved, by_scalars = (x[0]["tilt"] - 0.3 for x in (whole, of_scalars))
    assert moved / by_scalars > 1.01


def test_all_start_where_they_are_told_to_whatever_the_context():
    source = contextual((8, 8))
    values = source.init(START, jax.random.PRNGKey(0))
    for seed in range(3):
        context = jnp.asarray(np.random.default_rng(seed).normal(size=SIZE) * 10)
        used = source.apply(values, (None, context))
        assert set(used) == set(START)
        for name, value in START.items():
            np.testing.assert_allclose(used[name], value, rtol=1e-12)
            assert used[name].shape == np.shape(value)


def filled(source, seed=0):
    """Values whose network is random in all layers."""
    values = source.init(START, jax.random.PRNGKey(0))
    rng = np.random.default_rng(seed)
    weights = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), values.raw[NETWORK])
    return values._replace(raw=values.raw | {NETWORK: weights})


def test_outputs_belong_to_names_whatever_the_order_of_a_dictionary():
    """JAX sorts the keys of dictionaries; what is computed must not depend on when it did."""
    source, batch = contextual(), (None, jnp.ones(SIZE))
    values = filled(source)
    backwards = values._replace(raw=dict(reversed(values.raw.items())))
    used = source.apply(values, batch)
    for again in (source.apply(backwards, batch), jax.jit(source.apply)(values, batch)):
        same((used, again), rtol=1e-12)


def test_values_stay_inside_their_bounds_however_large_the_outputs():
    source = contextual()
    values = filled(source)
    for size in (1.0, 100.0):
        used = source.apply(values, (None, size * jnp.ones(SIZE)))
        assert -2 <= used["tilt"] <= 2
        assert 0 <= used["decay"] <= 1
        assert np.all((used["rates"] >= 0) & (used["rates"] <= 0.5))
    assert used["tilt"] != START["tilt"]
    assert used["learning_rate"] == 0.5


@pytest.mark.parametrize("scale", [0.3, 1e-3, 0.0])
def test_a_learning_rate_cut_below_its_range_stays_just_inside(scale):
    """The trust region lowers the offset, which no projection would bring back."""
    space = {"learning_rate": hp.Hyperparameter(hp.between(1e-3, 1e-1))}
    values = hp.init(space, {"learning_rate": 2e-3})
    region = trust_region.TrustRegion(lambda before, after, batch: 0.0, 0.05, 1.0)
    lowered, _ = trust_region.settle(region, space, values, (), jnp.float64(scale))
    rate = hp.constrain(space, lowered)["learning_rate"]
    assert 1e-3 < rate < 1.001e-3


def test_no_gradient_flows_through_the_context():
    source = contextual()
    values = filled(source)
    slope = jax.grad(lambda context: source.apply(values, (None, context))["tilt"])
    np.testing.assert_array_equal(slope(jnp.ones(SIZE)), 0.0)


def test_a_network_needs_a_key_and_nothing_tuned_needs_no_network():
    with pytest.raises(ValueError, match="key: None"):
        contextual().init(START, None)
    fixed = {name: spec._replace(tuned=False) for name, spec in SPACE.items()}
    source = meta_network.contextual(fixed, lambda batch: batch[1], SIZE)
    values = source.init(START, None)
    assert not values.raw
    assert source.apply(values, None)["tilt"] == 0.3


def test_two_contexts_are_learned_two_values_and_one_scalar_cannot_serve_both():
    """Each batch wants to be at 1 or at -1; the context says which."""
    space = {"goal": hp.Hyperparameter(hp.between(-2.0, 2.0))}
    problem = targets.Problem(
        lambda params, frozen, hyperparams, batch: 0.5 * (params - hyperparams["goal"]) ** 2,
        lambda params, frozen, batch: 0.5 * (params - batch[0]) ** 2,
        lambda target, params, hyperparams, batch: matching.squared(target, params),
    )
    rule = update_rules.UpdateRule(lambda params: (), lambda g, s, p, h: (p - g, s))
    contexts = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    goals = jnp.array([1.0, -1.0])

    def learned(source):
        made = core.meta_learner(problem, rule, source, targets.meta_gradient(), optax.adam(0.03))
        state = made.init(jnp.zeros(()), {"goal": 0.2}, jax.random.PRNGKey(0))

        def cycle(state, number):
            batch = goals[number % 2], contexts[number % 2]
            state, step = made.inner_step(state, batch)
            one = jax.tree.map(lambda x: x[None], (step, batch))
            return made.meta_step(state, one[0], state.inner, one[1])[0], None

        state, _ = quick_jit(lambda s: jax.lax.scan(cycle, s, jnp.arange(1000)))(state)
        return [made.hyperparams(state, (goals[i], contexts[i]))["goal"] for i in range(2)]

    seen = meta_network.contextual(space, lambda batch: batch[1], 2, (8,))
    np.testing.assert_allclose(jnp.stack(learned(seen)), goals, atol=0.05)
    one, other = learned(hp.scalars(space))
    assert one == other
    assert abs(one) < 0.3
