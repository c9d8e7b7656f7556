"""Environments in processes of their own: the same numbers, and what happens when one fails."""

import os
import subprocess
import sys
from collections import deque
from contextlib import closing

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium import spaces

from selftuning.configs.errors import ConfigError, FailedEnvironmentError
from selftuning.configs.settings import EnvSettings
from selftuning.envs import registry, single
from selftuning.envs.vector import host_task
from selftuning.envs.workers import in_workers

PLAIN = EnvSettings()


class Fragile(gym.Env):
    """Walks at random; ends its process, or raises, at a step that its arguments say."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self, raises: int = 0, exits: int = 0):
        self._raises, self._exits, self._step = raises, exits, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.normal(size=2).astype(np.float32), {}

    def step(self, action):
        self._step += 1
        if self._step == self._raises:
            raise ConnectionError("simulator went away")
        if self._step == self._exits:
            os._exit(7)
        ended = bool(self.np_random.random() < 0.1)
        return self.np_random.normal(size=2).astype(np.float32), float(action), ended, False, {}


def specification(**kwargs):
    spec = gym.envs.registration.EnvSpec("Fragile-v0", Fragile, max_episode_steps=20)
    return single.specification(spec, EnvSettings(env_kwargs=kwargs))


def test_results_are_those_of_one_process():
    """Five environments in two workers, past ends of episodes and a second reset."""
    with (
        closing(host_task(specification(), 5, PLAIN)) as one,
        closing(in_workers(specification(), 5, PLAIN, 2)) as several,
    ):
        assert several.spec.observation_space == one.spec.observation_space
        assert (several.spec.env_id, several.num_envs) == (one.spec.env_id, 5)
        for seed in (3, 4):
            np.testing.assert_array_equal(several.reset(seed), one.reset(seed))
            for step in range(30):
                action = np.random.default_rng(step).integers(0, 3, 5)
                pair = several.step(action), one.step(action)
                jax.tree.map(np.testing.assert_array_equal, *pair)
                assert all(a.dtype == b.dtype for a, b in zip(*pair, strict=True))


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"raises": 3}, r"environment 0 of 3, its step 3: ConnectionError: simulator went away"),
        ({"exits": 2}, r"environment 0 of 3, its step 2: its process ended with exit code 7"),
    ],
)
def test_a_failure_is_one_line_and_leaves_no_process(kwargs, said):
    with closing(in_workers(specification(**kwargs), 3, PLAIN, 2)) as task:
        task.reset(0)
        with pytest.raises(FailedEnvironmentError, match=said):
            deque((task.step(np.zeros(3, int)) for _ in range(4)), maxlen=0)


def test_a_script_that_trains_whenever_it_is_read_is_told_so(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from selftuning.envs import registry\nregistry.make('CartPole-v1', 2, 'host', workers=2)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "selftuning.configs.errors.ConfigError: env_workers: environments 0 to 0"
    )
    assert last.endswith('must train below `if __name__ == "__main__":` to have env_workers')
    assert done.stderr.count("Traceback") <= 3, "that of this process alone"


def test_what_cannot_be_made_is_an_error_of_the_settings():
    with pytest.raises(ConfigError, match=r"unexpected keyword argument 'speed'"):
        in_workers(specification(speed=1), 2, PLAIN, 2)
    with pytest.raises(ConfigError, match=r"env_workers: 3 is not allowed; it must be at most 2"):
        in_workers(specification(), 2, PLAIN, 3)
    with pytest.raises(ConfigError, match=r"env_workers: 2 .* 0 inside jit"):
        registry.make("CartPole-v1", 4, workers=2)
