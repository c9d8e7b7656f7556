"""Lives of runs that were stopped go on at the level that they had come to."""

import numpy as np
import pytest

import selftuning as st
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
