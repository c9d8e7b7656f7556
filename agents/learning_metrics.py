"""What users look at to see how learning goes: policy, critic and gradients on single rollouts.

None of it is needed to learn, and some of it needs networks once more (how far the policy has
moved). So it is asked for now and then, and costs nothing where it is not.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from selftuning.agents.algorithm import Algorithm
from selftuning.agents.reuse import Record
from selftuning.configs.settings import RunSettings
from selftuning.metagrad.core import LearnerState, MetaLearner
from selftuning.metagrad.differentiation import Step
from selftuning.metagrad.trust_region import LEARNING_RATE
from selftuning.metagrad.update_rules import share_left

Metrics = dict[str, jax.Array]


def make(
    algorithm: Algorithm, engine: MetaLearner, settings: RunSettings
) -> Callable[..., Metrics]:
    """Returns (asked, learner before, record, learner after, updates before) -> scalars by name.

    They are NaN unless `asked`, a bool that may be traced. "gradient_norm" is that of the last
    update on the rollout, before it is clipped, and "learning_rate" what this update used. The
    others are those of the algorithm: "entropy" and "kl" of the policy, KL(new || old) of all
    updates on the rollout, "policy_loss", "value_loss", "explained_variance", and "barrier" where
    there is one. With minibatches they are of the last one.
    """

    def of(start: LearnerState, record: Step | Record, after: LearnerState, done) -> Metrics:
        last = jax.tree.map(lambda x: x[-1], record.last) if isinstance(record, Record) else record
        values = start.values._replace(raw=last.raw)
        used = engine.hyperparams(start._replace(values=values), last.batch)
        found = {"gradient_norm": optax.tree.norm(last.gradient)}
        if LEARNING_RATE in used:
            reuse = algorithm.reuse
            last_update = done + (reuse.updates - 1 if reuse else 0)
            anneal = settings.agent.anneal_learning_rate
            left = share_left(last_update, settings.updates) if anneal else 1.0
            found["learning_rate"] = left * used[LEARNING_RATE]
        if algorithm.metrics is not None:
            inner = start.inner.params, last.before.params, after.inner.params
            found |= algorithm.metrics(*inner, used, last.batch)
        return {name: jnp.asarray(x, jnp.float32) for name, x in found.items()}

    def metrics(asked, *known) -> Metrics:
        unknown = jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan), jax.eval_shape(of, *known))
        return jax.lax.cond(asked, of, lambda *_: unknown, *known)

    return metrics
