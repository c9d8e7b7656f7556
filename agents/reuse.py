"""Several updates on one rollout: epochs over its shuffled minibatches.

What is constant in all of them is computed once, at the parameters that the rollout starts from,
and is part of the data. The updates that are differentiated are those of a single rollout, so that
it is constant in the meta-gradient too, which is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from selftuning.agents.trajectory import Experience
from selftuning.metagrad.core import LearnerState, MetaLearner
from selftuning.metagrad.differentiation import Step
from selftuning.metagrad.update_rules import InnerState


class Reuse(NamedTuple):
    """How an algorithm makes several updates on one rollout. Pure functions.

    Attributes:
      updates: U, their number.
      prepare: (params, experience) -> the batch of the whole rollout, with what is constant in all
        updates that start from these parameters.
      order: key -> rows of each minibatch, [U, ...] int32.
      take: (batch of the whole rollout, rows) -> minibatch, an `Experience`.
    """

    updates: int
    prepare: Callable[[Any, Experience], Experience]
    order: Callable[[jax.Array], jax.Array]
    take: Callable[[Experience, jax.Array], Experience]


class Record(NamedTuple):
    """What the updates on one rollout leave; to a window it looks like that of a single update.

    Attributes:
      before: inner state that the first of them started from.
      batch: of the whole rollout, prepared there.
      last: records of the last K updates, leaves [K, ...].
    """

    before: InnerState
    batch: Experience
    last: Step


class Updates(NamedTuple):
    """The updates on one rollout.

    Attributes:
      number: of them.
      learn: (learner, experience of a rollout, key) -> (learner, record), all updates on it.
      example: a step, whose batch is the experience of a rollout -> a record, for its shapes.

    A record is that of a single update, or a `Record` of several.
    """

    number: int
    learn: Callable[[LearnerState, Experience, Any], tuple[LearnerState, Step | Record]]
    example: Callable[[Step], Step | Record]


def updates(engine: MetaLearner, reuse: Reuse | None, keep: int) -> Updates:
    """The updates of an engine on one rollout.

    Args:
      engine: makes them.
      reuse: of the algorithm.
      keep: K, how many of several are recorded, the last ones.
    """
    if reuse is None:
        return Updates(1, lambda learner, batch, key: engine.inner_step(learner, batch), _same)

    def learn(learner, experience, key):
        whole = reuse.prepare(learner.inner.params, experience)
        # Not the key itself: what is drawn from it has chosen actions.
        rows = reuse.order(jax.random.fold_in(key, 1))

        def update(learner, rows):
            return engine.inner_step(learner, reuse.take(whole, rows))

        first, last = rows[: reuse.updates - keep], rows[reuse.updates - keep :]
        end, _ = jax.lax.scan(lambda state, rows: (update(state, rows)[0], None), learner, first)
        end, steps = jax.lax.scan(update, end, last)
        return end, Record(learner.inner, whole, steps)

    def example(step):
        whole = reuse.prepare(step.before.params, step.batch)
        one = step._replace(batch=reuse.take(whole, reuse.order(jax.random.PRNGKey(0))[0]))
        last = jax.tree.map(lambda x: jnp.broadcast_to(x, (keep, *jnp.shape(x))), one)
        return Record(step.before, whole, last)

    return Updates(reuse.updates, learn, example)


def _same(step: Step) -> Step:
    return step


def shuffled(key: jax.Array, units: int, epochs: int, minibatches: int) -> jax.Array:
    """A new order of `units` for each epoch, cut into minibatches.

    Returns:
      int32 [epochs * minibatches, units / minibatches]; each epoch has every unit once.
    """
    permute = jax.vmap(lambda key: jax.random.permutation(key, units))
    return permute(jax.random.split(key, epochs)).reshape(epochs * minibatches, -1)
