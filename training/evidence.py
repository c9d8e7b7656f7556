"""Whether a hyperparameter was moved by a signal or by noise: what its meta-gradients add up to."""

from __future__ import annotations

import numpy as np

SIGNAL = 3.0  # standard deviations, which noise exceeds once in 370 times


def evidence(gradients: np.ndarray) -> float | None:
    """How sure the meta-gradients of one hyperparameter are of a direction.

        z = - sum_t c_t / sqrt( sum_t c_t^2 )

    with c_t the t-th meta-gradient in units of the root mean square of those so far, at most 1 in
    size, so that no single one decides. Of independent noise z has a mean of 0 and a standard
    deviation of 1. The meta-optimiser "ftrl" moves by nearly the same number, with ten
    meta-gradients of noise before the first, and a size that forgets (docs/tuning.md).

    Args:
      gradients: [N], one for each meta-step; zeros are those in which nothing was judged yet.

    Returns:
      z, above 0 if it was raised; None if there was no meta-gradient.
    """
    found = np.asarray(gradients, np.float64)
    found = found[np.isfinite(found) & (found != 0)]
    if not found.size:
        return None
    size = np.sqrt(np.cumsum(np.square(found)) / np.arange(1, found.size + 1))
    counted = np.clip(found / size, -1.0, 1.0)
    return float(-counted.sum() / np.sqrt(np.square(counted).sum()))


def in_words(z: float) -> str:
    """A signal or noise, with the number that says so."""
    if abs(z) < SIGNAL:
        return f"noise: {z:+.1f} standard deviations"
    return f"signal {'up' if z > 0 else 'down'}: {z:+.1f} standard deviations of noise"
