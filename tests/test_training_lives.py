"""Lives of runs that were stopped go on at the level that they had come to."""

import gymnasium as gym
import numpy as np
import pytest

import selftuning as st
from selftuning.envs.cartpole import CartPole
from selftuning.envs.continual import Continual, ContinualWrapper
from selftuning.envs.switching_mdp import SwitchingMDP
from selftuning.envs.two_colors import TwoColors
from tests.small_runs import SMALL
from tests.test_training_going_on import stop_after


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_a_life_goes_on_where_it_was_and_is_evaluated_where_it_ended(backend, tmp_path):
    """Signs of rewards say which level it is."""
    life = {"change": "reward_sign", "switch_every": 500, "levels": 4, "block": 0}
    asked = SMALL | {"num_envs": 2, "steps": 4000, "env_kwargs": life}
    asked |= {"backend": backend, "out": tmp_path / "run", "checkpoint_every": 0.0}
    st.train("ContinualCartPole", callback=stop_after(2), **asked)
    run = st.train("ContinualCartPole", **asked)
    assert run.agent.env_steps >= 4000
    level = np.minimum((run.episodes.env_steps // 2 - 1) // 500, 3)
    np.testing.assert_array_equal(np.sign(run.episodes.returns), np.where(level % 2, -1, 1))
    assert run.evaluate(3).mean < 0 and st.load(tmp_path / "run").evaluate(3).mean < 0
    with pytest.raises(st.ConfigError, match=r"eval_every: 1000 is not allowed; .* which agent is"):
        st.train("ContinualCartPole", eval_every=1000, **asked | {"out": None})


LIFE = {"change": "reward_sign", "switch_every": 500, "levels": 4, "block": 0}


GIVEN = {
    "functional": Continual(CartPole(), **LIFE),
    "wrapped": lambda: ContinualWrapper(gym.make("CartPole-v1"), **LIFE),
    "registered": lambda: gym.make("ContinualCartPole-v0", disable_env_checker=True, **LIFE),
    "nested": Continual(Continual(CartPole(), **LIFE), change="actions", levels=9),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_a_life_that_is_given_as_an_object_is_one(kind, tmp_path):
    """It goes on where it was, and its agent is judged by the level that it learned last."""
    env = GIVEN[kind]
    backend = "jax" if isinstance(env, Continual) else "host"
    asked = SMALL | {"num_envs": 2, "steps": 4000, "backend": backend}
    asked |= {"out": tmp_path / "run", "checkpoint_every": 0.0}
    st.train(env, callback=stop_after(2), **asked)
    run = st.train(env, **asked)
    level = np.minimum((run.episodes.env_steps // 2 - 1) // 500, 3)
    np.testing.assert_array_equal(np.sign(run.episodes.returns), np.where(level % 2, -1, 1))
    if kind != "nested":  # whose outer life is at its first level
        assert run.evaluate(3).mean < 0
    with pytest.raises(st.ConfigError, match=r"eval_every: 1000 is not allowed; .* which agent is"):
        st.train(env, eval_every=1000, **asked | {"out": None})


def test_lives_inside_of_lives_begin_together():
    inside = Continual(CartPole(), **LIFE)
    later = Continual(inside, change="actions").beginning(700)
    assert later.lifetime.begins == later.env.lifetime.begins == 700
    assert inside.lifetime.begins == 0  # which is a copy
    host = ContinualWrapper(ContinualWrapper(gym.make("CartPole-v1"), **LIFE), change="actions")
    assert host.beginning(700).clock == host.env.clock == 700


@pytest.mark.parametrize(
    ("env", "begins", "said"),
    [
        (CartPole(), 3, "has no such argument"),
        (lambda: gym.make("CartPole-v1"), 3, "has no such argument"),
        (TwoColors(), -3, "-3 is not allowed"),
        (SwitchingMDP(), "x", "'x' is not allowed"),
        (GIVEN["functional"], None, "None is not allowed"),
        (GIVEN["wrapped"], None, "None is not allowed"),
    ],
)
def test_where_a_given_life_begins_is_checked(env, begins, said):
    with pytest.raises(st.ConfigError, match=said):
        st.train(env, env_kwargs={"begins": begins}, **SMALL | {"steps": 1000})
