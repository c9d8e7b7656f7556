"""Acrobot-v1 as a functional environment, equal to Gymnasium's step by step."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

GRAVITY = 9.8
SECONDS_PER_STEP = 0.2
SPEED_LIMITS = (4 * math.pi, 9 * math.pi)
START_RANGE = 0.1

_HIGH = np.array([1.0, 1.0, 1.0, 1.0, *SPEED_LIMITS], np.float32)


class Acrobot(FuncEnv):
    """Swing the end of two links above a height: reward -1 a step, and 0 for the last one.

    A state is one float32 array [4]: the angle of the first link, 0 if it hangs down, the angle
    of the second against it, and their velocities. The observation [6] has cosine and sine of
    both angles in place of them. Actions 0, 1 and 2 turn the joint between the links by a torque
    of -1, 0 and 1. The time limit of 500 steps is not part of it: it belongs to the task.
    `params` are factors of `physics`.
    """

    physics = ("length",)  # of both links; in Gymnasium's Acrobot gravity cannot be set
    observation_space = spaces.Box(-_HIGH, _HIGH, dtype=np.float32)
    action_space = spaces.Discrete(3)

    def initial(self, rng: jax.Array, params: Any = None) -> jax.Array:
        """A start state [4]."""
        return self.initial_batch(rng, 1)[0]

    def initial_batch(self, rng: jax.Array, num: int) -> jax.Array:
        """`num` start states [num, 4] from one key."""
        return jax.random.uniform(rng, (num, 4), jnp.float32, -START_RANGE, START_RANGE)

    def transition(self, state: jax.Array, action: Any, rng: Any, params: Any = None) -> jax.Array:
        """State [4] after one Runge-Kutta step of fourth order."""
        (length,) = (1.0,) if params is None else params
        torque = jnp.asarray(action - 1, jnp.float32)
        half = SECONDS_PER_STEP / 2
        k1 = _velocity(state, torque, length)
        k2 = _velocity(state + half * k1, torque, length)
        k3 = _velocity(state + half * k2, torque, length)
        k4 = _velocity(state + SECONDS_PER_STEP * k3, torque, length)
        state = state + SECONDS_PER_STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        angles, speeds = state[:2], state[2:]
        angles = angles - 2 * math.pi * jnp.round(angles / (2 * math.pi))
        limits = jnp.asarray(SPEED_LIMITS, jnp.float32)
        return jnp.concatenate([angles, jnp.clip(speeds, -limits, limits)])

    def observation(self, state: jax.Array, rng: Any, params: Any = None) -> jax.Array:
        """Cosine and sine of both angles, and both velocities: [6]."""
        cos, sin = jnp.cos(state), jnp.sin(state)
        return jnp.stack([cos[0], sin[0], cos[1], sin[1], state[2], state[3]])

    def reward(
        self, state: jax.Array, action: Any, next_state: jax.Array, rng: Any, params: Any = None
    ) -> jax.Array:
        """-1, but 0 at the step that ends the episode."""
        return jnp.where(self.terminal(next_state, rng), jnp.float32(0.0), jnp.float32(-1.0))

    def terminal(self, state: jax.Array, rng: Any, params: Any = None) -> jax.Array:
        """Whether the end is more than one link above where the first one is fixed."""
        return -jnp.cos(state[0]) - jnp.cos(state[0] + state[1]) > 1.0


def _velocity(state: jax.Array, torque: jax.Array, length: Any) -> jax.Array:
    """Time derivative [4] of the state.

    The equations of Sutton and Barto's book, which Gymnasium has by default, with its masses,
    lengths and moments of inertia (all 1; centers of mass at 0.5) put in, the lengths times a
    factor. It writes the sines of
    gravity as cosines of angles less a right one: in float32 the subtraction would cost a digit.
    """
    theta1, theta2, speed1, speed2 = state
    cos2, sin2 = jnp.cos(theta2), jnp.sin(theta2)
    # Sums of constants first: with a factor of 1 they are what they are without one, to the bit.
    area, torque_of_gravity = length * length, length * GRAVITY
    d1 = (2.0 + 1.5 * area) + area * cos2
    d2 = (1.0 + 0.25 * area) + (0.5 * area) * cos2
    phi2 = (0.5 * torque_of_gravity) * jnp.sin(theta1 + theta2)
    spinning = (0.5 * speed2 + speed1) * speed2 * sin2
    phi1 = phi2 + (1.5 * torque_of_gravity) * jnp.sin(theta1) - area * spinning
    ratio = d2 / d1
    centrifugal = (0.5 * area) * jnp.square(speed1) * sin2
    acceleration2 = (torque + ratio * phi1 - centrifugal - phi2) / (
        (1.0 + 0.25 * area) - ratio * d2
    )
    acceleration1 = -(d2 * acceleration2 + phi1) / d1
    return jnp.stack([speed1, speed2, acceleration1, acceleration2])
