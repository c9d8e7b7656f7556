"""The engine's meta-gradients against two independent computations of the same thing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from selftuning.metagrad import core, matching, targets, trac, update_rules
from selftuning.metagrad import hyperparams as hp
from tests.marks import mostly_slow
from tests.quick_jit import quick_jit

SPACE = {
    "learning_rate": hp.Hyperparameter(hp.POSITIVE),
    "momentum": hp.Hyperparameter(hp.UNIT_INTERVAL),
    "hint_weight": hp.Hyperparameter(),
    "l2_init": hp.Hyperparameter(hp.POSITIVE),
    "decay": hp.Hyperparameter(hp.POSITIVE),
    "tilt": hp.Hyperparameter(),
}
START = {"learning_rate": 0.05, "momentum": 0.8, "hint_weight": 0.5, "l2_init": 0.2}
START |= {"decay": 0.1, "tilt": 0.3}

# A small network fitted to data: nothing of reinforcement learning in it.


def predict(params, x):
    return jnp.tanh(x @ params["w"] + params["b"]) @ params["v"]


def inner_loss(params, frozen, hyperparams, batch):
    """A semi-gradient loss: the labels are partly the model's own, as in bootstrapping."""
    x, y = batch
    y = y + 0.5 * predict(frozen, x[::-1])
    fit = jnp.mean(jnp.square(predict(params, x) - y - hyperparams["tilt"] * x[:, 0]))
    return fit + hyperparams["decay"] * matching.squared(
        jax.tree.map(jnp.zeros_like, params), params
    )


def outer_loss(params, frozen, batch):
    x, y = batch
    y = y + 0.5 * predict(frozen, x[::-1])
    return jnp.mean(jnp.square(predict(params, x) - y))


PROBLEM = targets.Problem(
    inner_loss,
    outer_loss,
    lambda target, params, hyperparams, batch: jnp.mean(
        jnp.square(jax.lax.stop_gradient(predict(target, batch[0])) - predict(params, batch[0]))
    ),
)
RULES = {
    "sgd": update_rules.sgd(),
    "momentum": update_rules.momentum(),
    "adagrad": update_rules.adagrad(),
    "rms": update_rules.rms(),
    "adam": update_rules.adam(),
    "accelerated": update_rules.accelerated(),
    "clipped": update_rules.clip_by_global_norm(update_rules.rms(), 0.1),
    "l2_init": update_rules.l2_init(update_rules.rms()),
    "trac": trac.trac(update_rules.adam(), first=0.2),
}
READ_BY = {
    "momentum": {"learning_rate", "momentum"},
    "adam": {"learning_rate", "momentum"},
    "accelerated": {"learning_rate", "momentum", "hint_weight"},
    "l2_init": {"learning_rate", "l2_init"},
    "trac": {"learning_rate", "momentum"},
}
OBJECTIVES = {"mg": targets.meta_gradient(), "bmg": targets.bootstrapped(3)}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make(rule="rms", objective="mg"):
    return core.meta_learner(
        PROBLEM, RULES[rule], hp.scalars(SPACE), OBJECTIVES[objective], optax.sgd(1e-2)
    )


def params_and_data(count, seed=0):
    rng = np.random.default_rng(seed)
    params = {"w": rng.normal(size=(2, 3)), "b": rng.normal(size=3), "v": rng.normal(size=3)}
    data = rng.normal(size=(count, 5, 2)), rng.normal(size=(count, 5))
    return jax.tree.map(jnp.asarray, (params, data))


def run(learner, params, data, count):
    """`count` live steps: start, end and stacked records."""
    state, steps = learner.init(params, START), []
    inner_step = quick_jit(learner.inner_step)
    # One step first, so that the rule's state at the start is not all zeros.
    state, _ = inner_step(state, jax.tree.map(lambda x: x[-1], data))
    start = state
    for k in range(count):
        state, step = inner_step(state, jax.tree.map(lambda x, k=k: x[k], data))
        steps.append(step)
    return start, state, jax.tree.map(lambda *x: jnp.stack(x), *steps)


def replay(rule, start, raw, data, count):
    """The same K steps, written again from their definition."""
    used = hp.constrain(SPACE, hp.Values(raw, {}))
    params, state = start.inner
    for k in range(count):
        gradient = jax.grad(inner_loss)(
            params, params, used, jax.tree.map(lambda x, k=k: x[k], data)
        )
        params, state = rule.update(gradient, state, params, used)
    return update_rules.InnerState(params, state)


