"""Torsos: what counts as a picture, how it is turned and scaled, and that nothing is lost."""

import math

import gymnasium as gym
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from selftuning.agents import normalization, torsos
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import AgentSettings
from selftuning.envs.spaces import SpacesOnly, agent_spaces


def box(*axes, low=0, high=255, dtype=np.uint8):
    return spaces.Box(low, high, axes, dtype)


def floats(*axes, low=0.0, high=1.0):
    return box(*axes, low=low, high=high, dtype=np.float32)


def torso_of(space, **settings):
    torso = torsos.torso_for(space, AgentSettings(**({"hidden": (5,)} | settings)))
    return hk.without_apply_rng(hk.transform(torso))


def view(space):
    class Env:
        observation_space = space
        action_space = spaces.Discrete(2)

    return agent_spaces("Mine-v0", Env)[0]


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (box(84, 84, 4), (84, 84, 4)),
        (box(4, 84, 84), (84, 84, 4)),
        (box(210, 160, 3), (210, 160, 3)),
        (box(3, 210, 160), (210, 160, 3)),
        (box(84, 84), (84, 84, 1)),
        (box(4, 84, 84, 3), (84, 84, 12)),
        (box(4, 84, 84, 1), (84, 84, 4)),
        (floats(10, 10, 10), (10, 10, 10)),
        (floats(10, 10, 16), (10, 10, 16)),
        (floats(6, 10, 10), (10, 10, 6)),
        (box(7, 7, 3), (7, 7, 3)),
        (box(10, 10, 4, low=0, high=1, dtype=np.bool_), (10, 10, 4)),
        (spaces.MultiBinary([10, 10, 4]), (10, 10, 4)),
        (box(128), None),
        (box(4, 4), None),
        (floats(84, 84), None),
        (spaces.Discrete(3), None),
    ],
    ids=str,
)
def test_what_is_a_picture(space, shape):
    seen = torsos.picture(space)
    assert (seen and seen.shape) == shape


@pytest.mark.parametrize("side", [1, 2, 3, 7, 10, 15, 16, 20, 35, 36, 64, 84, 96])
def test_something_is_left_of_pictures_of_every_size(side):
    torso = torso_of(floats(side, side, 3))
    shapes = jax.eval_shape(torso.init, jax.random.PRNGKey(0), jnp.zeros((1, side, side, 3)))
    assert 0 < shapes["mlp/~/linear_0"]["w"].shape[0] <= 7744
    image = np.zeros((2, 5, side, side, 3), np.float32)
    assert jax.eval_shape(torso.apply, shapes, image).shape == (2, 5, 5)


def features(space, image, **settings):
    """With the parameters of a first key: they are of equal shapes for equal pictures."""
    torso = torso_of(space, **settings)
    params = torso.init(jax.random.PRNGKey(0), image)
    return torso.apply(params, image)


def test_the_place_of_channels_and_the_unit_of_pixels_do_not_matter():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 12, 12, 4), dtype=np.uint8)
    expected = features(box(12, 12, 4), pixels)
    moved = np.moveaxis(pixels, -1, 1)
    np.testing.assert_allclose(features(box(4, 12, 12), moved), expected, rtol=1e-5)
    unit = pixels.astype(np.float32) / 255
    np.testing.assert_allclose(features(floats(12, 12, 4), unit), expected, rtol=1e-4)
    about_zero = floats(12, 12, 4, low=-1.0, high=3.0)
    np.testing.assert_allclose(features(about_zero, 4 * unit - 1), expected, rtol=1e-4, atol=1e-6)
    stacked = np.moveaxis(pixels, -1, 1)[..., None]
    np.testing.assert_allclose(features(box(4, 12, 12, 1), stacked), expected, rtol=1e-5)
    # Without bounds pixels are what they are.
    np.testing.assert_allclose(
        features(floats(12, 12, 4, low=-np.inf, high=np.inf), unit), expected, rtol=1e-4
    )


