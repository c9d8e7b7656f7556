"""Objectives of the meta-learner: what the student is taught towards.

An objective takes the student, K updates of the inner problem from a saved start, and
validation batches that the student has not learned from. It returns a scalar whose
gradient with respect to the student, pulled back through those K updates, is the
meta-gradient. (What the scalar owes to the hyperparameters directly, as an exploration
rate that the match reads, is added.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from selftuning.metagrad import hints
from selftuning.metagrad.trust_region import Advance
from selftuning.metagrad.update_rules import InnerState

PyTree = Any
Loss = Callable[[PyTree, PyTree, PyTree], jax.Array]


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
      match: (target_params, params, hyperparams, batch) -> scalar >= 0, distance of a student
        from its target; gradients flow to `params` and, where behaviour depends on them, to
        `hyperparams`.
    """

    inner_loss: Callable[[PyTree, PyTree, dict[str, PyTree], PyTree], jax.Array]
    outer_loss: Loss
    match: Callable[[PyTree, PyTree, dict[str, PyTree], PyTree], jax.Array]


class Student(NamedTuple):
    """What an objective judges.

    Attributes:
      before: inner state before the K updates.
      after: inner state after them; gradients flow to its parameters.
      hyperparams: batch -> today's values on the scale of use.
    """

    before: InnerState
    after: InnerState
    hyperparams: Callable[[PyTree], dict[str, PyTree]]


class Objective(NamedTuple):
    """A pair of pure functions.

    Attributes:
      init: inner state at the start -> the objective's own state.
      judge: (problem, advance, student, state, validation [V, ...]) -> (scalar, (state,
        diagnostics)); `advance` makes one update of the student's rule.
    """

    init: Callable[[InnerState], PyTree]
    judge: Callable[
        [Problem, Advance, Student, PyTree, PyTree],
        tuple[jax.Array, tuple[PyTree, dict[str, jax.Array]]],
    ]


def meta_gradient(
    penalty: Callable[[PyTree, PyTree, PyTree], jax.Array] | None = None,
) -> Objective:
    """The outer loss of the student, averaged over the validation batches (Xu et al. 2018).

    Args:
      penalty: (params before the K updates, params after them, batch) -> scalar that is added,
        such as the KL(new || old) of STACX (Zahavy et al. 2020).
    """

    def judge(problem, advance, student, state, validation):
        del advance
        params, before = student.after.params, jax.lax.stop_gradient(student.before.params)
        frozen = jax.lax.stop_gradient(params)
        loss = _mean(lambda batch: problem.outer_loss(params, frozen, batch), validation)
        if penalty is None:
            return loss, (state, {"outer_loss": loss})
        added = _mean(lambda batch: penalty(before, params, batch), validation)
        return loss + added, (state, {"outer_loss": loss, "penalty": added})

    return Objective(lambda inner: (), judge)


def bootstrapped(
    steps: int,
    by: Literal["outer", "learned", "mixed"] = "outer",
    last: Loss | None = None,
    own_rule_state: bool = False,
) -> Objective:
    """Distance of the student from its own future (Bootstrapped Meta-Gradients, BMG).

    The target is the student moved by `steps` (L) more updates of its rule, one validation
    batch each and in order, taken again from the first when there are fewer than L. Those
    batches are the rollouts that training goes on with, so a target costs no environment step.

    With `by="outer"` every update follows the outer loss. Stacking later outer gradients is
    the optimism of Optimistic Meta-Gradients (arXiv 2301.03236, Section 5). "learned" follows
    the inner loss with today's hyperparameters, "mixed" does so for L - 1 updates and makes
    the last one on the outer loss, as in Flennerhag et al. (2022); such targets drift where the
    learned gradient is mostly noise (docs/tuning.md).

    Args:
      steps: L.
      by: which loss moves the target.
      last: (params, frozen, batch) -> scalar, the loss of the last update in place of the
        outer one, such as the policy gradient alone.
      own_rule_state: whether the target keeps a state of its own for the update rule from one
        meta-step to the next, in place of continuing from the student's.

    Raises:
      ValueError: if `steps` < 1, or `last` is given for a target by the learned rule alone.
    """
    if steps < 1:
        raise ValueError(f"target steps = {steps}: at least 1")
    if by == "learned" and last is not None:
        raise ValueError("last: not used by a target by the learned rule alone")

    def judge(problem, advance, student, state, validation):
        num_batches = jax.tree.leaves(validation)[0].shape[0]

        def used(batch):
            return jax.lax.stop_gradient(student.hyperparams(batch))

        def learned(params, frozen, batch):
            return problem.inner_loss(params, frozen, used(batch), batch)

        losses = [problem.outer_loss if by == "outer" else learned] * (steps - 1)
        losses.append(learned if by == "learned" else last or problem.outer_loss)

        def step(inner, number, loss):
            batch = jax.tree.map(lambda x: x[number % num_batches], validation)
            gradient = jax.grad(loss)(inner.params, inner.params, batch)
            return advance(gradient, inner, used(batch), batch)[0], gradient

        fixed = jax.lax.stop_gradient(student.after)
        inner = fixed._replace(rule=state) if own_rule_state else fixed
        inner, gradient = step(inner, 0, losses[0])
        if steps > 2:
            middle = jnp.arange(1, steps - 1)
            inner, _ = jax.lax.scan(lambda s, n: (step(s, n, losses[1])[0], None), inner, middle)
        if steps > 1:
            inner, _ = step(inner, steps - 1, losses[-1])
        target = inner.params

        def distance_on(batch):
            return problem.match(target, student.after.params, student.hyperparams(batch), batch)

        distance = _mean(distance_on, validation)
        if losses[0] is not problem.outer_loss:
            first = jax.tree.map(lambda x: x[0], validation)
            gradient = jax.grad(problem.outer_loss)(fixed.params, fixed.params, first)
        info = {"target_distance": distance} | _optimism(fixed.params, gradient, target)
        return distance, (inner.rule if own_rule_state else state, info)

    return Objective(lambda inner: inner.rule if own_rule_state else (), judge)


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
    if jax.tree.leaves(batches)[0].shape[0] == 1:
        # Without vmap this is the arithmetic of other losses on that batch, which XLA shares.
        return function(jax.tree.map(lambda x: x[0], batches))
    return jnp.mean(jax.vmap(function)(batches))
