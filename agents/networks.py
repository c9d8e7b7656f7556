"""Haiku networks chosen from the spaces of a task: separate policy and value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import distrax
import gymnasium as gym
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from configs.settings import AgentSettings

Params = Any


class Networks(NamedTuple):
    """Policy and value of an observation; both take any batch shape in front.

    Attributes:
      init: key -> parameters, {"policy": ..., "value": ...}.
      policy: (params, observation [..., *obs]) -> distribution over actions [...].
      value: (params, observation [..., *obs]) -> value [...].
    """

    init: Callable[[jax.Array], Params]
    policy: Callable[[Params, jax.Array], distrax.Distribution]
    value: Callable[[Params, jax.Array], jax.Array]


def make(
    observation_space: gym.Space, action_space: gym.Space, settings: AgentSettings
) -> Networks:
    """Networks for the spaces that `envs.spaces` admits."""
    encode = _encoder(observation_space)
    head, num_outputs = _policy_head(action_space)
    activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[settings.activation]

    def torso(observation):
        x = encode(observation)
        if x.ndim > observation.ndim - len(shape(observation_space)) + 1:
            x = _convolutions(x)
        return hk.nets.MLP(settings.hidden, activation=activation, activate_final=True)(x)

    def policy(observation):
        # A small last layer: the first policy is close to uniform whatever the observation.
        init = hk.initializers.VarianceScaling(1e-4)
        return head(hk.Linear(num_outputs, w_init=init)(torso(observation)))

    def value(observation):
        return jnp.squeeze(hk.Linear(1)(torso(observation)), -1) * settings.value_scale

    policy_net = hk.without_apply_rng(hk.transform(policy))
    value_net = hk.without_apply_rng(hk.transform(value))

    def init(key):
        key_policy, key_value = jax.random.split(key)
        observation = np.zeros((1, *shape(observation_space)), observation_space.dtype)
        return {
            "policy": policy_net.init(key_policy, observation),
            "value": value_net.init(key_value, observation),
        }

    return Networks(
        init,
        lambda params, observation: policy_net.apply(params["policy"], observation),
        lambda params, observation: value_net.apply(params["value"], observation),
    )


def shape(space: gym.Space) -> tuple[int, ...]:
    """Shape of one element of an array-valued space."""
    assert space.shape is not None
    return space.shape


def _encoder(space: gym.Space) -> Callable[[jax.Array], jax.Array]:
    """Observations as float vectors [..., F], or images [..., H, W, C] in [0, 1].

    `float` is JAX's default precision.
    """
    if isinstance(space, gym.spaces.Discrete):
        return lambda x: jax.nn.one_hot(x - int(space.start), int(space.n))
    if isinstance(space, gym.spaces.MultiDiscrete):
        sizes = [int(n) for n in space.nvec.reshape(-1)]
        starts = [int(s) for s in space.start.reshape(-1)]

        def encode(x):
            x = x.reshape(*x.shape[: x.ndim - len(shape(space))], len(sizes))
            columns = [
                jax.nn.one_hot(x[..., i] - start, n)
                for i, (n, start) in enumerate(zip(sizes, starts, strict=True))
            ]
            return jnp.concatenate(columns, -1)

        return encode
    rank = len(shape(space))
    if rank == 3 and space.dtype == jnp.uint8:
        return lambda x: x.astype(float) / 255.0
    size = math.prod(shape(space))
    return lambda x: x.reshape(*x.shape[: x.ndim - rank], size).astype(float)


def _convolutions(x: jax.Array) -> jax.Array:
    """The torso of Mnih et al. (2015), for images [..., H, W, C]; returns [..., F]."""
    batch = x.shape[:-3]
    x = x.reshape(-1, *x.shape[-3:])
    for channels, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
        x = jax.nn.relu(hk.Conv2D(channels, kernel, stride)(x))
    return x.reshape(*batch, -1)


def _policy_head(space: gym.Space) -> tuple[Callable[[jax.Array], distrax.Distribution], int]:
    """Network outputs to a distribution, and the number of outputs."""
    if isinstance(space, gym.spaces.Discrete):
        return (lambda logits: distrax.Categorical(logits=logits)), int(space.n)
    assert isinstance(space, gym.spaces.Box)
    centre, half_range = (space.high + space.low) / 2, (space.high - space.low) / 2

    def gaussian(mean):
        # The scale is learned and does not depend on the observation (Schulman et al. 2015).
        log_scale = hk.get_parameter("log_scale", mean.shape[-1:], init=jnp.zeros)
        return distrax.MultivariateNormalDiag(
            centre + half_range * mean,
            jnp.broadcast_to(half_range * jnp.exp(log_scale), mean.shape),
        )

    return gaussian, math.prod(shape(space))
