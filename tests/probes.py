"""Probe environments: tiny ones whose values are known, each a test of one thing.

    task = probe_task(DELAYED_REWARD, num_envs=8)
    values = DELAYED_REWARD.values(gamma)   # to compare with the critic at .observations

In each of them all actions have one best choice or none matters. `values` are those of
the best policy; where actions do not matter they are those of every policy. A critic
that fails at one of them, and an actor that fails at one, is broken in the part that
the probe is named after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

from selftuning.envs.functional import graph_task
from selftuning.envs.task import GraphTask


class Probe(NamedTuple):
    """An environment with what an agent should learn of it."""

    name: str
    env: Callable[[], FuncEnv]
    max_episode_steps: int | None
    observations: np.ndarray  # [N, D] float32: all that an agent ever sees
    values: Callable[[float], np.ndarray]  # discount -> [N] float32: value of each of them
    actions: np.ndarray | None  # [N] int32: the best action at each, None if all are as good


def probe_task(probe: Probe, num_envs: int) -> GraphTask:
    """The probe as a task, with its time limit."""
    return graph_task(
        probe.env(), num_envs, env_id=probe.name, max_episode_steps=probe.max_episode_steps
    )


class OneStep(FuncEnv):
    """Ends after one step with reward 1. The state [1] is the observation, always 0.

    The other one-step probes are this one with another start or reward.
    """

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def initial(self, rng: jax.Array, params: Any = None) -> jax.Array:
        return jnp.zeros(1)

    def transition(self, state: jax.Array, action: Any, rng: Any, params: Any = None) -> jax.Array:
        return state

    def observation(self, state: jax.Array, rng: Any, params: Any = None) -> jax.Array:
        return state

    def reward(
        self, state: jax.Array, action: Any, next_state: Any, rng: Any, params: Any = None
    ) -> Any:
        return 1.0

    def terminal(self, state: jax.Array, rng: Any, params: Any = None) -> Any:
        return True


class SignReward(OneStep):
    """The observation is -1 or 1, as likely, and so is the reward."""

    def initial(self, rng: jax.Array, params: Any = None) -> jax.Array:
        return jax.random.rademacher(rng, (1,), jnp.float32)

    def reward(
        self, state: jax.Array, action: Any, next_state: Any, rng: Any, params: Any = None
    ) -> Any:
        return state[0]


class DelayedReward(OneStep):
    """Two steps, at observations 0 and 1; the reward 1 comes with the second."""

    def transition(self, state: jax.Array, action: Any, rng: Any, params: Any = None) -> jax.Array:
        return state + 1.0

    def observation(self, state: jax.Array, rng: Any, params: Any = None) -> jax.Array:
        return jnp.minimum(state, 1.0)

    def reward(
        self, state: jax.Array, action: Any, next_state: Any, rng: Any, params: Any = None
    ) -> Any:
        return state[0]

    def terminal(self, state: jax.Array, rng: Any, params: Any = None) -> Any:
        return state[0] >= 2.0


class ActionReward(OneStep):
    """Reward 1 for action 1, -1 for action 0."""

    def reward(
        self, state: jax.Array, action: Any, next_state: Any, rng: Any, params: Any = None
    ) -> Any:
        return jnp.where(action == 1, 1.0, -1.0)


class MatchingReward(SignReward):
    """Reward 1 for action 1 at observation 1 and for action 0 at -1; otherwise -1."""

    def reward(
        self, state: jax.Array, action: Any, next_state: Any, rng: Any, params: Any = None
    ) -> Any:
        return jnp.where(action == 1, 1.0, -1.0) * state[0]


class Silent(OneStep):
    """A random walk on a line that actions push, until it is 2 away from 0. It never pays."""

    observation_space = spaces.Box(-8.0, 8.0, (1,), np.float32)

    def initial(self, rng: jax.Array, params: Any = None) -> jax.Array:
        return jax.random.normal(rng, (1,))

    def transition(self, state: jax.Array, action: Any, rng: Any, params: Any = None) -> jax.Array:
        return state + 0.3 * (2 * action - 1 + jax.random.normal(rng, (1,)))

    def reward(
        self, state: jax.Array, action: Any, next_state: Any, rng: Any, params: Any = None
    ) -> Any:
        return 0.0

    def terminal(self, state: jax.Array, rng: Any, params: Any = None) -> Any:
        return jnp.abs(state[0]) >= 2.0


CLOCK_STEPS = 5


class Clock(FuncEnv):
    """Reward 1 a step. The state [] counts the steps, the observation [5] is it as one-hot.

    With `terminates` the episode ends after five steps, and values count down. Without,
    it never does: under a time limit of five steps every value is that of reward 1
    forever, and an agent that takes the limit for an end finds smaller ones.
    """

    observation_space = spaces.Box(0.0, 1.0, (CLOCK_STEPS,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, terminates: bool):
        super().__init__()
        self.terminates = terminates

    def initial(self, rng: jax.Array, params: Any = None) -> jax.Array:
        return jnp.int32(0)

    def transition(self, state: jax.Array, action: Any, rng: Any, params: Any = None) -> jax.Array:
        return state + 1

    def observation(self, state: jax.Array, rng: Any, params: Any = None) -> jax.Array:
        return jax.nn.one_hot(state % CLOCK_STEPS, CLOCK_STEPS)

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return 1.0

    def terminal(self, state: jax.Array, rng: Any, params: Any = None) -> Any:
        return self.terminates & (state >= CLOCK_STEPS)


class LateReward(OneStep):
    """Reward 0 in the first step, 1 in every later one, never an end; observations 0 and 1.

    Under a time limit of two steps the final observation (1) is worth more than the
    first of the next episode (0): who bootstraps from the wrong one finds 1 / (1 - gamma^2)
    in place of 1 / (1 - gamma).
    """

    def transition(self, state: jax.Array, action: Any, rng: Any, params: Any = None) -> jax.Array:
        return jnp.ones(1)

    def reward(
        self, state: jax.Array, action: Any, next_state: Any, rng: Any, params: Any = None
    ) -> Any:
        return state[0]

    def terminal(self, state: jax.Array, rng: Any, params: Any = None) -> Any:
        return False


_ZERO = np.zeros((1, 1), np.float32)
_SIGNS = np.array([[-1.0], [1.0]], np.float32)
_ZERO_ONE = np.array([[0.0], [1.0]], np.float32)
_CLOCK = np.eye(CLOCK_STEPS, dtype=np.float32)
_TIME_LEFT = np.arange(CLOCK_STEPS, 0, -1)


def _constant(*values: float) -> Callable[[float], np.ndarray]:
    return lambda gamma: np.array(values, np.float32)


CONSTANT_REWARD = Probe("constant_reward", OneStep, None, _ZERO, _constant(1), None)
SIGN_REWARD = Probe("sign_reward", SignReward, None, _SIGNS, _constant(-1, 1), None)
DELAYED_REWARD = Probe(
    "delayed_reward",
    DelayedReward,
    None,
    _ZERO_ONE,
    lambda gamma: np.array([gamma, 1.0], np.float32),
    None,
)
ACTION_REWARD = Probe(
    "action_reward", ActionReward, None, _ZERO, _constant(1), np.array([1], np.int32)
)
MATCHING_REWARD = Probe(
    "matching_reward", MatchingReward, None, _SIGNS, _constant(1, 1), np.array([0, 1], np.int32)
)
TRUNCATED = Probe(
    "truncated",
    lambda: Clock(terminates=False),
    CLOCK_STEPS,
    _CLOCK,
    lambda gamma: np.full(CLOCK_STEPS, 1 / (1 - gamma), np.float32),
    None,
)
TERMINATED = Probe(
    "terminated",
    lambda: Clock(terminates=True),
    CLOCK_STEPS,  # it ends by itself at the limit, and that is what counts
    _CLOCK,
    lambda gamma: ((1 - gamma**_TIME_LEFT) / (1 - gamma)).astype(np.float32),
    None,
)
FINAL_OBSERVATION = Probe(
    "final_observation",
    LateReward,
    2,
    _ZERO_ONE,
    lambda gamma: np.array([gamma, 1.0], np.float32) / np.float32(1 - gamma),
    None,
)

# Its observations are a sample: a random walk sees others too. So it is not one of PROBES.
SILENT = Probe(
    "silent",
    Silent,
    20,
    np.linspace(-1.5, 1.5, 5, dtype=np.float32)[:, None],
    _constant(*[0] * 5),
    None,
)
PROBES = (
    CONSTANT_REWARD,
    SIGN_REWARD,
    DELAYED_REWARD,
    ACTION_REWARD,
    MATCHING_REWARD,
    TRUNCATED,
    TERMINATED,
    FINAL_OBSERVATION,
)
