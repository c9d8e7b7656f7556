"""MountainCar-v0 as a functional environment, equal to Gymnasium's step by step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

LEFT_END, RIGHT_END = -1.2, 0.6
SPEED_LIMIT = 0.07
GOAL = 0.5
FORCE = 0.001
GRAVITY = 0.0025
START_RANGE = (-0.6, -0.4)


class MountainCar(FuncEnv):
    """Drive out of a valley whose slope is too steep for the engine: reward -1 a step.

    State and observation are one float32 array [2]: position and velocity. Actions 0, 1 and 2 push
    to the left, not at all, and to the right. The wall on the left stops the car. The time limit of
    200 steps is not part of it: it belongs to the task. `params` are factors of `physics`.
    """

    physics = ("gravity", "force")
    observation_space = spaces.Box(
        np.array([LEFT_END, -SPEED_LIMIT], np.float32),
        np.array([RIGHT_END, SPEED_LIMIT], np.float32),
        dtype=np.float32,
    )
    action_space = spaces.Discrete(3)

    def initial(self, rng: jax.Array, params: Any = None) -> jax.Array:
        """A start state [2]."""
        return self.initial_batch(rng, 1)[0]

    def initial_batch(self, rng: jax.Array, num: int) -> jax.Array:
        """`num` start states [num, 2] from one key, at rest."""
        position = jax.random.uniform(rng, (num,), jnp.float32, *START_RANGE)
        return jnp.stack([position, jnp.zeros(num, jnp.float32)], axis=-1)

    def transition(self, state: jax.Array, action: Any, rng: Any, params: Any = None) -> jax.Array:
        """State [2] after one step."""
        gravity, force = (1.0, 1.0) if params is None else params
        position, velocity = state
        push = jnp.asarray(action - 1, jnp.float32) * (force * FORCE)
        velocity = velocity + (push - jnp.cos(3 * position) * (gravity * GRAVITY))
        velocity = jnp.clip(velocity, -SPEED_LIMIT, SPEED_LIMIT)
        position = jnp.clip(position + velocity, LEFT_END, RIGHT_END)
        into_the_wall = (position == LEFT_END) & (velocity < 0)
        return jnp.stack([position, jnp.where(into_the_wall, 0.0, velocity)])

    def observation(self, state: jax.Array, rng: Any, params: Any = None) -> jax.Array:
        """The state itself [2]."""
        return state

    def reward(
        self, state: jax.Array, action: Any, next_state: jax.Array, rng: Any, params: Any = None
    ) -> jax.Array:
        """-1 at every step, also at the one that ends the episode."""
        return jnp.float32(-1.0)

    def terminal(self, state: jax.Array, rng: Any, params: Any = None) -> jax.Array:
        """Whether the car is at the flag, and does not roll back from it."""
        position, velocity = state
        return (position >= GOAL) & (velocity >= 0)
