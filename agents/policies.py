"""Policies by action space: what a network puts out, as a distribution over actions.

A trajectory keeps actions as they were drawn. What a task gets is made of them by `to_task`. For
continuous actions the two differ: a trajectory has u, in units in which a policy begins with mean
0 and noise of length 1, and a bounded action is lower and upper bound at u = -1 and 1 (clipped)
or at infinity (squashed by tanh). So whatever the bounds are, losses see numbers of a good size,
and nothing has to be inverted: from an action that tanh has rounded to 1 there is no way back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import distrax
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np

from selftuning.envs.spaces import Composite, shape

Bounds = Literal["clip", "squash"]

# Between these log standard deviations a Gaussian stays, in units of half the range of an action.
# Entropy alone, where rewards say nothing, would widen it for ever.
LOG_SCALES = (-5.0, 1.0)
_SHARPNESS = 10.0
# A logit of what is never chosen. Its probability is exactly 0, and unlike minus infinity it makes
# no NaN, in derivatives of derivatives either.
NEVER = -1e9
_NO_BOUND = 1e30  # from here on a bound is a word for infinity, like the largest float
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
_WEIGHTS = _WEIGHTS / math.sqrt(2 * math.pi)


class Policy(NamedTuple):
    """How outputs of a network become actions.

    Attributes:
      num_outputs: of the network, which depend on the observation.
      num_scales: learned numbers that do not depend on it, and follow the outputs; 0 or as many.
      first_scale: what these numbers are at first.
      distribution: outputs [..., num_outputs + num_scales] -> distribution over actions [...] as
        trajectories have them.
      to_task: such actions [..., *action] -> as the task expects them, of the same shape. NumPy
        arrays stay what they are, so that host environments wait for no device.
    """

    num_outputs: int
    num_scales: int
    first_scale: float
    distribution: Callable[[jax.Array], distrax.Distribution]
    to_task: Callable[[Any], Any]


def make(space: gym.Space, bounds: Bounds) -> Policy:
    """The policy for an action space that `envs.spaces` admits.

    Args:
      space: as agents see it.
      bounds: what keeps the actions of a `Box` inside of it.
    """
    match space:
        case gym.spaces.Discrete():
            n = int(space.n)
            return Policy(n, 0, 0.0, lambda logits: distrax.Categorical(logits=logits), _same)
        case gym.spaces.MultiDiscrete():
            return _categoricals([int(n) for n in space.nvec])
        case gym.spaces.MultiBinary():
            return Policy(math.prod(shape(space)), 0, 0.0, _bernoullis, _same)
        case gym.spaces.Box():
            return _gaussian(space, bounds)
    raise TypeError(f"no policy is for the action space {space}")


def masked(outputs: jax.Array, observation: jax.Array, space: gym.Space) -> jax.Array:
    """Outputs of a policy network in which what the observation does not allow has no chance.

    Args:
      outputs: [H, ..., size], logits.
      observation: [..., *obs].
      space: of the observations; where it has no mask, or where the mask allows nothing, the
        outputs stay what they are.
    """
    if not isinstance(space, Composite) or space.mask is None:
        return outputs
    allowed = observation[..., slice(*space.mask)] > 0
    allowed = allowed | ~allowed.any(-1, keepdims=True)
    return jnp.where(allowed, outputs, NEVER)


def barrier(policy: distrax.Distribution) -> jax.Array:
    """KL(uniform || policy) [...], over the actions that may be chosen; a sum over choices.

    It is 0 where all of them have the same probability, and infinite where one has none. Its
    derivative in a logit is the probability less 1/n, whatever that is. That of the entropy goes to
    0 with the probabilities, so that an entropy bonus cannot bring a policy back that is certain
    (Agarwal, Kakade, Lee and Mahajan 2021, section 5).

    Raises:
      TypeError: for continuous actions, of which there is no uniform one.
    """
    if isinstance(policy, distrax.Independent):
        return jnp.sum(barrier(policy.distribution), range(-len(policy.event_shape), 0))
    if isinstance(policy, distrax.Bernoulli):
        allowed = policy.logits > NEVER / 2
        logits = jnp.where(allowed, policy.logits, 0.0)
        bits = jax.nn.softplus(logits) / 2 + jax.nn.softplus(-logits) / 2 - math.log(2)
        return jnp.where(allowed, bits, 0.0)
    if not isinstance(policy, distrax.Categorical):
        raise TypeError(f"no barrier is for {type(policy).__name__}")
    logits = policy.logits
    allowed = logits > NEVER / 2
    n = jnp.sum(allowed, -1)
    log_prob = jnp.where(allowed, jax.nn.log_softmax(logits), 0.0)
    return -jnp.sum(log_prob, -1) / n - jnp.log(n)


def has_barrier(space: gym.Space) -> bool:
    """Whether actions of a space are choices."""
    return not isinstance(space, gym.spaces.Box)


def _same(action: Any) -> Any:
    return action


def _bernoullis(logits: jax.Array) -> distrax.Distribution:
    """Independent bits: log-probabilities, entropies and divergences are sums over them."""
    return distrax.Independent(distrax.Bernoulli(logits=logits, dtype=jnp.int32), 1)


def _categoricals(sizes: Sequence[int]) -> Policy:
    """Independent choices [n] between as many things as `sizes` says."""
    exists = np.arange(max(sizes)) < np.array(sizes)[:, None]
    # Where in the outputs the logits [n, most] of each choice are, side by side and of one length.
    at = np.minimum(np.cumsum([0, *sizes[:-1]])[:, None] + np.arange(max(sizes)), sum(sizes) - 1)

    def distribution(outputs):
        logits = jnp.where(exists, outputs[..., at], 2 * NEVER)  # less than a masked one
        return distrax.Independent(distrax.Categorical(logits=logits), 1)

    return Policy(sum(sizes), 0, 0.0, distribution, _same)


def _gaussian(space: gym.spaces.Box, bounds: Bounds) -> Policy:
    """Independent Gaussians, of scales that no observation moves (Schulman et al. 2015)."""
    centre, unit, bounded = units(space)
    squashed = bounded & (bounds == "squash")
    size = math.prod(shape(space))

    def distribution(outputs):
        mean, log_scale = jnp.split(outputs, 2, -1)
        return SquashedNormal(mean, jnp.exp(bounded_log_scale(log_scale)), squashed)

    def to_task(action):
        xp = np if isinstance(action, np.ndarray) else jnp
        inside = xp.tanh(action) if bounds == "squash" else xp.clip(action, -1.0, 1.0)
        # Where there is one bound only, the task clips.
        return centre + unit * xp.where(bounded, inside, action)

    # So the noise has length 1 at first, whatever the number of actions: E|u|^2 = n scale^2. With a
    # scale of 1 for each of its six joints HalfCheetah's returns stay at a third of what they
    # come to with less; MountainCarContinuous has one action, and is not solved with less.
    first = -math.log(size) / 2
    return Policy(size, size, first, distribution, to_task)


def units(space: gym.spaces.Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where actions of a box begin, and how far a unit is: (centre, unit, bounded), of its shape.

    Between two bounds the centre is their middle, and the unit half their distance. Where one is
    missing the unit is 1. A bound that is alone is a unit away, without any the centre is 0.
    """
    low, high = (np.asarray(bound, np.float64) for bound in (space.low, space.high))
    has_low, has_high = low > -_NO_BOUND, high < _NO_BOUND
    low, high = np.where(has_low, low, high - 2), np.where(has_high, high, low + 2)
    bounded, free = has_low & has_high, ~has_low & ~has_high
    with np.errstate(invalid="ignore"):
        centre, unit = low / 2 + high / 2, high / 2 - low / 2
    centre, unit = np.where(free, 0.0, centre), np.where(bounded, unit, 1.0)
    return centre.astype(np.float32), unit.astype(np.float32), bounded


