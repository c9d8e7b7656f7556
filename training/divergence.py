"""Numbers that are not finite: where the first one came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from selftuning.configs.settings import RunSettings

if TYPE_CHECKING:
    from selftuning.training.runner import CycleMetrics

NONE = -1  # no entry


class Fault(NamedTuple):
    """A number that is not finite.

    Attributes:
      what: it is, in words.
      env_steps: environment steps of the run when it was there.
      own_step: of the environment, if it is a number of one.
    """

    what: str
    env_steps: int
    own_step: int | None = None

    def __str__(self) -> str:
        at = f"step {self.env_steps:,} of all environments"
        if self.own_step is not None:
            at = f"its step {self.own_step:,}, {at}"
        return f"{self.what} is not finite at {at}"


def first_entry(x: jax.Array) -> jax.Array:
    """Which entry of [T, B, ...] is the first with a number that is not finite.

    Returns:
      t * B + b, int32 []; `NONE` if there is no such entry.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.int32(NONE)
    bad = ~jnp.isfinite(x).reshape(x.shape[0] * x.shape[1], -1).all(-1)
    return jnp.where(bad.any(), jnp.argmax(bad), NONE).astype(jnp.int32)


def in_rollout(timesteps: Any) -> dict[str, jax.Array]:
    """The first entries of what an environment gives, in a rollout [T, B]."""
    seen = jax.tree.leaves(timesteps.next_observation)
    worst = [first_entry(x) for x in seen]
    return {"observation": _least(jnp.stack(worst)), "reward": first_entry(timesteps.reward)}


def of_cycle(rollouts: Mapping[str, Any], params: Any, entries: int) -> dict[str, jax.Array]:
    """What was found in a cycle, as `CycleMetrics` has it.

    Args:
      rollouts: of `in_rollout`, [period].
      params: of the agent after the cycle.
      entries: T * B of a rollout.
    """
    offsets = entries * jnp.arange(len(next(iter(rollouts.values()))))
    found = {name: _least(jnp.where(x == NONE, NONE, x + offsets)) for name, x in rollouts.items()}
    return found | {"parameters": jnp.where(all_finite(params), NONE, 0)}


def all_finite(params: Any) -> jax.Array:
    """Whether no parameter is NaN or infinite, []."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(params)]).all()


def first_fault(metrics: CycleMetrics, steps_before: int, settings: RunSettings) -> Fault | None:
    """What was not finite first in a chunk of N cycles, if anything was.

    Within a cycle, observations and rewards come before what is computed from them.

    Args:
      metrics: of the chunk, as NumPy arrays.
      steps_before: environment steps of the run before it.
      settings: of the run.
    """
    each = settings.steps_per_cycle
    faults: list[tuple[int, Fault]] = []  # with the cycle

    def look(cycles: np.ndarray, fault: Any) -> None:
        if len(cycles):
            n = int(cycles[0])
            faults.append((n, fault(n)))

    for kind in ("observation", "reward"):
        entries = np.asarray(metrics.not_finite.get(kind, []))  # of in-graph tasks
        look(
            np.flatnonzero(entries != NONE),
            lambda n, kind=kind, entries=entries: _of_environment(
                kind, int(entries[n]), steps_before + n * each, settings.num_envs
            ),
        )
    # A meta-step comes after the updates of its cycle.
    after = [("a parameter of the agent", np.asarray(metrics.not_finite["parameters"]) == NONE)]
    for name in settings.in_use:
        value, gradient = metrics.hyperparameters[name], f"meta_gradient/{name}"
        finite = _finite(value)
        if gradient in metrics.diagnostics:
            judged = _finite(metrics.diagnostics[gradient])
            after.append((f"the meta-gradient of {name}", judged | finite))
        after.append((f"hyperparameter {name}", finite))
    for what, finite in after:
        look(
            np.flatnonzero(~finite),
            lambda n, what=what: Fault(what, steps_before + (n + 1) * each),
        )
    return min(faults, key=lambda found: found[0])[1] if faults else None


def _finite(x: np.ndarray) -> np.ndarray:
    """Which rows of [N, ...] are finite, [N]."""
    return np.isfinite(x).reshape(len(x), -1).all(-1)


def _of_environment(kind: str, entry: int, steps_before: int, num_envs: int) -> Fault:
    step, env = divmod(entry, num_envs)
    what = f"the {kind} of environment {env} of {num_envs}"
    env_steps = steps_before + (step + 1) * num_envs
    return Fault(what, env_steps, env_steps // num_envs)


def _least(entries: jax.Array) -> jax.Array:
    """The first entry of several; `NONE` if all are."""
    last = jnp.iinfo(jnp.int32).max
    least = jnp.where(entries == NONE, last, entries).min()
    return jnp.where(least == last, NONE, least).astype(jnp.int32)
