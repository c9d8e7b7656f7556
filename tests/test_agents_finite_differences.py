"""Every meta-gradient of the agent against finite differences of the same updates by hand.

In float64, on a tiny network and random experience. K updates, target and objective come from
`tests.by_hand`, where nothing is shared with the agent or the engine.
"""

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from selftuning.agents import actor_critic, networks, parts
from selftuning.agents.trajectory import Experience
from selftuning.metagrad.meta_network import NETWORK
from tests import by_hand
from tests.quick_jit import quick_jit
from tests.test_agents_self_tuning import ACTIONS, OBSERVATIONS, make_settings, stack, trajectory

STEP = 2e-5  # of a raw value, to either side
AGENTS = {
    "one head": {"correction": "vtrace", "inner_optimizer": "accelerated"},
    "on policy": {"inner_optimizer": "rms", "max_grad_norm": 0.05},  # always clipped
    "gaussian": {"correction": "vtrace", "inner_optimizer": "rms"},
    "outer critic": {"correction": "vtrace", "inner_optimizer": "rms", "outer_critic": True},
    "three heads": {"correction": "vtrace", "inner_optimizer": "accelerated", "heads": 3},
    "sgd": {
        "correction": "vtrace",
        "inner_optimizer": "sgd",
        "max_grad_norm": 1e3,
        "normalize_advantage": False,
    },
}
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
    ("mg", "outer critic", 2, {"method": "mg"}),
    ("outer", "outer critic", 2, BMG | {"target_steps": 2}),
    ("mg", "three heads", 1, {"method": "mg"}),
    ("mg", "three heads", 2, {"method": "mg"}),
    ("outer", "three heads", 1, BMG),
    ("mixed", "three heads", 2, BMG | {"target_steps": 2, "target_by": "mixed"}),
    ("mg", "sgd", 2, {"method": "mg"}),
]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def actions_of(name):
    return ACTIONS["continuous" if name == "gaussian" else "discrete"]


def settings_of(name, **tuning):
    settings = make_settings(agent={"hidden": (4,)} | AGENTS[name], **tuning)
    rate = replace(settings.hyperparameters["learning_rate"], start=3e-2)
    return replace(settings, hyperparameters=settings.hyperparameters | {"learning_rate": rate})


def experience(seed, name):
    """Random, with behaviour that is more and less probable than the policy's, and two ends."""
    actions, rng = actions_of(name), np.random.default_rng(seed + 1000)
    made = trajectory(seed, actions)
    middle = -1.1 if isinstance(actions, gym.spaces.Discrete) else -3.5
    return made._replace(log_prob=jnp.asarray(middle + rng.normal(size=made.reward.shape)))


def start_of(name, hyperparameters):
    """Start values; different ones for each head."""
    heads = AGENTS[name].get("heads", 1)
    tilt = jnp.linspace(1.0, 0.8, heads) if heads > 1 else jnp.asarray(1.0)
    values = {n: jnp.asarray(h.start, float) for n, h in hyperparameters.items()}
    shared = {"learning_rate", "momentum", "hint_weight"}
    return {n: x if n in shared else x * tilt for n, x in values.items()}


class ByHand(NamedTuple):
    """What the reference made of one agent, before anything is judged."""

    task: by_hand.Task
    begin: Any
    start: dict[str, Any]
    raws: dict[str, Any]  # every perturbation, leaves [P, ...]
    moved: list[tuple[str, tuple]]  # of which element; P is twice their number
    update: Any
    learned: Any
    judged: Any
    compared: Any


