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

from metagrad.update_rules import UpdateRule

PyTree = Any


class InnerState(NamedTuple):
    """What the inner problem moves: parameters and the state of their update rule."""

    params: PyTree
    rule: PyTree


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


# (problem, rule, student, hyperparams, validation [V, ...]) -> (scalar, diagnostics)
Objective = Callable[
    [Problem, UpdateRule, InnerState, dict[str, PyTree], PyTree],
    tuple[jax.Array, dict[str, jax.Array]],
]


def meta_gradient() -> Objective:
    """The outer loss of the student, averaged over the validation batches (Xu et al. 2018)."""

    def objective(problem, rule, student, hyperparams, validation):
        del rule, hyperparams
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

    def objective(problem, rule, student, hyperparams, validation):
        num_batches = jax.tree.leaves(validation)[0].shape[0]

        def advance(state, step):
            batch = jax.tree.map(lambda x: x[step % num_batches], validation)
            gradients = jax.grad(problem.outer_loss)(state.params, state.params, batch)
            return InnerState(*rule.update(gradients, state.rule, state.params, hyperparams)), None

        fixed = jax.lax.stop_gradient(student)
        target = jax.lax.scan(advance, fixed, jnp.arange(steps))[0].params
        distance = _mean(lambda batch: problem.match(target, student.params, batch), validation)
        return distance, {"target_distance": distance}

    return objective


def _mean(function: Callable[[PyTree], jax.Array], batches: PyTree) -> jax.Array:
    """Mean of a scalar function over batches stacked on the leading axis."""
    values = jax.lax.map(function, batches)
    return jnp.mean(values)