def test_dense_layers_see_scaled_pictures_too():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 2), dtype=np.uint8)
    flat = (pixels / 255).reshape(3, 72).astype(np.float32)
    dense = features(box(6, 6, 2), pixels, torso="mlp")
    np.testing.assert_allclose(dense, features(floats(72), flat), rtol=1e-5)


def test_vectors_are_left_alone():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    mlp = hk.without_apply_rng(
        hk.transform(lambda x: hk.nets.MLP((5,), activation=jnp.tanh, activate_final=True)(x))
    )
    params = mlp.init(jax.random.PRNGKey(0), x)
    space = floats(3, low=-np.inf, high=np.inf)
    np.testing.assert_array_equal(features(space, x), mlp.apply(params, x))


def test_a_picture_beside_numbers_in_a_dict():
    """The picture is convolved, and features are those of its parts, computed by themselves."""
    space = spaces.Dict(
        {
            "at": floats(2, low=-9.0, high=9.0),
            "camera": box(3, 12, 12),
            "held": spaces.Tuple([spaces.Discrete(3, start=1), spaces.MultiBinary(2)]),
        }
    )
    one = space.sample(mask=None)
    flat = np.asarray(spaces.flatten(space, one), np.float32)[None]
    seen = view(space)
    assert seen.shape == (2 + 3 * 12 * 12 + 3 + 2,)
    torso = torso_of(seen, hidden=())
    params = torso.init(jax.random.PRNGKey(0), flat)
    x = torso.apply(params, flat)[0]
    picture = torso_of(box(3, 12, 12), hidden=())
    camera = picture.apply(params, one["camera"][None])[0]
    held = np.eye(3)[one["held"][0] - 1], one["held"][1]
    np.testing.assert_allclose(x, np.concatenate([one["at"], camera, *held]), rtol=1e-4, atol=1e-6)


def test_convolutions_need_a_picture():
    for space in (floats(4), spaces.Discrete(3), view(spaces.Dict({"a": floats(2)}))):
        with pytest.raises(ConfigError, match=r"^agent.torso: conv is not allowed.*auto \| mlp"):
            torso_of(space, torso="conv")
    assert torsos.picture(floats(5, 6), "conv").shape == (5, 6, 1)


def test_version_0_2_saw_large_pictures_in_bytes_alone():
    assert torsos.picture(floats(10, 10, 4), "nature") is None
    assert torsos.picture(box(84, 84), "nature") is None
    image = np.zeros((1, 44, 44, 3), np.uint8)
    torso = torso_of(box(44, 44, 3), torso="nature")
    shapes = jax.eval_shape(torso.init, jax.random.PRNGKey(0), image)
    assert shapes["mlp/~/linear_0"]["w"].shape[0] == math.prod((6, 6, 64))


def test_observations_from_gymnasium_are_what_the_parts_say():
    space = spaces.Dict({"b": floats(2), "a": box(3, 3, 1)})
    assert [part.shape for part in view(space).parts] == [(3, 3, 1), (2,)]
    assert isinstance(gym.vector.utils.batch_space(view(space), 3), spaces.Box)


def test_running_statistics_are_those_of_numbers_alone():
    """A mask, a choice or a pixel that was shifted would be another one."""
    parts = {"action_mask": spaces.MultiBinary(2), "camera": box(3, 3, 1), "speed": floats(2)}
    space = agent_spaces("Mine-v0", SpacesOnly(spaces.Dict(parts), spaces.Discrete(2)))[0]
    np.testing.assert_array_equal(torsos.measured(space), [False] * 11 + [True] * 2)
    assert torsos.measured(floats(3)).all()
    for other in (box(84, 84), box(7, 7, 3), spaces.Discrete(3)):
        assert not torsos.measured(other).any()
    made = normalization.make(space, AgentSettings(), 2, 0.99)
    settled = made.init()._replace(
        observation=normalization.Moments(jnp.array(9.0), jnp.full(13, 5.0), jnp.full(13, 4.0))
    )
    scales = made.scales(settled)
    np.testing.assert_array_equal(scales.shift, [0] * 11 + [5] * 2)
    np.testing.assert_allclose(scales.factor, [1] * 11 + [0.5] * 2, rtol=1e-3)
