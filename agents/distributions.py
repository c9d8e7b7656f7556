"""Distributions over actions: what a policy is at an observation.

They are pytrees of arrays, so that gradients through them can be stopped and `vmap` may return
them. Those here are the four that policies need, with the formulas of distrax, whose dependence on
a nightly build of TensorFlow Probability nobody could pin for long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Shape = tuple[int, ...]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
_WEIGHTS = _WEIGHTS / math.sqrt(2 * math.pi)


class Distribution(Protocol):
    """What may be asked of a policy, by a user's own terms too."""

    def log_prob(self, value: Array) -> Array:
        """Log probability or log density [...] of actions [..., *action]."""
        ...

    def entropy(self) -> Array:
        """Entropy [...] in nats."""
        ...

    def kl_divergence(self, other: Any) -> Array:
        """KL(self || other) [...] with one of the same kind."""
        ...

    def mode(self) -> Array:
        """The likeliest action [..., *action]; of Gaussians their mean."""
        ...

    def sample(self, *, seed: Array, sample_shape: Shape = ()) -> Array:
        """Actions [*sample_shape, ..., *action], drawn with the key `seed`."""
        ...

    def sample_and_log_prob(self, *, seed: Array, sample_shape: Shape = ()) -> tuple[Array, Array]:
        """The same, and their log probabilities [*sample_shape, ...]."""
        drawn = self.sample(seed=seed, sample_shape=sample_shape)
        return drawn, self.log_prob(drawn)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Categorical(Distribution):
    """One of A things.

    Attributes:
      logits: log probabilities [..., A]; `categorical` and `of_probabilities` make them.
    """

    logits: Array

    @property
    def probs(self) -> Array:
        """Probabilities [..., A]."""
        return jax.nn.softmax(self.logits, -1)

    def log_prob(self, value: Array) -> Array:
        """Log probability [...] of the number `value` [...]; minus infinity of what is none."""
        number = self.logits.shape[-1]
        chosen = jax.nn.one_hot(value, number, dtype=self.logits.dtype)
        log_prob = jnp.sum(jnp.where(chosen == 0, 0.0, self.logits * chosen), -1)
        return jnp.where((value < 0) | (value >= number), -jnp.inf, log_prob)

    def entropy(self) -> Array:
        """Entropy [...]."""
        log_probs = self._log_probs()
        return -_mean(log_probs, log_probs)

    def kl_divergence(self, other: Categorical) -> Array:
        """KL(self || other) [...]."""
        log_probs = self._log_probs()
        return _mean(log_probs - other._log_probs(), log_probs)

    def mode(self) -> Array:
        """The likeliest one [...]."""
        return jnp.argmax(self.logits, -1)

    def sample(self, *, seed: Array, sample_shape: Shape = ()) -> Array:
        """Numbers [*sample_shape, ...]."""
        shape = (*sample_shape, *self.logits.shape[:-1])
        return jax.random.categorical(seed, self.logits, shape=shape)

    def _log_probs(self) -> Array:
        # Once more: only rounding sees it, and runs repeat those of earlier versions.
        return jax.nn.log_softmax(self.logits, -1)


def categorical(logits: Array) -> Categorical:
    """Of logits [..., A], whatever they sum to."""
    return Categorical(jax.nn.log_softmax(logits, -1))


def of_probabilities(probs: Array) -> Categorical:
    """Of probabilities [..., A], which may be 0."""
    return Categorical(jnp.log(probs / probs.sum(-1, keepdims=True)))


