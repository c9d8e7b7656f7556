"""What an algorithm is to the engine: one structure, which each of them builds itself.

To add an algorithm, write `make(observation_space, action_space, settings) -> Algorithm` in a
file of its own, and say in `configs.hyperparameters` what is read by the algorithm of that name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from selftuning.agents.memory import NONE, Memory
from selftuning.agents.reuse import Reuse
from selftuning.agents.trajectory import Experience
from selftuning.metagrad.targets import Loss, Problem

Params = Any
Hyperparams = Mapping[str, Any]  # scalars by name; traced in the inner loss, numbers in the outer

_LARGEST_VECTOR = 2**15  # parameters


class Packing(NamedTuple):
    """How parameters are handed to the engine, and the way back.

    The parameters of a small network become one vector. Updates, records and meta-gradients are
    then a few long loops instead of a short one for each of a dozen small tensors, whose dispatch
    would dominate on a CPU. A large network stays as it is: packing it would copy it, in and out.

    Attributes:
      pack: parameters by network and layer -> as the engine has them.
      unpack: the inverse.
    """

    pack: Callable[[Params], Any]
    unpack: Callable[[Any], Params]


class Algorithm(NamedTuple):
    """Pure functions of an agent whose hyperparameters are given.

    Attributes:
      init: key -> parameters, packed. So they are below, but where it says otherwise.
      packing: of the parameters.
      acting: (parameters by network and layer, hyperparams) -> actor, all that behaviour depends
        on. It is made once a rollout and read at each of its steps.
      act: (actor, observation [B, *obs], key) -> (action [B, *action], log-probability [B]).
      mode: (actor, observation [B, *obs]) -> greedy action [B, *action] for the task.
      value: (params, observation [..., *obs]) -> value [...].
      problem: inner loss, outer loss and match; their batches are `Experience`.
      last_target_loss: of the last update of a bootstrapped target; None for the outer loss.
      change: (params before, params after, batch) -> KL of the new policy from the old one, by
        which a trust region bounds an update; None where there is no such bound, and so no
        learning rate to tune.
      metrics: (params at the start of the updates on a rollout, params before the last of them,
        params after it, hyperparams, batch of the last) -> scalars by name, as users look at them
        to see how learning goes; None for none.
      to_task: action [..., *action] of `act`, which trajectories keep -> as the task expects it,
        of JAX or NumPy as it was given.
      memory: what is acted on; the observation alone where nothing is remembered.
      reuse: how several updates are made on one rollout; None where there is one, on all of it.
    """

    init: Callable[[jax.Array], Params]
    packing: Packing
    acting: Callable[[Params, Hyperparams], Any]
    act: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    mode: Callable[[Any, jax.Array], jax.Array]
    value: Callable[[Params, jax.Array], jax.Array]
    problem: Problem
    last_target_loss: Loss | None = None
    change: Callable[[Params, Params, Experience], jax.Array] | None = None
    metrics: Callable[..., dict[str, jax.Array]] | None = None
    to_task: Callable[[Any], Any] = lambda action: action
    reuse: Reuse | None = None
    memory: Memory = NONE


def packing_of(init: Callable[[jax.Array], Params]) -> Packing:
    """How the engine has the parameters that `init` makes from a key, any pytree."""
    example = jax.eval_shape(init, jax.random.PRNGKey(0))
    if sum(math.prod(x.shape) for x in jax.tree.leaves(example)) > _LARGEST_VECTOR:
        return Packing(lambda params: params, lambda params: params)
    unravel = ravel_pytree(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example))[1]
    return Packing(lambda params: ravel_pytree(params)[0], unravel)