@lru_cache
def reference(name):
    settings = settings_of(name)
    task = by_hand.task_of(settings, actions_of(name))
    start = start_of(name, settings.in_use)
    params = random_params(name, settings)
    raw = {n: by_hand.to_raw(n, x) for n, x in start.items()}
    moved = [(n, i) for n, x in raw.items() for i in np.ndindex(x.shape)]
    raws = stack([{**raw, n: raw[n].at[i].add(s)} for n, i in moved for s in (STEP, -STEP)])

    def learned(inner, raw, batch):
        at = {n: by_hand.from_raw(n, x) for n, x in raw.items()}
        return by_hand.update(task, by_hand.inner_loss, inner, at, at, batch)

    def update(inner, outer, by_rule, batch):
        return by_hand.update(task, by_hand.outer_loss, inner, outer, by_rule, batch)

    one = quick_jit(learned)
    begin = one((params, by_hand.start_of_rule(params)), raw, experience(99, name))
    return ByHand(
        task,
        begin,
        start,
        raws,
        moved,
        quick_jit(update),
        quick_jit(jax.vmap(learned, (0, 0, None))),
        quick_jit(jax.vmap(partial(by_hand.outer_loss, task), (0, None, None, None))),
        quick_jit(jax.vmap(partial(by_hand.distances, task), (None, 0, None))),
    )


def random_params(name, settings):
    """Policies far from uniform: the small last layer of a fresh network would hide errors."""
    made = actor_critic.make(OBSERVATIONS, actions_of(name), settings)
    flat = made.init(jax.random.PRNGKey(0))
    structure = structured(name, settings)(flat)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.5), structure)


def structured(name, settings):
    """The way from the vector of parameters to their structure."""
    nets = networks.make(OBSERVATIONS, actions_of(name), settings.agent)
    shapes = jax.eval_shape(nets.init, jax.random.PRNGKey(0))
    return ravel_pytree(jax.tree.map(lambda x: jnp.zeros(x.shape), shapes))[1]


@lru_cache
def steps_of_engine(name, K):
    """Start and end of K live updates, and their records."""
    settings = settings_of(name)
    made = actor_critic.make(OBSERVATIONS, actions_of(name), settings)
    engine = parts.learner(made, settings)
    inner_step = quick_jit(engine.inner_step)
    flat, _ = ravel_pytree(random_params(name, settings))
    state = engine.init(flat, start_of(name, settings.in_use))
    state, _ = inner_step(state, packed(experience(99, name)))
    steps, begin = [], state
    for seed in range(K):
        state, step = inner_step(state, packed(experience(seed, name)))
        steps.append(step)
    return begin, state, stack(steps)


def packed(made, context=()):
    return Experience(made, jnp.asarray(context, float))


def objective_by_hand(hand, students, begin, student, validation, tuning):
    """Of all perturbed students [P]; their target is made from the unperturbed one."""
    outer = hand.task.outer
    weight = tuning.value_weight * outer["critic"]
    if tuning.method == "mg":
        judging = outer | {"critic": weight}
        total = 0.0
        for batch in validation:
            total += hand.judged(students, student[0], judging, batch)
            divergence = hand.compared(begin[0], students, batch)["reverse_kl"]
            total += tuning.outer_kl * divergence
        return total / len(validation)

    raw = {n: by_hand.to_raw(n, x) for n, x in hand.start.items()}
    copies = jax.tree.map(lambda x: jnp.asarray(x)[None], raw)
    target = student if tuning.target_state == "student" else (student[0], begin[1])
    for number in range(tuning.target_steps):
        batch, last = validation[number], number == tuning.target_steps - 1
        by_outer = tuning.target_by == "outer" or (tuning.target_by == "mixed" and last)
        if by_outer:
            at = outer
            if last and tuning.target_last == "policy":
                at = outer | {"critic": 0.0, "entropy": 0.0}
            target = hand.update(target, at, hand.start, batch)
        else:
            one = jax.tree.map(lambda x: jnp.asarray(x)[None], target)
            target = jax.tree.map(lambda x: x[0], hand.learned(one, copies, batch))
    total = 0.0
    for batch in validation:
        found = hand.compared(target[0], students, batch)
        total += 0.0 if tuning.matching == "none" else found[tuning.matching]
        total += weight * found["value"] + tuning.parameter_weight * found["parameters"]
    return total / len(validation)


@pytest.mark.parametrize(
    ("agent", "K", "tuning"), [c[1:] for c in CASES], ids=["-".join(map(str, c[:3])) for c in CASES]
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
    [{"method": "mg"}, BMG | {"target_steps": 2, "target_by": "mixed"}],
    ids=["mg", "bmg"],
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
