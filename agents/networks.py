"""Haiku networks chosen from the spaces of a task: policy and value, several heads.

Policy and value network have nothing in common but, if that is asked for, convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import distrax
import gymnasium as gym
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from selftuning.agents import cores, policies, torsos
from selftuning.agents.memory import NONE, Memory, Moment, changed, observation_of, recurrent
from selftuning.configs.errors import not_allowed
from selftuning.configs.own_parts import Part
from selftuning.configs.settings import AgentSettings
from selftuning.envs.spaces import shape

Params = Any
_NETWORKS = ("policy", "value", "outputs", "values", "outer_value")
_WIDTH = 64  # of a recurrent core where there is no hidden layer


class Seen(NamedTuple):
    """What `Networks.see` made of observations, with their memory if there is one."""

    seen: Any


class Networks(NamedTuple):
    """Policies and values of an observation; all take any batch shape in front.

    H heads share the torso of the policy network, and that of the value network. The first
    is the one that acts.

    Attributes:
      init: key -> parameters, {"policy": ..., "value": ...}, and "outer_value" where there is
        an outer critic, "encoder" where convolutions are shared.
      see: (params, observation) -> what all networks take in its place. Where more than one of
        them looks at an observation, what they share is computed once.
      policy: (params, observation [..., *obs]) -> distribution over actions [...] of the first
        head.
      value: (params, observation [..., *obs]) -> value [...] of the first head.
      outputs: (params, observation) -> outputs [H, ..., size] of the policies of all heads.
      distribution: outputs [..., size] -> distribution over actions [...].
      to_task: actions [..., *action] of a trajectory -> as the task expects them.
      values: (params, observation) -> values [H, ...] of all heads.
      outer_value: (params, observation [..., *obs]) -> value [...] of the outer critic.
      memory: of all networks; they take what `agents.memory` says in place of observations.
    """

    init: Callable[[jax.Array], Params]
    see: Callable[[Params, Any], Any]
    policy: Callable[[Params, jax.Array], distrax.Distribution]
    value: Callable[[Params, jax.Array], jax.Array]
    outputs: Callable[[Params, jax.Array], jax.Array]
    distribution: Callable[[jax.Array], distrax.Distribution]
    to_task: Callable[[Any], Any]
    values: Callable[[Params, jax.Array], jax.Array]
    outer_value: Callable[[Params, jax.Array], jax.Array]
    memory: Memory


def make(
    observation_space: gym.Space,
    action_space: gym.Space,
    settings: AgentSettings,
    own_torso: Part | None = None,
) -> Networks:
    """Networks for the spaces that `envs.spaces` admits, on a torso of the user's own if given.

    Raises:
      ConfigError: if there are no convolutions where they are to be there, or to be shared.
    """
    if not settings.share_convolutions:
        return _apart(observation_space, action_space, settings, own_torso)
    encoder = torsos.encoder_for(observation_space, settings) if own_torso is None else None
    if encoder is None:
        what = f"observations {observation_space}, torso {settings.torso}"
        what = what if own_torso is None else f"the torso {own_torso.name}"
        raise not_allowed("agent.share_convolutions", "true", f"false for {what}")
    behind = replace(settings, torso="mlp")
    return _on(encoder, observation_space, _apart(encoder.features, action_space, behind))


def _on(encoder: torsos.Encoder, space: gym.Space, rest: Networks) -> Networks:
    """Networks of features, with the encoder that they share in front."""
    encode = _in_one_batch(lambda params, x: encoder.apply(params, x)[None], len(shape(space)))

    def init(key):
        example = np.zeros((1, *shape(space)), space.dtype)
        return rest.init(key) | {"encoder": encoder.init(jax.random.fold_in(key, 3), example)}

    def see(params, observation):
        if isinstance(observation, Seen):
            return observation
        return Seen(changed(lambda x: encode(params["encoder"], x)[0], observation))

    def behind(network):
        return lambda params, observation: network(params, see(params, observation).seen)

    def follow(params, seen, observation, ended):
        return rest.memory.follow(params, see(params, seen).seen, observation, ended)

    each = {name: behind(getattr(rest, name)) for name in _NETWORKS}
    return rest._replace(init=init, see=see, memory=rest.memory._replace(follow=follow), **each)


def _apart(
    observation_space: gym.Space,
    action_space: gym.Space,
    settings: AgentSettings,
    own_torso: Part | None = None,
) -> Networks:
    """Networks that share nothing."""
    torso = torsos.torso_for(observation_space, settings, own_torso)
    policy = policies.make(action_space, settings.action_bounds)
    heads, rank = settings.heads, len(shape(observation_space))
    width = settings.hidden[-1] if settings.hidden else _WIDTH
    core = None if settings.core == "none" else cores.gru(torso, rank, width)
    features = torso if core is None else core.features

    def outputs(observation, size, **init):
        """Linear outputs [H, ..., size] of all heads."""
        x = hk.Linear(heads * size, **init)(features(observation))
        return jnp.moveaxis(x.reshape(*x.shape[:-1], heads, size), -2, 0)

    def of_policies(observation):
        # A small last layer: the first policy is close to uniform whatever the observation.
        init = hk.initializers.VarianceScaling(1e-4)
        x = outputs(observation, policy.num_outputs, w_init=init)
        x = policies.masked(x, observation_of(observation), observation_space)
        if not policy.num_scales:
            return x
        first = hk.initializers.Constant(policy.first_scale)
        scales = hk.get_parameter("log_scale", (heads, policy.num_scales), x.dtype, first)
        scales = scales.reshape(heads, *[1] * (x.ndim - 2), policy.num_scales)
        return jnp.concatenate([x, jnp.broadcast_to(scales, x.shape)], -1)

    def values(observation):
        return jnp.squeeze(outputs(observation, 1), -1)

    policy_net = hk.without_apply_rng(hk.transform(of_policies))
    value_net = hk.without_apply_rng(hk.transform(values))

    def init(key):
        key_policy, key_value, key_outer = _keys(key, settings.outer_critic)
        empty = np.zeros((1, *shape(observation_space)), observation_space.dtype)
        observation = empty if core is None else Moment(empty, jnp.zeros((1, width)))
        params = {
            "policy": policy_net.init(key_policy, observation),
            "value": value_net.init(key_value, observation),
        }
        if settings.outer_critic:
            params["outer_value"] = value_net.init(key_outer, observation)
        return params

    names = ("policy", "value", "outer_value") if settings.outer_critic else ("policy", "value")

    memory = NONE
    if core is None:
        policy_of, value_of = (_in_one_batch(net.apply, rank) for net in (policy_net, value_net))
    else:
        remember = hk.without_apply_rng(hk.transform(core.remember)).apply

        def start(num_envs):
            return {name: jnp.zeros((num_envs, width)) for name in names}

        def remembered(params, moment):
            return {name: remember(params[name], cores.of_network(moment, name)) for name in names}

        memory = recurrent(start, remembered)
        policy_of, value_of = policy_net.apply, value_net.apply

    def seen(observation, name):
        return observation if core is None else cores.of_network(observation, name)

    def values_of(name):
        return lambda params, o: value_of(params[name], seen(o, name))

    def outputs_of(params, o):
        return policy_of(params["policy"], seen(o, "policy"))

    return Networks(
        init,
        lambda params, o: o,
        lambda params, o: policy.distribution(outputs_of(params, o)[0]),
        lambda params, o: values_of("value")(params, o)[0],
        outputs_of,
        policy.distribution,
        policy.to_task,
        values_of("value"),
        lambda params, o: values_of("outer_value")(params, o)[0],
        memory,
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


def _keys(key: jax.Array, outer_critic: bool) -> Sequence[jax.Array]:
    """Keys of policy, value and outer value; the first two do not depend on the third."""
    key_policy, key_value = jax.random.split(key)
    return key_policy, key_value, jax.random.fold_in(key, 2) if outer_critic else key
