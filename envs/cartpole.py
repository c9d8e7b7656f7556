"""CartPole-v1 as a functional environment, equal to Gymnasium's step by step."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

GRAVITY = 9.8
POLE_MASS = 0.1
TOTAL_MASS = 1.0 + POLE_MASS
HALF_LENGTH = 0.5
POLE_MASS_LENGTH = POLE_MASS * HALF_LENGTH
FORCE = 10.0
SECONDS_PER_STEP = 0.02
X_LIMIT = 2.4
THETA_LIMIT = 12 * 2 * math.pi / 360
START_RANGE = 0.05

_HIGH = np.array([2 * X_LIMIT, np.inf, 2 * THETA_LIMIT, np.inf], np.float32)


# Not a subclass of gymnasium.envs.phys2d.cartpole.CartPoleFunctional: its pole is another
# one (mass plus length in place of mass times length), all but its `initial` would be
# overridden, and importing it takes flax, a package that nothing else here needs.
class CartPole(FuncEnv):
    """Balance a pole on a cart: reward 1 a step until it falls or the cart leaves the track.

    State and observation are one float32 array [4]: position, velocity, angle and
    angular velocity. Action 0 pushes to the left, 1 to the right. The time limit of
    500 steps is not part of it: it belongs to the task. `params` are factors of `physics`.
    """

    physics = ("gravity", "length")
    observation_space = spaces.Box(-_HIGH, _HIGH, dtype=np.float32)
    action_space = spaces.Discrete(2)

    def initial(self, rng: jax.Array, params: Any = None) -> jax.Array:
        """A start state [4]."""
        return self.initial_batch(rng, 1)[0]

    def initial_batch(self, rng: jax.Array, num: int) -> jax.Array:
        """`num` start states [num, 4] from one key."""
        return jax.random.uniform(rng, (num, 4), jnp.float32, -START_RANGE, START_RANGE)

    def transition(self, state: jax.Array, action: Any, rng: Any, params: Any = None) -> jax.Array:
        """State [4] after one Euler step."""
        gravity, length = (1.0, 1.0) if params is None else params
        _, x_dot, theta, theta_dot = state
        force = jnp.where(action == 1, jnp.float32(FORCE), jnp.float32(-FORCE))
        cos, sin = jnp.cos(theta), jnp.sin(theta)
        push = (force + (length * POLE_MASS_LENGTH) * jnp.square(theta_dot) * sin) / TOTAL_MASS
        theta_acc = ((gravity * GRAVITY) * sin - cos * push) / (
            (length * HALF_LENGTH) * (4.0 / 3.0 - POLE_MASS * jnp.square(cos) / TOTAL_MASS)
        )
        x_acc = push - (length * POLE_MASS_LENGTH) * theta_acc * cos / TOTAL_MASS
        velocity = jnp.stack([x_dot, x_acc, theta_dot, theta_acc])
        return state + SECONDS_PER_STEP * velocity

    def observation(self, state: jax.Array, rng: Any, params: Any = None) -> jax.Array:
        """The state itself [4]."""
        return state

    def reward(
        self, state: jax.Array, action: Any, next_state: jax.Array, rng: Any, params: Any = None
    ) -> jax.Array:
        """1 at every step, also at the one that ends the episode."""
        return jnp.float32(1.0)

    def terminal(self, state: jax.Array, rng: Any, params: Any = None) -> jax.Array:
        """Whether the cart is off the track or the pole has fallen."""
        x, _, theta, _ = state
        return (jnp.abs(x) > X_LIMIT) | (jnp.abs(theta) > THETA_LIMIT)