def reference_objective(name, rule, start, data, count):
    """raw -> the objective, with the target of bmg held where it is at start's values."""
    at = start.values.raw
    validation = jax.tree.map(lambda x: x[count : count + 2], data)
    student = replay(rule, start, at, data, count)
    frozen = student.params
    used = hp.constrain(SPACE, start.values)
    target, state = student
    for step in range(3):
        batch = jax.tree.map(lambda x, s=step: x[s % 2], validation)
        target, state = rule.update(
            jax.grad(outer_loss)(target, target, batch), state, target, used
        )

    def objective(raw):
        params = replay(rule, start, raw, data, count).params
        batches = [jax.tree.map(lambda x, i=i: x[i], validation) for i in range(2)]
        if name == "mg":
            return sum(outer_loss(params, frozen, batch) for batch in batches) / 2
        return sum(PROBLEM.match(target, params, None, batch) for batch in batches) / 2

    return objective, validation


CASES = {
    f"{rule}-{objective}-{count}": (rule, objective, count)
    for rule in RULES
    for objective in OBJECTIVES
    for count in (1, 3)
}
# Each rule with one of the objectives, and one of them with both and with a single update.
SHORT = {"sgd-mg-3", "momentum-bmg-3", "adagrad-mg-3", "rms-bmg-3", "adam-mg-3", "adam-bmg-3"}
SHORT |= {"adam-bmg-1", "accelerated-bmg-3", "clipped-mg-3", "l2_init-bmg-3"}


@pytest.mark.parametrize(("rule", "objective", "count"), mostly_slow(CASES, SHORT))
def test_meta_gradient_equals_finite_differences_and_reverse_over_reverse(rule, objective, count):
    learner = make(rule, objective)
    params, data = params_and_data(count + 3)
    start, end, steps = run(learner, params, data, count)
    reference, validation = reference_objective(objective, RULES[rule], start, data, count)
    got, _ = quick_jit(learner.meta_gradient)(end, steps, end.inner, validation)

    raw = start.values.raw
    value, reverse = quick_jit(reference), quick_jit(jax.grad(reference))(raw)
    for name in READ_BY.get(rule, {"learning_rate"}) | {"decay", "tilt"}:
        step = 1e-5
        up, down = (value({**raw, name: raw[name] + s}) for s in (step, -step))
        difference = (up - down) / (2 * step)
        assert abs(difference) > 1e-7, "a vanishing derivative would test nothing"
        np.testing.assert_allclose(got[name], difference, rtol=1e-4)
        np.testing.assert_allclose(got[name], reverse[name], rtol=1e-9)


def test_replay_of_the_records_is_the_live_path():
    learner = make("rms")
    params, data = params_and_data(5)
    start, end, steps = run(learner, params, data, 4)
    again = replay(RULES["rms"], start, start.values.raw, data, 4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), again, end.inner)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b), steps.before, start.inner)


def test_values_that_changed_on_the_way_are_differentiated_where_they_were():
    """A common offset to the raw values of all steps, each step at its own value."""
    learner = make("sgd")
    params, data = params_and_data(4)
    state = start = learner.init(params, START)
    raws, steps = [], []
    for k in range(2):
        moved = {**state.values.raw, "decay": state.values.raw["decay"] + 0.5 * k}
        state = state._replace(values=state.values._replace(raw=moved))
        raws.append(moved)
        state, step = learner.inner_step(state, jax.tree.map(lambda x, k=k: x[k], data))
        steps.append(step)
    steps = jax.tree.map(lambda *x: jnp.stack(x), *steps)
    validation = jax.tree.map(lambda x: x[2:], data)
    got, _ = learner.meta_gradient(state, steps, state.inner, validation)

    def objective(offset, frozen=state.inner.params):
        inner = start.inner
        for k in range(2):
            raw = {**raws[k], "decay": raws[k]["decay"] + offset}
            part = jax.tree.map(lambda x, k=k: x[k : k + 1], data)
            inner = replay(RULES["sgd"], start._replace(inner=inner), raw, part, 1)
        batches = [jax.tree.map(lambda x, i=i: x[i], validation) for i in range(2)]
        return sum(outer_loss(inner.params, frozen, batch) for batch in batches) / 2

    difference = (objective(1e-5) - objective(-1e-5)) / 2e-5
    np.testing.assert_allclose(got["decay"], difference, rtol=1e-4)


