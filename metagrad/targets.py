"""Objectives of the meta-learner: what the student is taught towards.

An objective takes the student, K updates of the inner problem from a saved start, and
validation batches that the student has not learned from. It returns a scalar whose
gradient with respect to the student, pulled back through those K updates, is the
meta-gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metagrad import hints
from metagrad.trust_region import Advance
from metagrad.update_rules import InnerState

PyTree = Any


class Problem(NamedTuple):
    """All that the meta-learner knows of what is learned.

    Losses are semi-gradient losses: they take the parameters twice. Gradients are those
    with respect to `params`; what is to count as a constant in them (bootstrapped values,
    advantages) is made from `frozen`, which is the same point. A `stop_gradient` inside the
    loss would do for one update, but not for K: it would also hide from the meta-gradient
    that the constants of the second update depend on the first (docs/tuning.md).

    Attributes:
      inner_loss: (params, frozen, hyperparams, batch) -> scalar, the loss that is descended.
      outer_loss: (params, frozen, batch) -> scalar, what hyperparameters are to serve.
      match: (target_params, params, batch) -> scalar >= 0, distance of a student from
        its target; gradients flow to `params` alone.
    """

    inner_loss: Callable[[PyTree, PyTree, dict[str, PyTree], PyTree], jax.Array]
    outer_loss: Callable[[PyTree, PyTree, PyTree], jax.Array]
    match: Callable[[PyTree, PyTree, PyTree], jax.Array]


# (problem, advance, student, hyperparams, validation [V, ...]) -> (scalar, diagnostics); `advance`
# makes one update of the student's rule.
Objective = Callable[
    [Problem, Advance, InnerState, dict[str, PyTree], PyTree],
    tuple[jax.Array, dict[str, jax.Array]],
]


def meta_gradient() -> Objective:
    """The outer loss of the student, averaged over the validation batches (Xu et al. 2018)."""

    def objective(problem, advance, student, hyperparams, validation):
        del advance, hyperparams
        params = student.params
        frozen = jax.lax.stop_gradient(params)
        loss = _mean(lambda batch: problem.outer_loss(params, frozen, batch), validation)
        return loss, {"outer_loss": loss}

    return objective


def bootstrapped(steps: int) -> Objective:
    """Distance of the student from its own future on the outer objective (BMG).

    The target is the student moved by `steps` (L) more updates of its own rule along
    gradients of the *outer* loss, one validation batch each and in order, taken again
    from the first when there are fewer than L. Those batches are the rollouts that
    training goes on with, so a target costs no environment step. Stacking later outer
    gradients is the optimism of Optimistic Meta-Gradients (arXiv 2301.03236, Section 5);
    targets made by the learned rule itself drift where its gradient is mostly noise
    (docs/tuning.md).

    Raises:
      ValueError: if `steps` < 1.
    """
    if steps < 1:
        raise ValueError(f"target steps = {steps}: at least 1")

    def objective(problem, advance, student, hyperparams, validation):
        num_batches = jax.tree.leaves(validation)[0].shape[0]

        def step(state, number):
            batch = jax.tree.map(lambda x: x[number % num_batches], validation)
            gradient = jax.grad(problem.outer_loss)(state.params, state.params, batch)
            return advance(gradient, state, hyperparams, batch)[0], gradient

        fixed = jax.lax.stop_gradient(student)
        state, gradient = step(fixed, 0)
        if steps > 1:
            state, _ = jax.lax.scan(lambda s, n: (step(s, n)[0], None), state, jnp.arange(1, steps))
        target = state.params
        distance = _mean(lambda batch: problem.match(target, student.params, batch), validation)
        info = {"target_distance": distance}
        return distance, info | _optimism(fixed.params, gradient, target)

    return objective


def _optimism(student: PyTree, gradient: PyTree, target: PyTree) -> dict[str, jax.Array]:
    """What the target asks for beyond the outer gradient (`hints.implied_optimism`).

    Lengths say nothing where a rule scales gradients; the angle does.
    """
    asked = jax.tree.map(lambda x, z: x - z, student, target)
    optimism = hints.implied_optimism(student, gradient, target)
    lengths = optax.tree.norm(asked) * optax.tree.norm(gradient)
    inner = optax.tree.vdot(asked, gradient)
    return {
        "implied_optimism": optax.tree.norm(optimism),
        "target_alignment": inner / jnp.where(lengths > 0, lengths, 1.0),
    }


def _mean(function: Callable[[PyTree], jax.Array], batches: PyTree) -> jax.Array:
    """Mean of a scalar function over batches stacked on the leading axis."""
    values = jax.lax.map(function, batches)
    return jnp.mean(values)
