"""Environments that can be saved in a way of their own, or not at all."""

import threading

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle


class Walk(gym.Env):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.left = self.np_random.normal(size=2), int(self.np_random.integers(5, 30))
        return self.place.astype(np.float32), {}

    def step(self, action):
        self.left -= 1
        self.place = self.place + self.np_random.normal(size=2) + action
        reward = float(self.place.sum() + np.random.uniform())  # noqa: NPY002
        return self.place.astype(np.float32), reward, self.left <= 0, False, {}


class Tape(Walk):
    """It cannot be pickled, and says its state."""

    def __init__(self):
        self.lock = threading.Lock()

    def get_state(self):
        return self.place.copy(), self.left, self.np_random.bit_generator.state

    def set_state(self, state):
        self.place, self.left, self.np_random.bit_generator.state = state


class Forgets(Walk, EzPickle):
    """It is pickled by its arguments, of which it has none."""

    def __init__(self):
        EzPickle.__init__(self)
        self.place, self.left = np.zeros(2), 1


class Locked(Walk):
    def __init__(self):
        self.lock = threading.Lock()


for _env in (Tape, Forgets, Locked):
    gym.register(f"{_env.__name__}-v0", f"tests.odd_states:{_env.__name__}")
