"""Every meta-gradient of the agent against finite differences of the same updates by hand.

In float64, on a tiny network and random experience. K updates, target and objective come from
`tests.by_hand`, where nothing is shared with the agent or the engine.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from selftuning.agents import actor_critic, networks, parts
from selftuning.metagrad.meta_network import NETWORK
from tests import by_hand
from tests.marks import mostly_slow
from tests.quick_jit import quick_jit
from tests.small_agents import (
    AGENTS,
    STEP,
    actions_of,
    experience,
    objective_by_hand,
    packed,
    random_params,
    reference,
    settings_of,
    start_of,
    steps_of_engine,
    structured,
)
from tests.test_agents_self_tuning import OBSERVATIONS, stack

BMG = {"method": "bmg"}
CASES = [
    # name, agent, K, tuning
    ("mg", "one head", 1, {"method": "mg"}),
    ("mg", "one head", 2, {"method": "mg"}),
    ("mg with KL", "one head", 1, {"method": "mg", "outer_kl": 3.0}),
    ("mg with KL", "one head", 2, {"method": "mg", "outer_kl": 3.0}),
    ("outer", "one head", 1, BMG),
    ("outer", "one head", 2, BMG | {"target_steps": 3, "matching": "kl"}),
    ("learned", "one head", 1, BMG | {"target_by": "learned", "target_steps": 3}),
    ("learned", "one head", 2, BMG | {"target_by": "learned"}),
    ("mixed", "one head", 1, BMG | {"target_by": "mixed", "target_steps": 3}),
    ("mixed", "one head", 2, BMG | {"target_by": "mixed", "target_steps": 2}),
    ("policy last", "one head", 1, BMG | {"target_last": "policy"}),
    (
        "policy last",
        "one head",
        2,
        BMG | {"target_last": "policy", "target_steps": 2, "target_by": "mixed"},
    ),
    ("own state", "one head", 1, BMG | {"target_state": "own"}),
    ("own state", "one head", 2, BMG | {"target_state": "own", "target_steps": 2}),
    ("values alone", "one head", 2, BMG | {"matching": "none", "target_steps": 2}),
    (
        "parameters alone",
        "one head",
        2,
        BMG | {"matching": "none", "value_weight": 0.0, "parameter_weight": 3.0},
    ),
    ("all matched", "one head", 2, BMG | {"value_weight": 2.0, "parameter_weight": 3.0}),
    ("mg", "on policy", 2, {"method": "mg"}),
    ("outer", "on policy", 2, BMG | {"target_steps": 2}),
    ("mg", "gaussian", 2, {"method": "mg", "outer_kl": 0.5}),
    ("outer", "gaussian", 2, BMG | {"target_steps": 2}),
    ("forward KL", "gaussian", 1, BMG | {"matching": "kl"}),
    ("mg", "squash", 2, {"method": "mg", "outer_kl": 0.5}),
    ("outer", "squash", 2, BMG | {"target_steps": 2}),
    ("mg", "outer critic", 2, {"method": "mg"}),
    ("outer", "outer critic", 2, BMG | {"target_steps": 2}),
    ("mg", "three heads", 1, {"method": "mg"}),
    ("mg", "three heads", 2, {"method": "mg"}),
    ("outer", "three heads", 1, BMG),
    ("mixed", "three heads", 2, BMG | {"target_steps": 2, "target_by": "mixed"}),
    ("mg", "sgd", 2, {"method": "mg"}),
]
# Each objective, target and match, and each agent.
SHORT = {
    "mg-one head-1",
    "mg with KL-one head-2",
    "outer-one head-2",
    "learned-one head-2",
    "mixed-one head-1",
    "own state-one head-2",
    "all matched-one head-2",
    "mg-on policy-2",
    "outer-squash-2",
    "outer-outer critic-2",
    "mg-sgd-2",
}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("agent", "K", "tuning"),
    mostly_slow({"-".join(map(str, case[:3])): case[1:] for case in CASES}, SHORT),
)
def test_meta_gradients_equal_finite_differences(agent, K, tuning):
    settings = settings_of(agent, inner_steps=K, **tuning)
    hand, tuning = reference(agent), settings.tuning
    judges = tuning.target_steps if tuning.method == "bmg" else 1
    batches = [experience(seed, agent) for seed in range(K + judges)]

    engine = parts.learner(actor_critic.make(OBSERVATIONS, actions_of(agent), settings), settings)
    begin, end, steps = steps_of_engine(agent, K)
    own = begin.inner.rule if tuning.target_state == "own" else ()
    validation = stack([packed(batch) for batch in batches[K:]])
    meta_gradient = quick_jit(lambda *seen: engine.meta_gradient(*seen)[0])
    got = meta_gradient(end._replace(objective=own), steps, end.inner, validation)

    P = 2 * len(hand.moved)
    students = jax.tree.map(lambda x: jnp.broadcast_to(x, (P, *jnp.shape(x))), hand.begin)
    raw = {n: by_hand.to_raw(n, x) for n, x in hand.start.items()}
    student = jax.tree.map(lambda x: jnp.asarray(x)[None], hand.begin)
    for batch in batches[:K]:
        students = hand.learned(students, hand.raws, batch)
        student = hand.learned(student, jax.tree.map(lambda x: x[None], raw), batch)
    student = jax.tree.map(lambda x: x[0], student)
    np.testing.assert_allclose(ravel_pytree(student[0])[0], end.inner.params, rtol=1e-9)

    values = objective_by_hand(hand, students[0], hand.begin, student, batches[K:], tuning)
    differences = (values[::2] - values[1::2]) / (2 * STEP)
    for (name, element), difference in zip(hand.moved, differences, strict=True):
        what = f"{name}{list(element) or ''}"
        assert abs(difference) > 1e-7, f"{what}: a vanishing derivative would test nothing"
        np.testing.assert_allclose(got[name][element], difference, rtol=1e-4, err_msg=what)


def test_experience_is_more_and_less_probable_than_the_policy_makes_it():
    for name in AGENTS:
        hand = reference(name)
        made = stack([experience(seed, name) for seed in range(4)])
        dist = by_hand.policy(hand.task, hand.begin[0], made.observation, 0)
        ratio = jnp.exp(by_hand.log_prob(hand.task, dist, made.action) - made.log_prob)
        assert 0.2 < np.mean(np.asarray(ratio) > 1) < 0.8


def gradient_of_engine(name, K, tuning, made):
    """Meta-gradient with `made(seed)` as experience."""
    settings = settings_of(name, inner_steps=K, **tuning)
    engine = parts.learner(actor_critic.make(OBSERVATIONS, actions_of(name), settings), settings)
    inner_step = quick_jit(engine.inner_step)
    flat, _ = ravel_pytree(random_params(name, settings))
    state = engine.init(flat, start_of(name, settings.in_use))
    steps = []
    for seed in range(K):
        state, step = inner_step(state, packed(made(state.inner.params, seed)))
        steps.append(step)
    validation = stack([packed(made(state.inner.params, 10))])
    return quick_jit(lambda *seen: engine.meta_gradient(*seen)[0])(
        state, stack(steps), state.inner, validation
    )


def on_policy(name):
    """(params, seed) -> experience with actions of these very parameters, to the last bit."""
    nets = networks.make(OBSERVATIONS, actions_of(name), settings_of(name).agent)
    unravel = structured(name, settings_of(name))

    @quick_jit
    def log_prob(params, made):
        return nets.policy(unravel(params), made.observation).log_prob(made.action)

    def make(params, seed):
        made = experience(seed, name)
        return made._replace(log_prob=log_prob(params, made))

    return make


@pytest.mark.parametrize("K", [1, 2])
def test_one_head_on_policy_has_nothing_to_clip_hence_no_gradient_of_the_leaks(K):
    got = gradient_of_engine("one head", K, {"method": "mg"}, on_policy("one head"))
    for name, gradient in got.items():
        if name.startswith("alpha"):
            np.testing.assert_allclose(gradient, 0.0, atol=1e-12)
        elif name != "hint_weight" or K == 2:  # a first direction has none before it
            assert abs(gradient) > 1e-7, name


def test_where_one_update_leads_nowhere_the_gradient_is_zero():
    """Without clipping, policy and values learn apart within one update."""
    off_policy = lambda params, seed: experience(seed, "sgd")  # noqa: E731
    values_alone = BMG | {"matching": "none"}
    got = gradient_of_engine("sgd", 1, values_alone, off_policy)
    for name, gradient in got.items():
        assert (gradient == 0) == (name in ("policy", "entropy")), name
    off_policy = lambda params, seed: experience(seed, "outer critic")  # noqa: E731
    got = gradient_of_engine("outer critic", 1, {"method": "mg"}, off_policy)
    for name, gradient in got.items():
        assert (gradient == 0) == (name == "critic"), name


# Hyperparameters that a network makes from the context.


def in_context(raw, context, hyperparameters):
    """Values by name, as the meta-network is defined."""
    net = raw[NETWORK]
    hidden = context @ net["mlp/~/linear_0"]["w"] + net["mlp/~/linear_0"]["b"]
    outputs = jnp.where(hidden > 0, hidden, 0.0) @ net["linear"]["w"]
    values = {}
    for name, output in zip(sorted(hyperparameters), outputs, strict=True):
        low, high = hyperparameters[name].low, hyperparameters[name].high
        x = 1 / (1 + jnp.exp(-raw[name] - output))
        if name == "learning_rate":
            values[name] = low * (high / low) ** x
        else:
            values[name] = low + (high - low) * x
    return values


@pytest.mark.parametrize(
    "tuning",
    mostly_slow(
        {"mg": {"method": "mg"}, "bmg": BMG | {"target_steps": 2, "target_by": "mixed"}}, {"bmg"}
    ),
)
def test_meta_gradients_of_a_meta_network_equal_finite_differences(tuning):
    """Every weight, hidden ones too, once a meta-step has made the last layer non-zero."""
    name, K, contexts = "outer critic", 2, np.random.default_rng(5).normal(size=(5, 6))
    settings = settings_of(
        name, inner_steps=K, context="rich", context_hidden=(4,), learning_rate=0.3, **tuning
    )
    hand, spec = reference(name), settings.in_use
    engine = parts.learner(actor_critic.make(OBSERVATIONS, actions_of(name), settings), settings)
    inner_step = quick_jit(engine.inner_step)
    meta_step = quick_jit(
        lambda *seen: (engine.meta_step(*seen)[0].values, engine.meta_gradient(*seen)[0])
    )
    params = random_params(name, settings)
    batches = [packed(experience(seed, name), context) for seed, context in enumerate(contexts)]
    judges = tuning.get("target_steps", 1)

    def updates(values):
        state = engine.init(ravel_pytree(params)[0], start_of(name, spec), jax.random.PRNGKey(0))
        state, _ = inner_step(state._replace(values=values or state.values), batches[4])
        begin, steps = state, []
        for batch in batches[:K]:
            state, step = inner_step(state, batch)
            steps.append(step)
        validation = stack(batches[K : K + judges])
        return begin, state, meta_step(state, stack(steps), state.inner, validation)

    _, _, (values, at_first) = updates(None)
    for x in jax.tree.leaves(at_first[NETWORK]["mlp/~/linear_0"]):
        np.testing.assert_array_equal(x, 0.0)  # behind a layer of zeros
    _, end, (_, got) = updates(values)

    def learn(state, raw, batch):
        at = in_context(raw, batch.context, spec)
        return by_hand.update(hand.task, by_hand.inner_loss, state, at, at, batch.trajectory)

    raw = jax.tree.map(jnp.asarray, values.raw)
    vector, unravel = ravel_pytree(raw)
    moved = vector + STEP * jnp.concatenate([jnp.eye(vector.size), -jnp.eye(vector.size)])
    learn_one, learn_all = quick_jit(learn), quick_jit(jax.vmap(learn, (0, 0, None)))
    begin = learn_one((params, by_hand.start_of_rule(params)), raw, batches[4])
    P = 2 * vector.size
    students = jax.tree.map(lambda x: jnp.broadcast_to(x, (P, *jnp.shape(x))), begin)
    student = begin
    for batch in batches[:K]:
        students = learn_all(students, jax.vmap(unravel)(moved), batch)
        student = learn_one(student, raw, batch)
    np.testing.assert_allclose(ravel_pytree(student[0])[0], end.inner.params, rtol=1e-9)
    outer, weight = hand.task.outer, settings.tuning.value_weight * hand.task.outer["critic"]
    if tuning["method"] == "mg":
        judging = outer | {"critic": weight}
        objective = hand.judged(students[0], student[0], judging, batches[K].trajectory)
    else:
        target = learn_one(student, raw, batches[K])
        last = batches[K + 1]
        by_rule = in_context(raw, last.context, spec)
        target = hand.update(target, outer, by_rule, last.trajectory)
        objective = 0.0
        for batch in batches[K : K + 2]:
            found = hand.compared(target[0], students[0], batch.trajectory)
            objective += (found["reverse_kl"] + weight * found["value"]) / 2
    difference = (objective[: vector.size] - objective[vector.size :]) / (2 * STEP)
    flat, _ = ravel_pytree(got)
    np.testing.assert_allclose(flat, difference, rtol=1e-4, atol=1e-8)
    for layer in jax.tree.leaves(got[NETWORK]):
        assert np.mean(np.abs(layer) > 1e-6) >= 0.5, "a vanishing derivative would test nothing"
