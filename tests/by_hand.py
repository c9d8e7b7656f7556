"""The actor-critic and its updates, written out once more from their definitions.

Nothing of the agent or of the engine is used here: parameters keep the structure that Haiku
gives them, recursions are loops, optimisers are formulas. What is computed with these functions
is what the agent is compared with.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

UNIT_INTERVAL = {"gamma", "lambda", "alpha_rho", "alpha_c", "momentum", "epsilon"}


def to_raw(name, value):
    return jnp.log(value / (1 - value)) if name in UNIT_INTERVAL else jnp.log(value)


def from_raw(name, raw):
    return 1 / (1 + jnp.exp(-raw)) if name in UNIT_INTERVAL else jnp.exp(raw)


class Task(NamedTuple):
    """What is static.

    Attributes:
      heads: number of them.
      gaussian: whether the policy is, and not categorical.
      squashed: whether its actions go through tanh.
      vtrace: whether experience is weighted.
      outer_critic: whether there is one.
      normalize: whether advantages are.
      clip: global norm of gradients.
      rule: name of the update rule.
      barrier: whether KL(uniform || policy) is in the loss.
      outer: hyperparameters of the outer objective.
    """

    heads: int
    gaussian: bool
    squashed: bool
    vtrace: bool
    outer_critic: bool
    normalize: bool
    clip: float
    rule: str
    barrier: bool
    outer: dict[str, float]


def task_of(settings, actions):
    """What settings of a run and its space of actions say."""
    agent = settings.agent
    return Task(
        agent.heads,
        hasattr(actions, "low"),
        hasattr(actions, "low") and agent.action_bounds == "squash",
        agent.correction == "vtrace",
        agent.outer_critic,
        agent.normalize_advantage,
        agent.max_grad_norm,
        agent.inner_optimizer,
        agent.regularize == "barrier",
        settings.outer,
    )


def network(params, x, heads):
    """A tanh network of one hidden layer; outputs [..., H, size]."""
    hidden = jnp.tanh(x @ params["mlp/~/linear_0"]["w"] + params["mlp/~/linear_0"]["b"])
    out = hidden @ params["linear"]["w"] + params["linear"]["b"]
    return out.reshape(*out.shape[:-1], heads, -1)


def policy(task, params, observation, head):
    """Log-probabilities [..., A], or mean and logarithm of the deviation [..., A]."""
    out = network(params["policy"], observation, task.heads)[..., head, :]
    if not task.gaussian:
        return out - jnp.log(jnp.sum(jnp.exp(out), -1, keepdims=True))
    # In units of half the range, and between -5 and 1.
    log_scale = params["policy"]["~"]["log_scale"][head]
    log_scale = jnp.logaddexp(10 * log_scale, -50) / 10
    log_scale = -jnp.logaddexp(-10 * log_scale, -10) / 10
    return out, jnp.broadcast_to(log_scale, out.shape)


def value(task, params, observation, head, network_name="value"):
    out = network(params[network_name], observation, task.heads)
    return out[..., head, 0]


def log_prob(task, dist, action):
    if not task.gaussian:
        return jnp.sum(dist * (action[..., None] == jnp.arange(dist.shape[-1])), -1)
    mean, log_scale = dist
    z = (action - mean) / jnp.exp(log_scale)
    density = jnp.sum(-(z**2) / 2 - log_scale - jnp.log(2 * jnp.pi) / 2, -1)
    return density - log_slopes(action) if task.squashed else density


def log_slopes(u):
    """Of tanh at u [..., A], summed."""
    return jnp.sum(jnp.log(1 - jnp.tanh(u) ** 2), -1)


def entropy(task, dist):
    if not task.gaussian:
        return -jnp.sum(jnp.exp(dist) * dist, -1)
    total = jnp.sum(dist[1] + jnp.log(2 * jnp.pi * jnp.e) / 2, -1)
    if task.squashed:
        # The same sum as the agent's: it is exact for polynomials only.
        for node, weight in zip(*np.polynomial.hermite.hermgauss(16), strict=True):
            u = dist[0] + math.sqrt(2) * node * jnp.exp(dist[1])
            total += weight / math.sqrt(math.pi) * log_slopes(u)
    return total


def barrier(task, dist, weight):
    """The weighted mean of KL(uniform || policy), of n actions."""
    if not task.barrier:
        return 0.0
    n = dist.shape[-1]
    return weight * jnp.mean(jnp.sum((1 / n) * (jnp.log(1 / n) - dist), -1))


def kl(task, p, q):
    """KL(p || q), averaged."""
    if not task.gaussian:
        return jnp.mean(jnp.sum(jnp.exp(p) * (p - q), -1))
    (mean_p, log_p), (mean_q, log_q) = p, q
    ratio = jnp.exp(2 * (log_p - log_q)) + ((mean_p - mean_q) / jnp.exp(log_q)) ** 2
    return jnp.mean(jnp.sum(ratio / 2 - 1 / 2 - log_p + log_q, -1))


def targets(task, v_tm1, v_t, rho, hyper, trajectory):
    """Value targets and advantages [T, B], step by step from the last."""
    length = v_tm1.shape[0]
    if not task.vtrace:
        returns, following = [None] * length, v_t[-1]
        for t in reversed(range(length)):
            lambda_ = jnp.where(trajectory.truncated[t], 0.0, hyper["lambda"])
            following = (1 - lambda_) * v_t[t] + lambda_ * following
            following = trajectory.reward[t] + hyper["gamma"] * trajectory.discount[t] * following
            returns[t] = following
        return jnp.stack(returns), jnp.stack(returns) - v_tm1
    beyond, returns, advantages = 0.0, [None] * length, [None] * length
    for t in reversed(range(length)):
        lambda_ = jnp.where(trajectory.truncated[t], 0.0, hyper["lambda"])
        discount = hyper["gamma"] * trajectory.discount[t]
        clipped = jnp.where(rho[t] < 1, rho[t], 1.0)
        weight = hyper["alpha_rho"] * clipped + (1 - hyper["alpha_rho"]) * rho[t]
        trace = hyper["alpha_c"] * clipped + (1 - hyper["alpha_c"]) * rho[t]
        error = trajectory.reward[t] + discount * v_t[t] - v_tm1[t]
        advantages[t] = weight * (error + discount * lambda_ * beyond)
        beyond = weight * error + discount * lambda_ * trace * beyond
        returns[t] = v_tm1[t] + beyond
    return jnp.stack(returns), jnp.stack(advantages)


def head_loss(task, params, frozen, hyper, trajectory, head, critic="value"):
    """All three terms of one head, and its critic term alone."""
    observation, following = trajectory.observation, trajectory.next_observation
    dist, old = (policy(task, p, observation, head) for p in (params, frozen))
    rho = jnp.exp(log_prob(task, old, trajectory.action) - trajectory.log_prob)
    target, advantage = targets(
        task,
        value(task, frozen, observation, head, critic),
        value(task, frozen, following, head, critic),
        rho,
        hyper,
        trajectory,
    )
    if task.normalize:
        advantage = advantage / jnp.sqrt(jnp.var(advantage) + 1e-8)
    error = value(task, params, observation, head, critic) - target
    critic_term = jnp.mean(error**2) / 2
    total = (
        -hyper["policy"] * jnp.mean(log_prob(task, dist, trajectory.action) * advantage)
        - hyper["entropy"] * jnp.mean(entropy(task, dist))
        + hyper["critic"] * critic_term
        + barrier(task, dist, hyper.get("barrier"))
    )
    return total, critic_term


def inner_loss(task, params, frozen, hyper, trajectory):
    total = 0.0
    for head in range(task.heads):
        at = {n: x if jnp.ndim(x) == 0 else x[head] for n, x in hyper.items()}
        total += head_loss(task, params, frozen, at, trajectory, head)[0]
    if task.outer_critic:
        _, term = head_loss(task, params, frozen, task.outer, trajectory, 0, "outer_value")
        total += task.outer["critic"] * term
    return total


def outer_loss(task, params, frozen, hyper, trajectory):
    critic = "outer_value" if task.outer_critic else "value"
    return head_loss(task, params, frozen, hyper, trajectory, 0, critic)[0]


def distances(task, target, params, trajectory):
    """Of the first head: both divergences and values; and parameters."""
    p, q = (policy(task, x, trajectory.observation, 0) for x in (target, params))
    v, w = (value(task, x, trajectory.observation, 0) for x in (target, params))
    squares = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), target, params)
    return {
        "kl": kl(task, p, q),
        "reverse_kl": kl(task, q, p),
        "value": jnp.mean((v - w) ** 2) / 2,
        "parameters": sum(jax.tree.leaves(squares)) / 2,
    }


def start_of_rule(params):
    """State of every rule: squares, last direction, moving point, weight of the average."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return {"squares": zeros, "last": zeros, "point": params, "weight": 1.0, "steps": 0.0}


