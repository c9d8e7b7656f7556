"""Terms of a user's own in the loss and in the rewards, and what they are made of.

`configs.extensions` says how a module adds them. A loss is a semi-gradient loss: its gradient is
taken in the parameters that learn, and what is to count as a constant in it is made from a frozen
copy of them. Terms follow the same rule by the choice of what they read. A `stop_gradient` would
falsify meta-gradients over several updates (docs/tuning.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp

from selftuning.agents.trajectory import Trajectory
from selftuning.configs.errors import not_allowed
from selftuning.configs.own_parts import Kind, Own, call


class Seen(NamedTuple):
    """One head of the agent on one rollout [T, B], or on the rows of a minibatch.

    The inner loss of PPO is that of a minibatch: what is [T, B] below has one axis there, of steps
    in no order, or [T, b] for a recurrent agent. Rewards and the outer objective are of whole
    rollouts.

    The term of a loss has gradients in the policies and values here, and in nothing else. That of
    a reward has none at all, and the last three are None there: they are made of the rewards.

    Attributes:
      policy: distributions over actions [T, B] at the observations acted on.
      next_policy: [T, B] at those that followed, which at an end are the final ones.
      value: [T, B] of the observations acted on.
      next_value: [T, B] of those that followed.
      trajectory: observations, actions, rewards of the environment, ends.
      hyperparams: of this head by name, scalars.
      target: [T, B] what values are taught.
      advantage: [T, B] as the policy gradient has it.
      frozen: the same policies and values of parameters that are held constant: those of this
        update, in PPO those that the rollout starts from.
    """

    policy: distrax.Distribution
    next_policy: distrax.Distribution
    value: jax.Array
    next_value: jax.Array
    trajectory: Trajectory
    hyperparams: Mapping[str, Any]
    target: Any = None
    advantage: Any = None
    frozen: Any = None  # Seen, which a tuple cannot say of itself


def reward(added: Mapping[str, Own], seen: Seen) -> jax.Array:
    """Rewards [T, B] of the environment with the weighted terms.

    Raises:
      ConfigError: if a term has another shape.
    """
    total, shape = seen.trajectory.reward, seen.trajectory.reward.shape
    for name, term, weight in _weighed(added, "reward", seen):
        if term.shape != shape:
            allowed = f"{shape}, a number for each step of each environment"
            raise not_allowed(f"reward term {name}", f"shape {term.shape}", allowed)
        total = total + weight * term
    return total


def loss(added: Mapping[str, Own], seen: Seen) -> jax.Array | float:
    """The sum of the weighted means of the terms, a scalar."""
    return sum(weight * jnp.mean(term) for _, term, weight in _weighed(added, "loss", seen))


def _weighed(
    added: Mapping[str, Own], kind: Kind, seen: Seen
) -> Iterator[tuple[str, jax.Array, Any]]:
    """Names, terms and weights of a kind, but for weights that are 0 for good.

    Values of the outer objective are numbers, and known; those of the inner loss are traced.
    """
    for name, own in added.items():
        if own.kind != kind or own.term is None:
            continue
        weight = seen.hyperparams[name]
        left_out = isinstance(weight, (int, float)) and weight == 0
        if not left_out:
            yield name, call(name, own.term, seen, convert=jnp.asarray), weight