def _mean(x: Array, log_probs: Array) -> Array:
    """Expectation [...] of x [..., A]; what never happens counts nothing, if infinite too."""
    probs = jnp.exp(log_probs)
    return jnp.sum(jnp.where(probs == 0, 0.0, x) * probs, -1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Bernoulli(Distribution):
    """One bit.

    Attributes:
      logits: [...], of a 1.
    """

    logits: Array

    def log_prob(self, value: Array) -> Array:
        """Log probability [...] of bits [...]."""
        log_zero, log_one = self._log_probs()
        return log_zero * (1 - value) + log_one * value

    def entropy(self) -> Array:
        """Entropy [...]."""
        return -self._mean(*self._log_probs())

    def kl_divergence(self, other: Bernoulli) -> Array:
        """KL(self || other) [...]."""
        (zero, one), (other_zero, other_one) = self._log_probs(), other._log_probs()
        return self._mean(zero - other_zero, one - other_one)

    def mode(self) -> Array:
        """The likelier bit [...]."""
        return (jax.nn.sigmoid(self.logits) > 0.5).astype(jnp.int32)

    def sample(self, *, seed: Array, sample_shape: Shape = ()) -> Array:
        """Bits [*sample_shape, ...]."""
        probs = jax.nn.sigmoid(self.logits)
        uniform = jax.random.uniform(seed, (*sample_shape, *probs.shape), probs.dtype)
        return (uniform < probs).astype(jnp.int32)

    def _log_probs(self) -> tuple[Array, Array]:
        return -jax.nn.softplus(self.logits), -jax.nn.softplus(-self.logits)

    def _mean(self, of_zero: Array, of_one: Array) -> Array:
        return of_zero * jax.nn.sigmoid(-self.logits) + of_one * jax.nn.sigmoid(self.logits)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Independent(Distribution):
    """Several choices [n] that do not look at each other.

    Attributes:
      each: with a batch shape [..., n].
    """

    each: Any

    def log_prob(self, value: Array) -> Array:
        """Log probability [...] of actions [..., n]."""
        return jnp.sum(self.each.log_prob(value), -1)

    def entropy(self) -> Array:
        """Entropy [...]."""
        return jnp.sum(self.each.entropy(), -1)

    def kl_divergence(self, other: Independent) -> Array:
        """KL(self || other) [...]."""
        return jnp.sum(self.each.kl_divergence(other.each), -1)

    def mode(self) -> Array:
        """The likeliest action [..., n]."""
        return self.each.mode()

    def sample(self, *, seed: Array, sample_shape: Shape = ()) -> Array:
        """Actions [*sample_shape, ..., n]."""
        return self.each.sample(seed=seed, sample_shape=sample_shape)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SquashedNormal(Distribution):
    """Independent Gaussians u of which some are seen through tanh.

    Events are u [n], and densities and entropies those of the action a, which is tanh(u) or u.
    The divergence of two of these is that of their Gaussians: it does not change under tanh.

    Attributes:
      loc: means [..., n].
      scale: standard deviations [..., n].
      inverse: 1 / scale.
      log_scale: log(scale).
      squashed: which of them are squashed, bool [n].
    """

    loc: Array
    scale: Array
    inverse: Array
    log_scale: Array
    squashed: Any

    def log_prob(self, value: Array) -> Array:
        """Log density [...] of the action that u [..., n] is."""
        z = self.inverse * (value - self.loc)
        of_u = jnp.sum(-0.5 * jnp.square(z) - _HALF_LOG_2PI, -1)
        return of_u + jnp.sum(-self.log_scale, -1) - self._log_slopes(value)

    def entropy(self) -> Array:
        """Differential entropy [...] of the action, at most log 2 for a squashed number.

        It is H(u) + E[log da/du], the latter by Gauss-Hermite quadrature: no draw, so no noise,
        and exact derivatives of a smooth function. Since da/du falls as exp(-2|u|) the sum has
        its maximum at a standard deviation near .9, and pulls a wider policy back.
        """
        dtype, number = self.loc.dtype, self.loc.shape[-1]
        u = self.loc + self.scale * jnp.expand_dims(
            _NODES.astype(dtype), range(1, 1 + self.loc.ndim)
        )
        expected = jnp.tensordot(_WEIGHTS.astype(dtype), self._log_slopes(u), 1)
        return number * (0.5 + _HALF_LOG_2PI) + jnp.sum(self.log_scale, -1) + expected

    def kl_divergence(self, other: SquashedNormal) -> Array:
        """KL(self || other) [...]."""
        ratio = self.scale / other.scale
        apart = other.inverse * (other.loc - self.loc)
        wider = jnp.sum(other.log_scale, -1) - jnp.sum(self.log_scale, -1)
        squares = jnp.sum(jnp.square(ratio), -1) - self.loc.shape[-1]
        return wider + 0.5 * (squares + jnp.sum(jnp.square(apart), -1))

    def mode(self) -> Array:
        """Means [..., n]."""
        return self.loc

    def sample(self, *, seed: Array, sample_shape: Shape = ()) -> Array:
        """Draws u [*sample_shape, ..., n]."""
        shape = (*sample_shape, *self.loc.shape)
        return self.scale * jax.random.normal(seed, shape, self.loc.dtype) + self.loc

    def _log_slopes(self, u: Array) -> Array:
        """Sum of log da/du [...] at u [..., n]; 1 - tanh(u)^2 itself rounds to 0 from u = 9."""
        slopes = 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))
        return jnp.sum(jnp.where(self.squashed, slopes, 0.0), -1)


def squashed_normal(loc: Array, scale: Array, squashed: np.ndarray) -> SquashedNormal:
    """Of means and standard deviations [..., n], and which of them are squashed, bool [n]."""
    return SquashedNormal(loc, scale, 1.0 / scale, jnp.log(scale), squashed)
