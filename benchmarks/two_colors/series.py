"""Arithmetic on what was measured entry by entry: means over stretches of steps.

A series is values [..., C], each of which holds for an entry of `length` steps; stretches may
begin and end within entries.
"""

from __future__ import annotations

import numpy as np

WINDOW = 50  # a running mean is over a 50th of a phase
_GRID = 10  # and is looked at ten times in its own length
BEFORE, AFTER = 0.2, 0.8  # of a phase, shown around changes
OFFSETS = 100  # stretches that this is cut into


def resolved(length: int, phase: int) -> bool:
    """Whether entries are short enough to see what happens after a change of signs.

    None is longer than two running means.
    """
    return length * WINDOW <= 2 * phase


def means(values: np.ndarray, length: int, edges: np.ndarray) -> np.ndarray:
    """Means of a series over the stretches between edges.

    Args:
      values: [..., C].
      length: of an entry in steps.
      edges: [..., E + 1] in steps, from 0 to C length; not equal to their neighbours.

    Returns:
      [..., E]; the leading axes of `edges` come last but for that.
    """
    return np.diff(_integral(values, length, edges)) / np.diff(edges)


def _integral(values: np.ndarray, length: int, steps: np.ndarray) -> np.ndarray:
    """Sum of a series up to some steps."""
    zero = np.zeros((*values.shape[:-1], 1))
    sums = np.concatenate([zero, np.cumsum(values, -1, dtype=np.float64)], -1)
    entry = np.minimum((np.asarray(steps) // length).astype(int), values.shape[-1] - 1)
    within = np.asarray(steps) / length - entry
    return (sums[..., entry] + within * values[..., entry]) * length


def curve_edges(total: int, phase: int) -> np.ndarray:
    """Edges [E + 1] of the stretches of a learning curve, from 0 to about `total` steps.

    A tenth of a phase each, or whole phases where there are many of them; at least ten stretches.
    """
    phases = total // phase
    width = min(phase / 10 if phases <= 20 else phase * np.ceil(phases / 100), total / 10)
    return np.arange(int(total / width + 1e-9) + 1) * width


def offset_edges(phase: int) -> np.ndarray:
    """Edges [`OFFSETS` + 1] of the stretches around a change, which is at 0."""
    return np.linspace(-BEFORE * phase, AFTER * phase, OFFSETS + 1)


def aligned(values: np.ndarray, length: int, phase: int) -> np.ndarray:
    """Means of a series over stretches around every change of signs, [..., changes, `OFFSETS`].

    The first change is left out: what comes before it belongs to the first phase, in which agents
    learn from nothing. So are those without a full stretch after them.
    """
    edges = offset_edges(phase)
    last = int((values.shape[-1] * length - edges[-1]) // phase)
    changes = np.arange(2, last + 1) * phase
    if not len(changes):
        return np.zeros((*values.shape[:-1], 0, OFFSETS))
    return means(values, length, changes[:, None] + edges)


def recovery(reward: np.ndarray, length: int, phase: int, threshold: float) -> np.ndarray:
    """Steps from each change of signs until a running mean of the reward reaches a threshold.

    The running mean is over a `WINDOW`th of a phase, all of it after the change, so that this is
    the shortest time that there is. A phase in which the threshold is not reached counts whole.

    Returns:
      [..., whole phases but the first].
    """
    window = phase / WINDOW
    ends = np.arange(window, phase + 1e-9, window / _GRID)  # of windows, after the change
    whole = int(reward.shape[-1] * length // phase)
    begins = np.arange(1, whole)[:, None] * phase
    if not len(begins):
        return np.zeros((*reward.shape[:-1], 0))
    running = _integral(reward, length, begins + ends)
    running = (running - _integral(reward, length, begins + ends - window)) / window
    reached = running >= threshold
    return np.where(reached.any(-1), ends[reached.argmax(-1)], float(phase))
