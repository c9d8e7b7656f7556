"""Environments that misbehave, each in one way, as those of users do."""

import os
import random
import sys
import time

import gymnasium as gym
import numpy as np
from gymnasium import spaces

AT = 3  # the step at which they do it
GOOD = np.zeros(2, np.float32)


class Odd(gym.Env):
    """Behaves; those below change one thing. Episodes have five steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode, self.t, self.steps = render_mode, 0, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.seen(), self.said()

    def step(self, action):
        self.t, self.steps = self.t + 1, self.steps + 1
        if self.steps == AT:
            return self.odd_step()
        return self.usual_step()

    def usual_step(self):
        return self.seen(), self.paid(), self.t >= 5, False, self.said()

    def odd_step(self):
        return self.usual_step()

    def seen(self):
        return GOOD

    def paid(self):
        return 1.0

    def said(self):
        return {}

    def render(self):
        return np.zeros((8, 8, 3), np.uint8)


def returning(**parts):
    """An environment whose step AT returns something else."""
    names = ("observation", "reward", "terminated", "truncated", "info")

    class Returning(Odd):
        def odd_step(self):
            usual = dict(zip(names, self.usual_step(), strict=True))
            return tuple((usual | parts).values())

    return Returning


def changed(**attributes):
    """An environment with other attributes, of which functions are methods."""
    return type("Changed", (Odd,), attributes)


def seeing(space, observation):
    """An environment with an observation space of its own, and what it shows of it."""
    return changed(observation_space=space, seen=lambda self: observation)


def raising(error):
    def method(*_, **__):
        raise error

    return method


class SimulatorError(Exception):
    """An error that cannot even be printed."""

    def __str__(self):
        raise ValueError("no text")


class ClosesItself(Odd):
    def odd_step(self):
        self.close()
        self.state = None
        return self.state["position"], 1.0, False, False, {}


class OneBuffer(Odd):
    """Returns one array, which it writes into, and spoils when a new episode begins."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.buffer = np.zeros(2, np.float32)

    def seen(self):
        self.buffer[:] = self.t / 10
        return self.buffer


class GlobalRandom(Odd):
    def seen(self):
        return np.array([np.random.uniform(-1, 1), random.uniform(-1, 1)], np.float32)  # noqa: NPY002


class Noisy(Odd):
    def odd_step(self):
        print("\n".join("x" * 80 for _ in range(5000)))
        print("\x1b[2J", file=sys.stderr)
        return self.usual_step()


class Hangs(Odd):
    def odd_step(self):
        time.sleep(1000)


class HangsInReset(Odd):
    def reset(self, *, seed=None, options=None):
        while True:
            pass


class Killed(Odd):
    def odd_step(self):
        os.kill(os.getpid(), 9)


class Leaves(Odd):
    def odd_step(self):
        sys.exit("licence expired")


class ClosingRaises(Odd):
    def close(self):
        raise RuntimeError("already closed")


class DrawingRaises(Odd):
    def render(self):
        raise RuntimeError("no display")


class FloatPicture(Odd):
    def render(self):
        return np.zeros((8, 8, 3))


class NoPicture(Odd):
    def render(self):
        return None


class NoRenderArgument(Odd):
    def __init__(self):
        super().__init__()