def bounded_log_scale(x: jax.Array) -> jax.Array:
    """A log standard deviation within `LOG_SCALES`, smooth in `x`.

    Well within the bounds it is `x` itself. Beyond them its slope goes to 0 so fast that `x` stays
    near, and finds back, under optimisers too that rescale small gradients.
    """
    low, high = LOG_SCALES
    above = low + jax.nn.softplus(_SHARPNESS * (x - low)) / _SHARPNESS
    return high - jax.nn.softplus(_SHARPNESS * (high - above)) / _SHARPNESS


class SquashedNormal(distrax.MultivariateNormalDiag):
    """Independent Gaussians u of which some are seen through tanh.

    Events are u [n], and densities and entropies those of the action a, which is tanh(u) or u.
    The divergence of two of these is that of their Gaussians: it does not change under tanh.
    """

    def __init__(self, loc: jax.Array, scale_diag: jax.Array, squashed: np.ndarray):
        """Means and standard deviations [..., n], and which of them are squashed, bool [n]."""
        super().__init__(loc, scale_diag)
        self._squashed = squashed

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log density [...] of the action that u [..., n] is."""
        return super().log_prob(value) - self._log_slopes(value)

    def _sample_n_and_log_prob(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        samples = self._sample_n(key, n)
        return samples, self.log_prob(samples)

    def entropy(self) -> jax.Array:
        """Differential entropy [...] of the action, at most log 2 for a squashed number.

        It is H(u) + E[log da/du], the latter by Gauss-Hermite quadrature: no draw, so no noise,
        and exact derivatives of a smooth function. Since da/du falls as exp(-2|u|) the sum has
        its maximum at a standard deviation near .9, and pulls a wider policy back.
        """
        u = self.loc + self.scale_diag * jnp.expand_dims(
            _NODES.astype(self.dtype), range(1, 1 + self.loc.ndim)
        )
        expected = jnp.tensordot(_WEIGHTS.astype(self.dtype), self._log_slopes(u), 1)
        return super().entropy() + expected

    def _log_slopes(self, u: jax.Array) -> jax.Array:
        """Sum of log da/du [...] at u [..., n]; 1 - tanh(u)^2 itself rounds to 0 from u = 9."""
        slopes = 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))
        return jnp.sum(jnp.where(self._squashed, slopes, 0.0), -1)