def apply_rule(task, gradient, state, params, hyper):
    norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient)))
    gradient = jax.tree.map(
        lambda g: g * jnp.where(norm > task.clip, task.clip / norm, 1), gradient
    )
    rate = hyper["learning_rate"]
    if task.rule == "sgd":
        return jax.tree.map(lambda x, g: x - rate * g, params, gradient), state
    squares = jax.tree.map(lambda s, g: 0.99 * s + 0.01 * g**2, state["squares"], gradient)
    step = jax.tree.map(lambda g, s: g / jnp.sqrt(s + 1e-8), gradient, squares)
    if task.rule == "rms":
        moved = jax.tree.map(lambda x, d: x - rate * d, params, step)
        return moved, state | {"squares": squares}
    assert task.rule == "accelerated"
    first = state["steps"] == 0
    point = jax.tree.map(
        lambda w, d, last: w - rate * (d + hyper["hint_weight"] * jnp.where(first, 0.0, d - last)),
        state["point"],
        step,
        state["last"],
    )
    weight = hyper["momentum"] * state["weight"] + 1
    moved = jax.tree.map(lambda x, w: x + (w - x) / weight, params, point)
    return moved, {
        "squares": squares,
        "last": step,
        "point": point,
        "weight": weight,
        "steps": state["steps"] + 1,
    }


def update(task, loss, inner, by_loss, by_rule, trajectory):
    """(params, state of the rule) after one update on `loss`, one of the above."""
    params, state = inner
    gradient = jax.grad(lambda p: loss(task, p, params, by_loss, trajectory))(params)
    return apply_rule(task, gradient, state, params, by_rule)
