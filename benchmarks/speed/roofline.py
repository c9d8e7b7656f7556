"""What an agent's arithmetic is, and how fast this machine could do it.

Only the products of weights are counted, a multiplication and an addition for each weight and
observation, and only what no compiler could leave out: acting, gradients of inner and outer
loss, values to bootstrap from, matching, and the way back through the K updates. Where a meta-step
evaluates networks at parameters and data of an update, the update alone is counted.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import NamedTuple

import gymnasium as gym
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from selftuning.configs.settings import RunSettings
from selftuning.envs.task import TaskSpec

SIZE = 1024  # of the matrices whose product is the peak

# Tuned with these, a loss has to be known with its values; the entropy weight needs none.
_NEED_VALUES = {"gamma", "lambda", "policy", "critic"}


class Products(NamedTuple):
    """Floating point operations of the products of one network with one observation.

    Attributes:
      forward: the outputs.
      backward: gradients in weights and hidden units, and as many for the tangent of the outputs
        along a direction of the weights: the first layer has no gradient in its inputs.
      twice: gradients in weights of a tangent, outputs and tangent being there.
    """

    forward: int
    backward: int
    twice: int


def products(widths: tuple[int, ...]) -> Products:
    """Of a network of dense layers with these numbers of units, inputs and outputs included."""
    layers = [2 * a * b for a, b in itertools.pairwise(widths)]
    later = sum(layers[1:])
    # y = x W has the tangent dy = x V + dx W. With cotangents of both: x' y~ and dx' dy~ for the
    # weights, y~ W' + dy~ V' for x, dy~ W' for dx; in the first layer x is data and dx is 0.
    return Products(sum(layers), sum(layers) + later, sum(layers) + 4 * later)


def ends(spec: TaskSpec) -> tuple[int, int]:
    """Inputs and outputs of a policy network for a vector observed and discrete actions.

    Raises:
      ValueError: for other spaces.
    """
    observed, action = spec.observation_space, spec.action_space
    if not isinstance(action, gym.spaces.Discrete) or len(observed.shape or ()) != 1:
        raise ValueError(f"{spec.env_id}: a vector is observed and actions are discrete")
    assert observed.shape is not None
    return observed.shape[0], int(action.n)


def flops(settings: RunSettings, inputs: int, actions: int) -> dict[str, float]:
    """Floating point operations of an environment step, by part.

    For actor-critics of one head without outer critic, whose K updates are unrolled.
    """
    agent, tuning = settings.agent, settings.tuning
    assert agent.algorithm == "actor_critic"
    assert agent.heads == 1
    assert not agent.outer_critic
    assert tuning.differentiation == "unrolled"
    policy = products((inputs, *agent.hidden, actions))
    value = products((inputs, *agent.hidden, 1))
    acting = policy.forward
    policy_gradient = policy.forward + policy.backward
    value_gradient = value.forward + value.backward
    gradient = policy_gradient + value_gradient + value.forward
    parts = {"acting": acting, "learning": gradient}
    tuned = {name for name, spec in settings.in_use.items() if spec.tuned}
    if tuning.method == "none" or not tuned:
        return {name: float(count) for name, count in parts.items()}
    # The student is judged where the update after it begins, and the K updates are gone back
    # through where they were made: outputs are there, and those of successors.
    there = policy.forward + 2 * value.forward
    if tuning.method == "mg":
        meta = {"judging": policy.backward + value.backward * (tuning.value_weight > 0)}
    else:
        saved = value.backward if tuning.target_last == "policy" else 0
        by_policy, by_value = tuning.matching != "none", tuning.value_weight > 0
        match = (policy.forward + policy_gradient) * by_policy
        match += (value.forward + value_gradient) * by_value
        student = policy.forward * by_policy + value.forward * by_value
        meta = {
            "target": tuning.target_steps * gradient - saved - there,
            "matching": tuning.target_steps * match - student,
        }
    # A tangent costs what a backward pass does. The first of the K updates is not gone through.
    first = policy.backward + value.backward * bool(tuned & _NEED_VALUES)
    through = gradient - there + policy.twice + value.twice + 2 * value.backward
    meta["differentiation"] = first + (tuning.inner_steps - 1) * through
    return {name: float(n) for name, n in parts.items()} | {
        name: count / tuning.period for name, count in meta.items()
    }


def matrix_product() -> Callable[[], float]:
    """A function that measures operations a second: a product on each device, side by side."""
    devices = jax.devices()
    mesh, split = Mesh(np.array(devices), ("devices",)), PartitionSpec("devices")
    matrices = jax.random.normal(jax.random.PRNGKey(0), (len(devices), SIZE, SIZE))
    matrices = jax.device_put(matrices, NamedSharding(mesh, split))
    product = jax.jit(
        jax.shard_map(lambda x: (x[0] @ x[0])[None], mesh=mesh, in_specs=split, out_specs=split)
    )
    jax.block_until_ready(product(matrices))

    def measure() -> float:
        seconds = []
        for _ in range(5):
            begun = time.perf_counter()
            jax.block_until_ready(product(matrices))
            seconds.append(time.perf_counter() - begun)
        return len(devices) * 2 * SIZE**3 / min(seconds)

    return measure
