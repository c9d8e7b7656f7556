"""Running scales of observations and rewards: an agent sees numbers of size one on every task.

Observations are shifted by their mean and divided by their standard deviation. Rewards are divided
by the root mean square of discounted returns so far, which leaves the task what it is: rewards of
another unit. Both are numbers while a rollout is learned from, the same in the inner loss, in the
outer loss and in the match.

For meta-gradients this is exact. The scale of rewards is that of returns at the discount of the
*outer* objective, so it does not depend on the discount that is tuned, and there is no derivative
to leave out. Statistics of the values' own targets, as in PopArt (van Hasselt et al. 2016), would
depend on the tuned discount and trace decay; to hold them constant would be wrong by the term
d scale / d gamma.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from selftuning.agents import torsos
from selftuning.agents.moments import Moments, beyond, nothing, of_some, varied, with_samples
from selftuning.agents.trajectory import Scales, Trajectory
from selftuning.configs.settings import AgentSettings
from selftuning.envs.spaces import shape

# A float32 counts this far in steps of a few dozen, and averages over so many lose nothing to
# rounding that matters. What is older fades.
_LONGEST_MEMORY = 1e8
_RECENT = 4  # rollouts with which the next one is compared
_MOST = 4.0  # nats
_SHARE = 4  # a part of a rollout, from which statistics can begin anew


class Statistics(NamedTuple):
    """What is known of the numbers of a task.

    Attributes:
      observation: moments of observations [*obs]; () where they are taken as they are.
      recent: those of the latest rollouts; () where statistics never begin anew.
      reward: moments of discounted returns, a scalar each; () likewise.
      discounted: returns of the running episodes [B], discounted from now backwards.
    """

    observation: Moments | tuple[()]
    recent: Moments | tuple[()]
    reward: Moments | tuple[()]
    discounted: jax.Array


class Normalization(NamedTuple):
    """Pure functions.

    Attributes:
      init: () -> statistics of nothing.
      update: (statistics, trajectory [T, B]) -> statistics with it.
      scales: statistics -> what they say.
    """

    init: Callable[[], Statistics]
    update: Callable[[Statistics, Trajectory], Statistics]
    scales: Callable[[Statistics], Scales]


def make(
    observation_space: gym.Space, settings: AgentSettings, num_envs: int, gamma: float
) -> Normalization:
    """The running scales of a task.

    Args:
      observation_space: as agents see it. Numbers in a `Box` are normalised; an image, whose
        bounds say what is bright, and what is discrete are taken as they are.
      settings: whether there are such scales, and how long their memory is.
      num_envs: B.
      gamma: discount of the outer objective.
    """
    elements = torsos.measured(observation_space, settings.torso)
    sees = settings.normalize_observations and bool(elements.any())
    memory = min(settings.normalization_memory, _LONGEST_MEMORY)
    resets = sees and settings.can_reset(num_envs) and math.isfinite(settings.normalization_reset)

    def init():
        observation = nothing(shape(observation_space)) if sees else ()
        reward = nothing(()) if settings.normalize_rewards else ()
        recent = nothing(shape(observation_space)) if resets else ()
        return Statistics(observation, recent, reward, jnp.zeros(num_envs))

    # A policy that learns goes beyond the latest rollouts, or beyond all, little by little; where
    # episodes begin together, a rollout may have the part that the latest ones had not. Another
    # task is far from both at once.
    def update(statistics, trajectory):
        observation, recent, reward, discounted = statistics
        if sees:
            rows = trajectory.observation.astype(float)
            rows = rows.reshape(-1, *rows.shape[2:])
            if resets:
                limit, length = settings.normalization_reset, len(rows) // num_envs
                far = [_distance(rows, known, elements) for known in (observation, recent)]
                first = _change(rows, recent, elements, num_envs)
                # Steps before the change are of the old task: a few of them would make deviations
                # many times too large for as long as they are remembered. If too few came after it,
                # the next rollout will tell.
                another = (jnp.minimum(*far) > limit) & (first <= length - length // _SHARE)
                begun = of_some(rows, jnp.repeat(jnp.arange(length) >= first, num_envs))
                recent = with_samples(recent, rows, _RECENT * len(rows))
            observation = with_samples(observation, rows, memory)
            if resets:
                observation, recent = (
                    jax.tree.map(partial(jnp.where, another), begun, known)
                    for known in (observation, recent)
                )
        if settings.normalize_rewards:
            returns, discounted = _discounted(trajectory, discounted, gamma)
            reward = with_samples(reward, returns.reshape(-1), memory)
        return Statistics(observation, recent, reward, discounted)

    def scales(statistics):
        observation, reward = statistics.observation, statistics.reward
        result = Scales()
        if sees:
            factor = jnp.where(elements, _inverse_deviation(observation), 1.0)
            shift = jnp.where(elements, observation.mean, 0.0)
            result = result._replace(shift=shift, factor=factor)
        if settings.normalize_rewards:
            square = reward.variance + jnp.square(reward.mean)
            seen = square > 0  # until there was a reward they are what they are
            factor = jnp.where(seen, jax.lax.rsqrt(jnp.where(seen, square, 1.0)), 1.0)
            result = result._replace(reward=factor)
        return result

    return Normalization(init, update, scales)


def _change(rows: jax.Array, known: Moments, elements: np.ndarray, num_envs: int) -> jax.Array:
    """At which step of a rollout [T B, *obs] the task has changed, if it has.

    It is where the sum of evidence over all steps from there on is largest (CUSUM, Page 1954): how
    far a step lies outside of what is known, in nats an element, less the middle between steps of
    the known task, half a nat, and those at the end of the rollout.
    """
    tells = elements & varied(known)
    square = jnp.square(rows - known.mean) / jnp.where(tells, known.variance, 1.0)
    nats = jnp.where(tells, jnp.minimum(square / 2, _MOST) - 0.5, 0.0)
    each = jnp.mean(nats.reshape(len(rows) // num_envs, -1), 1)
    late = jnp.mean(each[-(len(each) // _SHARE) :])
    return jnp.argmax(jnp.cumsum((each - late / 2)[::-1])[::-1])


def _distance(rows: jax.Array, known: Moments, elements: np.ndarray) -> jax.Array:
    """How far a rollout [N, *obs] lies outside of what is known, nats an element; 0 of nothing.

    Elements that have varied count alike, and none for more than `_MOST`: a velocity that was
    almost always 0 can be far out on one day.
    """
    now = with_samples(nothing(rows.shape[1:]), rows)
    tells = elements & varied(known)
    far = jnp.where(tells, jnp.minimum(beyond(now, known), _MOST), 0.0)
    return jnp.where(known.number > 0, jnp.sum(far) / jnp.maximum(jnp.sum(tells), 1), 0.0)


def _inverse_deviation(moments: Moments) -> jax.Array:
    known = varied(moments)
    inverse = jnp.where(known, jax.lax.rsqrt(jnp.where(known, moments.variance, 1.0)), 1.0)
    # Before the first rollout nothing is known of units: every observation is the mean.
    return jnp.where(moments.number > 0, inverse, 0.0)


def _discounted(
    trajectory: Trajectory, before: jax.Array, gamma: float
) -> tuple[jax.Array, jax.Array]:
    """Returns R_t = r_t + gamma R_{t-1} of each episode so far, [T, B], and those to go on from."""

    def step(carry, now):
        reward, ended = now
        carry = reward + gamma * carry
        return jnp.where(ended, 0.0, carry), carry

    # A time limit does not end what values are of: they are bootstrapped there.
    after, returns = jax.lax.scan(step, before, (trajectory.reward, trajectory.discount == 0))
    return returns, after
