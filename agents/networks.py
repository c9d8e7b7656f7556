"""Haiku networks chosen from the spaces of a task: separate policy and value, several heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import distrax
import gymnasium as gym
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from selftuning.agents import policies
from selftuning.configs.errors import not_allowed
from selftuning.configs.own_parts import Part
from selftuning.configs.settings import AgentSettings
from selftuning.envs.spaces import shape

Params = Any


class Networks(NamedTuple):
    """Policies and values of an observation; all take any batch shape in front.

    H heads share the torso of the policy network, and that of the value network. The first
    is the one that acts.

    Attributes:
      init: key -> parameters, {"policy": ..., "value": ...}, and "outer_value" where there is
        an outer critic.
      policy: (params, observation [..., *obs]) -> distribution over actions [...] of the first
        head.
      value: (params, observation [..., *obs]) -> value [...] of the first head.
      outputs: (params, observation) -> outputs [H, ..., size] of the policies of all heads.
      distribution: outputs [..., size] -> distribution over actions [...].
      to_task: actions [..., *action] of a trajectory -> as the task expects them.
      values: (params, observation) -> values [H, ...] of all heads.
      outer_value: (params, observation [..., *obs]) -> value [...] of the outer critic.
    """

    init: Callable[[jax.Array], Params]
    policy: Callable[[Params, jax.Array], distrax.Distribution]
    value: Callable[[Params, jax.Array], jax.Array]
    outputs: Callable[[Params, jax.Array], jax.Array]
    distribution: Callable[[jax.Array], distrax.Distribution]
    to_task: Callable[[Any], Any]
    values: Callable[[Params, jax.Array], jax.Array]
    outer_value: Callable[[Params, jax.Array], jax.Array]


def make(
    observation_space: gym.Space,
    action_space: gym.Space,
    settings: AgentSettings,
    own_torso: Part | None = None,
) -> Networks:
    """Networks for the spaces that `envs.spaces` admits, on a torso of the user's own if given."""
    torso = torso_for(observation_space, settings, own_torso)
    policy = policies.make(action_space, settings.action_bounds)
    heads = settings.heads

    def outputs(observation, size, **init):
        """Linear outputs [H, ..., size] of all heads."""
        x = hk.Linear(heads * size, **init)(torso(observation))
        return jnp.moveaxis(x.reshape(*x.shape[:-1], heads, size), -2, 0)

    def of_policies(observation):
        # A small last layer: the first policy is close to uniform whatever the observation.
        init = hk.initializers.VarianceScaling(1e-4)
        x = outputs(observation, policy.num_outputs, w_init=init)
        if not policy.num_scales:
            return x
        scales = hk.get_parameter("log_scale", (heads, policy.num_scales), x.dtype, jnp.zeros)
        scales = scales.reshape(heads, *[1] * (x.ndim - 2), policy.num_scales)
        return jnp.concatenate([x, jnp.broadcast_to(scales, x.shape)], -1)

    def values(observation):
        return jnp.squeeze(outputs(observation, 1), -1) * settings.value_scale

    policy_net = hk.without_apply_rng(hk.transform(of_policies))
    value_net = hk.without_apply_rng(hk.transform(values))

    def init(key):
        key_policy, key_value, key_outer = _keys(key, settings.outer_critic)
        observation = np.zeros((1, *shape(observation_space)), observation_space.dtype)
        params = {
            "policy": policy_net.init(key_policy, observation),
            "value": value_net.init(key_value, observation),
        }
        if settings.outer_critic:
            params["outer_value"] = value_net.init(key_outer, observation)
        return params

    rank = len(shape(observation_space))
    policy_of = _in_one_batch(policy_net.apply, rank)
    value_of = _in_one_batch(value_net.apply, rank)
    return Networks(
        init,
        lambda params, o: policy.distribution(policy_of(params["policy"], o)[0]),
        lambda params, o: value_of(params["value"], o)[0],
        lambda params, o: policy_of(params["policy"], o),
        policy.distribution,
        policy.to_task,
        lambda params, o: value_of(params["value"], o),
        lambda params, o: value_of(params["outer_value"], o)[0],
    )


def _in_one_batch(apply: Callable[[Params, jax.Array], jax.Array], rank: int):
    """A network of observations [T, B, *obs] that sees one batch axis, [B T, *obs].

    XLA's gradient of a matrix product over two batch axes takes twice as long as over one. The
    environments come first, so that the axis can be divided by devices as they are.
    """

    def apply_to_all(params, observation):
        batch = observation.shape[: observation.ndim - rank]
        if len(batch) < 2:
            return apply(params, observation)
        last = len(batch) - 1
        observation = jnp.moveaxis(observation, last, 0)
        first = observation.shape[: last + 1]
        outputs = apply(params, observation.reshape(-1, *observation.shape[last + 1 :]))
        outputs = outputs.reshape(len(outputs), *first, *outputs.shape[2:])
        return jnp.moveaxis(outputs, 1, last + 1)

    return apply_to_all


def torso_for(
    observation_space: gym.Space, settings: AgentSettings, own: Part | None = None
) -> Callable[[jax.Array], jax.Array]:
    """Observations [..., *obs] to features [..., F], to be called inside `hk.transform`.

    Args:
      observation_space: of the task.
      settings: of the layers.
      own: the user's function, in place of what the settings say.
    """
    if own is not None:
        return _checked(own, len(shape(observation_space)))
    encode = _encoder(observation_space)
    activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[settings.activation]

    def torso(observation):
        x = encode(observation)
        if x.ndim > observation.ndim - len(shape(observation_space)) + 1:
            x = _convolutions(x)
        return hk.nets.MLP(settings.hidden, activation=activation, activate_final=True)(x)

    return torso


def _checked(own: Part, rank: int) -> Callable[[jax.Array], jax.Array]:
    def torso(observation):
        features, batch = own(observation), observation.shape[: observation.ndim - rank]
        found = jnp.shape(features)
        if len(found) != len(batch) + 1 or found[:-1] != batch:
            wanted = f"({', '.join(map(str, batch))}, F), the features of each observation"
            raise not_allowed(f"extensions: torso {own.name}", f"shape {found}", wanted)
        return features

    return torso


def _keys(key: jax.Array, outer_critic: bool) -> Sequence[jax.Array]:
    """Keys of policy, value and outer value; the first two do not depend on the third."""
    key_policy, key_value = jax.random.split(key)
    return key_policy, key_value, jax.random.fold_in(key, 2) if outer_critic else key


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
