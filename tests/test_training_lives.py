"""Lives of runs that were stopped go on at the level that they had come to."""

import gymnasium as gym
import numpy as np
import pytest

import selftuning as st
from selftuning.envs.cartpole import CartPole
from selftuning.envs.continual import Continual, ContinualWrapper
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


@pytest.mark.parametrize("backend", ["jax", "host"])
def test_a_life_that_is_given_as_an_object_is_one(backend, tmp_path):
    """It goes on where it was, and its agent is judged by the level that it learned last."""
    env = {
        "jax": Continual(CartPole(), **LIFE),
        "host": lambda: ContinualWrapper(gym.make("CartPole-v1"), **LIFE),
    }[backend]
    asked = SMALL | {"num_envs": 2, "steps": 4000, "backend": backend}
    asked |= {"out": tmp_path / "run", "checkpoint_every": 0.0}
    st.train(env, callback=stop_after(2), **asked)
    run = st.train(env, **asked)
    level = np.minimum((run.episodes.env_steps // 2 - 1) // 500, 3)
    np.testing.assert_array_equal(np.sign(run.episodes.returns), np.where(level % 2, -1, 1))
    assert run.evaluate(3).mean < 0
    with pytest.raises(st.ConfigError, match=r"eval_every: 1000 is not allowed; .* which agent is"):
        st.train(env, eval_every=1000, **asked | {"out": None})
