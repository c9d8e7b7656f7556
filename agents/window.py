"""The window of past updates: what a meta-step reads, and what is kept of a period for it.

A meta-step needs K + L consecutive updates: the K that led to the student, and the rollouts of the
L that came next, by which it is judged. Updates arrive `period` at a time. With K = 2, L = 2:

    period 6, one meta-step          . . S S J J        the window is the end of a period
    period 3, two meta-steps     . S S J J .   ->       it reaches back into the period before

A record of an update (`differentiation.Step`) is as large as the parameters and their optimiser
state, so only what is read is kept.

Where several updates are made on one rollout (`agents.reuse`), the window has two rollouts: the
last K updates on the first led to the student, and the second judges it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from selftuning.agents.reuse import Record
from selftuning.agents.trajectory import Experience
from selftuning.configs.settings import TuningSettings
from selftuning.metagrad.differentiation import Step
from selftuning.metagrad.update_rules import InnerState

# What learning from one rollout leaves.
Rollout = Step | Record


class Stretch(NamedTuple):
    """Part of a period between two meta-steps, in which the same is kept of every update.

    Attributes:
      updates: how many.
      keep: record of an update -> what the meta-step needs of it.
    """

    updates: int
    keep: Callable[[Rollout], Any]

    @property
    def evaluated_again(self) -> bool:
        """Whether the meta-step reads parameters, and evaluates networks with them once more."""
        return self.keep is _whole


class Seen(NamedTuple):
    """What one meta-step reads.

    Attributes:
      steps: records of the K updates that led to the student, [K, ...].
      student: inner state after them.
      validation: batches of the L updates that followed, [L, ...].
    """

    steps: Step
    student: InnerState
    validation: Experience


class Window(NamedTuple):
    """Pure functions.

    Attributes:
      rollouts: K + L, or 0 where nothing is tuned.
      stretches: what is to be kept of the updates of a period, in order.
      init: record of any rollout, for its shapes -> history of zeros, leaves
        [max(rollouts - period, 0), ...]: the latest records that the next window reaches back to.
      look: (history, kept) -> (Seen, history); `kept` has for every stretch what it keeps of its
        updates, stacked [updates, ...].
    """

    rollouts: int
    stretches: tuple[Stretch, ...]
    init: Callable[[Rollout], Rollout]
    look: Callable[[Rollout, Sequence[Any]], tuple[Seen, Rollout]]


def make(tuning: TuningSettings, tuned: bool, reused: bool = False) -> Window:
    """The window of the settings.

    Args:
      tuning: the settings.
      tuned: whether anything is; if not, nothing is kept.
      reused: whether several updates are made on one rollout.
    """
    # The outer loss of mg is an on-policy estimate: only the first rollout after the student
    # was collected by it. A target of bmg is a path, and uses one rollout after the other, or
    # makes several steps on one as the student does.
    judges = tuning.target_steps if tuning.method == "bmg" and not reused else 1
    learned = 1 if reused else tuning.inner_steps
    rollouts = learned + judges if tuned else 0
    reach = max(rollouts - tuning.period, 0)
    period = tuning.period
    stretches = _stretches(period, learned, judges) if tuned else (Stretch(period, _nothing),)

    def init(step):
        return jax.tree.map(lambda x: jnp.zeros((reach, *x.shape), x.dtype), step)

    def look(history, kept):
        steps, batches = _joined(history, kept)
        if isinstance(steps, Record):
            student = jax.tree.map(lambda x: x[0], steps.last)
        else:
            student = jax.tree.map(lambda x: x[:learned], steps)
        # Where the first of the judging updates starts is where the last of the K arrived.
        end = jax.tree.map(lambda x: x[learned], steps.before)
        validation = jax.tree.map(lambda x: x[learned:], batches)
        history = jax.tree.map(lambda x: x[len(x) - reach :], steps)
        return Seen(student, end, validation), history

    return Window(rollouts, stretches, init, look)


def _stretches(period: int, learned: int, judges: int) -> tuple[Stretch, ...]:
    """A period cut where what is kept of an update changes.

    A window that fits into a period is its end. Updates before it leave nothing. The K of the
    student leave whole records, to differentiate through. So does the one after them, for the
    parameters that it starts from: they are the student. Of the other judges the rollout will do:

        nothing: period - K - L | whole: K + 1 | batch: L - 1

    A window that reaches back into the period before is cut differently each time it is read: what
    is a judge now is part of the student later. So everything is kept whole.
    """
    before = period - learned - judges
    if before < 0:
        return (Stretch(period, _whole),)
    stretches = (
        Stretch(before, _nothing),
        Stretch(learned + 1, _whole),
        Stretch(judges - 1, _batch),
    )
    return tuple(stretch for stretch in stretches if stretch.updates)


def _nothing(record: Rollout) -> tuple[()]:
    return ()


def _whole(record: Rollout) -> Rollout:
    return record


def _batch(record: Rollout) -> Experience:
    return record.batch


def kept(window: Window, records: Sequence[Rollout]) -> list[Any]:
    """What stretches keep of the records of a whole period, given one by one."""
    rest, result = list(records), []
    for stretch in window.stretches:
        rows = [stretch.keep(record) for record in rest[: stretch.updates]]
        result.append(jax.tree.map(lambda *x: jnp.stack(x), *rows))
        rest = rest[stretch.updates :]
    return result


def _joined(history: Rollout, kept: Sequence[Any]) -> tuple[Rollout, Experience]:
    """Whole records from the first update of the window on, and the batches of all of it.

    Of what the stretches kept, empty parts fall away. Two cases are left (see `_stretches`). If
    the window fits into a period, the history is empty: whole records of the first K + 1 updates
    come first, then the batches of the others. If it does not, all of the period are whole
    records, and go after those of the history.
    """
    parts = [part for part in kept if part != ()]
    steps = jax.tree.map(lambda h, n: jnp.concatenate([h, n]), history, parts[0])
    return steps, jax.tree.map(lambda *x: jnp.concatenate(x), steps.batch, *parts[1:])