def test_bootstrapping_towards_a_gradient_step_is_the_plain_meta_gradient():
    """Identity I6: with target x - grad f(x) and squared distance, BMG is the meta-gradient."""
    step_one = update_rules.UpdateRule(
        lambda params: (),
        lambda g, s, p, h: (jax.tree.map(lambda x, d: x - d, p, g), s),
    )
    problem = PROBLEM._replace(match=lambda z, x, hyperparams, batch: matching.squared(z, x))

    def shrink(params, frozen, hyperparams, batch):
        return hyperparams["learning_rate"] * inner_loss(params, frozen, hyperparams, batch)

    problem = problem._replace(inner_loss=shrink)
    params, data = params_and_data(3)
    gradients = []
    for objective in (targets.meta_gradient(), targets.bootstrapped(1)):
        learner = core.meta_learner(problem, step_one, hp.scalars(SPACE), objective, optax.sgd(1.0))
        state = learner.init(params, START)
        state, step = learner.inner_step(state, jax.tree.map(lambda x: x[0], data))
        steps = jax.tree.map(lambda x: x[None], step)
        validation = jax.tree.map(lambda x: x[1:2], data)
        gradient, (_, info) = learner.meta_gradient(state, steps, state.inner, validation)
        gradients.append(gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), *gradients)
    # Identity I8: such a target asks for the gradient and no more.
    np.testing.assert_allclose(info["implied_optimism"], 0.0, atol=1e-12)
    np.testing.assert_allclose(info["target_alignment"], 1.0, rtol=1e-12)


@pytest.mark.parametrize("objective", list(OBJECTIVES))
@pytest.mark.parametrize("rule", list(RULES))
def test_zero_gradients_give_no_nan(rule, objective):
    zero = targets.Problem(
        lambda params, *rest: 0.0 * inner_loss(params, *rest),
        lambda params, *rest: 0.0 * outer_loss(params, *rest),
        PROBLEM.match,
    )
    learner = core.meta_learner(
        zero, RULES[rule], hp.scalars(SPACE), OBJECTIVES[objective], optax.adam(1e-2)
    )
    params, data = params_and_data(3)
    state = learner.init(params, START)
    state, step = learner.inner_step(state, jax.tree.map(lambda x: x[0], data))
    steps = jax.tree.map(lambda x: x[None], step)
    state, info = learner.meta_step(state, steps, state.inner, jax.tree.map(lambda x: x[1:], data))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((state, info)))


def test_meta_step_descends_the_outer_loss():
    """Too strong a decay of the weights is unlearned: the sign of the meta-gradient is right."""
    learner = core.meta_learner(
        PROBLEM, RULES["sgd"], hp.scalars(SPACE), OBJECTIVES["mg"], optax.adam(3e-2)
    )
    params, _ = params_and_data(1)
    x = jnp.asarray(np.random.default_rng(3).normal(size=(64, 2)))
    batch = (x, predict(params, x) - 0.5 * predict(params, x[::-1]))

    @jax.jit
    def both(state):
        state, step = learner.inner_step(state, batch)
        one = jax.tree.map(lambda v: v[None], (step, batch))
        return learner.meta_step(state, one[0], state.inner, one[1])[0]

    state = learner.init(params, {**START, "decay": 1.0, "tilt": 0.0})
    for _ in range(600):
        state = both(state)
    assert learner.hyperparams(state)["decay"] < 0.1


def test_only_tuned_hyperparameters_move():
    space = {**SPACE, "decay": SPACE["decay"]._replace(tuned=False)}
    learner = core.meta_learner(
        PROBLEM, RULES["rms"], hp.scalars(space), OBJECTIVES["bmg"], optax.adam(1e-1)
    )
    params, data = params_and_data(3)
    state = learner.init(params, START)
    state, step = learner.inner_step(state, jax.tree.map(lambda x: x[0], data))
    steps = jax.tree.map(lambda x: x[None], step)
    state, _ = learner.meta_step(state, steps, state.inner, jax.tree.map(lambda x: x[1:], data))
    values = learner.hyperparams(state)
    assert values["decay"] == START["decay"]
    assert values["tilt"] != START["tilt"]


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_tuned_is_no_error(count):
    space = {name: spec._replace(tuned=False) for name, spec in SPACE.items()}
    learner = core.meta_learner(
        PROBLEM, RULES["rms"], hp.scalars(space), OBJECTIVES["bmg"], optax.adam(0.1)
    )
    params, data = params_and_data(count + 2)
    start, state, steps = run(learner, params, data, count)
    validation = jax.tree.map(lambda x: x[count:], data)
    state, _ = learner.meta_step(state, steps, state.inner, validation)
    assert learner.hyperparams(state) == learner.hyperparams(start)


def test_bootstrapped_rejects_no_steps():
    with pytest.raises(ValueError, match="at least 1"):
        targets.bootstrapped(0)
