"""Policy and value on shared convolutions are those on convolutions of their own that are equal."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from selftuning.agents import actor_critic, networks, ppo
from selftuning.agents.memory import Moment
from selftuning.agents.trajectory import Experience, Trajectory
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import AgentSettings, RunSettings
from selftuning.envs.spaces import SpacesOnly, agent_spaces
from tests.quick_jit import quick_jit
from tests.test_agents_self_tuning import B, T, trajectory

PARTS = {
    "action_mask": spaces.MultiBinary(3),
    "camera": spaces.Box(0, 1, (4, 4, 2), np.float32),
    "speed": spaces.Box(-1, 1, (2,), np.float32),
}
SPACES = agent_spaces("Mine-v0", SpacesOnly(spaces.Dict(PARTS), spaces.Discrete(3)))
SETTINGS = RunSettings(num_envs=B, agent=AgentSettings(hidden=(6,), epochs=1, minibatches=1))
KEY = jax.random.PRNGKey(0)
MAKE = {"actor_critic": actor_critic.make, "ppo": ppo.make}


def settings_of(shared, **changes):
    return replace(SETTINGS, agent=replace(SETTINGS.agent, share_convolutions=shared, **changes))


def both(**changes):
    """Networks with shared convolutions and without, and equal parameters for them."""
    nets = [networks.make(*SPACES, settings_of(x, **changes).agent) for x in (True, False)]
    params = random(nets[0].init(KEY))
    return nets, (params, apart(params))


def random(params):
    """Policies far from uniform."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) / 2, x.dtype), params)


def apart(params):
    """A copy of the convolutions for each network."""
    rest = {name: x for name, x in params.items() if name != "encoder"}
    return {name: x | params["encoder"] for name, x in rest.items()}


def observations(seed, *batch):
    rng = np.random.default_rng(seed)
    seen = rng.random((*batch, *SPACES[0].shape), np.float32)
    seen[..., :3] = rng.random((*batch, 3)) < 0.6
    return jnp.asarray(seen)


def made(seed):
    rng = np.random.default_rng(seed)
    one: Trajectory = trajectory(seed, spaces.Discrete(3))
    seen = observations(seed, T, B)
    allowed = jnp.where(seen[..., :3].any(-1, keepdims=True), seen[..., :3], 1)
    return Experience(
        one._replace(
            observation=seen,
            next_observation=observations(seed + 1, T, B),
            action=jnp.argmax(allowed * rng.random(allowed.shape), -1),
        ),
        jnp.zeros(0),
    )


def test_policies_and_values_are_those_of_networks_apart():
    (shared, alone), params = both(outer_critic=True)
    assert set(params[0]) == {"encoder", "policy", "value", "outer_value"}
    for batch in ((5,), (T, B)):
        seen = observations(0, *batch)
        known = shared.see(params[0], seen)
        for name in ("outputs", "values", "value", "outer_value"):
            expected = getattr(alone, name)(params[1], seen)
            for given in (seen, known):
                got = getattr(shared, name)(params[0], given)
                np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
        probabilities = shared.policy(params[0], seen).probs
        forbidden = (seen[..., :3] == 0) & (seen[..., :3] > 0).any(-1, keepdims=True)
        assert forbidden.any() and (probabilities[forbidden] == 0).all()


def test_a_recurrent_agent_remembers_the_same():
    (shared, alone), params = both(core="gru")
    seen = observations(0, B)
    moments = shared.memory.begin(seen), alone.memory.begin(seen)
    for step in range(1, 3):
        ended, coming = jnp.arange(B) == step, observations(step, B)
        moments = [
            nets.memory.follow(p, moment, coming, ended)
            for nets, p, moment in zip((shared, alone), params, moments, strict=True)
        ]
        assert all(isinstance(moment, Moment) for moment in moments)
        np.testing.assert_array_equal(moments[0].observation, coming)
        for got, expected in zip(*map(jax.tree.leaves, moments), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
        values = [
            nets.value(p, m) for nets, p, m in zip((shared, alone), params, moments, strict=True)
        ]
        np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-5)


def gradient_of(algorithm, shared, params):
    """Of the inner loss, by network and layer, and the products in it."""
    settings = settings_of(shared)
    built = MAKE[algorithm](*SPACES, settings)
    batch, packed = made(0), built.packing.pack(params)
    if built.reuse is not None:
        whole = built.reuse.prepare(packed, batch)
        batch = built.reuse.take(whole, built.reuse.order(KEY)[0])
    values = {name: spec.start for name, spec in settings.hyperparameters.items()}
    constant = jax.tree.map(lambda x: x, packed)

    def gradient(packed):
        return jax.grad(built.problem.inner_loss)(packed, constant, values, batch)

    text = str(jax.make_jaxpr(gradient)(packed))
    return built.packing.unpack(quick_jit(gradient)(packed)), text.count("dot_general")


@pytest.mark.parametrize("algorithm", MAKE)
def test_the_gradient_of_shared_convolutions_is_the_sum_of_both(algorithm):
    _, params = both()
    got, products = gradient_of(algorithm, True, params[0])
    expected, more_products = gradient_of(algorithm, False, params[1])
    for layer, kernels in got["encoder"].items():
        for name, gradient in kernels.items():
            total = expected["policy"][layer][name] + expected["value"][layer][name]
            assert np.abs(total).max() > 1e-4
            np.testing.assert_allclose(gradient, total, rtol=1e-3, atol=1e-6)
    for network in ("policy", "value"):
        for layer in got[network]:
            for name, gradient in got[network][layer].items():
                other = expected[network][layer][name]
                np.testing.assert_allclose(gradient, other, rtol=1e-3, atol=1e-6)
    assert products < more_products  # seen once, not once by each


def test_where_there_is_nothing_to_share():
    vector = spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(2)
    for seen, torso in ((vector, "auto"), (SPACES, "mlp")):
        refused = rf"^agent.share_convolutions: true is not allowed.*torso {torso}"
        with pytest.raises(ConfigError, match=refused):
            networks.make(*seen, settings_of(True, torso=torso).agent)
        params = networks.make(*seen, settings_of(False, torso=torso).agent).init(KEY)
        assert set(params) == {"policy", "value"}
