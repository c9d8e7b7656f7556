"""Whether a hyperparameter was moved by a signal or by noise: what its meta-gradients add up to."""

from __future__ import annotations

from typing import Any

import numpy as np

from selftuning.configs.hyperparameters import Hyperparameter, Scale

SIGNAL = 3.0  # standard deviations (sd), which noise exceeds once in 370 times
_FALLS = "falls to 0"  # from its start, or from what tuning makes of it
_AT_BOUND = 0.01  # on its scale, where a hundredth is one per cent


def evidence(gradients: np.ndarray) -> float | list[float | None] | None:
    """How sure the meta-gradients of one hyperparameter are of a direction.

        z = - sum_t c_t / sqrt( sum_t c_t^2 )

    with c_t the t-th meta-gradient in units of the root mean square of those so far, at most 1 in
    size, so that no single one decides. Of independent noise z has a mean of 0 and a standard
    deviation of 1. The meta-optimiser "ftrl" moves by nearly the same number, with ten
    meta-gradients of noise before the first, and a size that forgets (docs/tuning.md).

    Args:
      gradients: [N], one for each meta-step, or [N, H] of several heads; zeros are those in which
        nothing was judged yet.

    Returns:
      z, above 0 if it was raised, of each head where there are several; None if there was no
      meta-gradient.
    """
    if np.ndim(gradients) > 1:
        return [_evidence(head) for head in gradients.T]
    return _evidence(gradients)


def _evidence(gradients: np.ndarray) -> float | None:
    found = np.asarray(gradients, np.float64)
    found = found[np.isfinite(found) & (found != 0)]
    if not found.size:
        return None
    size = np.sqrt(np.cumsum(np.square(found)) / np.arange(1, found.size + 1))
    counted = np.clip(found / size, -1.0, 1.0)
    return float(-counted.sum() / np.sqrt(np.square(counted).sum()))


def bound_at(scale: Scale, spec: Hyperparameter, end: float | list[float]) -> float | None:
    """The bound that a hyperparameter has come to, all of its heads; None if it has to neither."""
    with np.errstate(divide="ignore"):
        ends = _place(scale, end)
        for bound in (spec.low, spec.high):
            if np.isclose(ends, _place(scale, bound), rtol=0, atol=_AT_BOUND).all():
                return bound
    return None


def _place(scale: Scale, value: float | list[float]) -> np.ndarray:
    """Where values are on their scale."""
    x = np.asarray(value, np.float64)
    return x if scale == "linear" else np.log(x / (1 - x) if scale == "unit" else x)


def moved_by(
    start: Any, end: Any, tuned: bool, evidence: Any, bound: float | None, falls: bool = False
) -> str:
    """What has moved a hyperparameter, in words; the arguments are those of summary.json."""
    if not tuned:
        return _FALLS if falls else "fixed"
    if evidence is None:
        moved = "not moved" if end == start else "moved"
    elif isinstance(evidence, list):
        moved = f"by head: {', '.join(map(_in_words, evidence))}"
    else:
        moved = _in_words(evidence)
    if bound is not None:
        moved += f", at its bound {bound:.4g}"
    return f"{moved}, beside that it {_FALLS}" if falls else moved


def _in_words(z: float | None) -> str:
    if z is None:
        return "not moved"
    said = "noise" if abs(z) < SIGNAL else f"signal {'up' if z > 0 else 'down'}"
    return f"{said} {z:+.1f} sd"
