"""Agents and experience for finite differences: the same updates by the engine and by hand."""

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from selftuning.agents import actor_critic, networks, parts
from selftuning.agents.trajectory import Experience
from tests import by_hand
from tests.quick_jit import quick_jit
from tests.test_agents_self_tuning import ACTIONS, OBSERVATIONS, make_settings, stack, trajectory

STEP = 2e-5  # of a raw value, to either side
AGENTS = {
    "one head": {"correction": "vtrace", "inner_optimizer": "accelerated"},
    "on policy": {  # always clipped
        "inner_optimizer": "rms",
        "max_grad_norm": 0.05,
        "regularize": "barrier",
    },
    "gaussian": {"correction": "vtrace", "inner_optimizer": "rms", "action_bounds": "clip"},
    "squash": {"correction": "vtrace", "inner_optimizer": "rms", "action_bounds": "squash"},
    "outer critic": {"correction": "vtrace", "inner_optimizer": "rms", "outer_critic": True},
    "three heads": {
        "correction": "vtrace",
        "inner_optimizer": "accelerated",
        "heads": 3,
        "regularize": "barrier",
    },
    "sgd": {
        "correction": "vtrace",
        "inner_optimizer": "sgd",
        "max_grad_norm": 1e3,
        "normalize_advantage": False,
    },
}


def actions_of(name):
    return ACTIONS["continuous" if "action_bounds" in AGENTS[name] else "discrete"]


def settings_of(name, **tuning):
    settings = make_settings(agent={"hidden": (4,)} | AGENTS[name], **tuning)
    rate = replace(settings.hyperparameters["learning_rate"], start=3e-2)
    return replace(settings, hyperparameters=settings.hyperparameters | {"learning_rate": rate})


def experience(seed, name):
    """Random, with behaviour that is more and less probable than the policy's, and two ends."""
    made, rng = trajectory(seed, actions_of(name)), np.random.default_rng(seed + 1000)
    middle = {"gaussian": -3.5, "squash": -2.0}.get(name, -1.1)
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
                at = outer | {"critic": 0.0, "entropy": 0.0, "barrier": 0.0}
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
