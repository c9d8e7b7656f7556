"""What a run of `run.py convex` measured, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from selftuning.configs.convex import ConvexSettings

RATES = np.logspace(-3, 2, 26)  # multiples of 1 / L; the paper's are 0.8 to 40 on its quadratic
# A gap that is as good as none. Where f(x*) = 0 gaps go on to fall to 1e-100, which says nothing of
# a method: methods are compared by the steps that they need to come to this one.
GOAL = 1e-12


class Outcome(NamedTuple):
    """A method on all draws.

    Attributes:
      learning_rate: of gap and points, a multiple of 1 / L.
      gap: f(x_t) - f*, [draws, T].
      bound: on the gap, [draws, T]; None where nothing is proved.
      points: x_t, [draws, T, 2]; None but on the plane.
      cumulative: mean gap over the steps of a run at each of `RATES`, relative to the gap at the
        start, [draws, len(RATES)].
      at_default: the same at `learning_rate`, [draws].
    """

    learning_rate: float
    gap: np.ndarray
    bound: np.ndarray | None
    points: np.ndarray | None
    cumulative: np.ndarray
    at_default: np.ndarray


class Landscape(NamedTuple):
    """The gap on the plane.

    Attributes:
      horizontal, vertical: coordinates, [n] each.
      gap: [n, n], the first axis vertical.
      start, minimiser: points, [2].
    """

    horizontal: np.ndarray
    vertical: np.ndarray
    gap: np.ndarray
    start: np.ndarray
    minimiser: np.ndarray


class Study(NamedTuple):
    """All methods on all draws.

    Attributes:
      settings: of the run.
      smoothness, distance, start_gap: L, ||x_1 - x*|| and f(x_1) - f*, each [draws].
      outcomes: by name.
      landscape: of the first draw; None but on the plane.
    """

    settings: ConvexSettings
    smoothness: np.ndarray
    distance: np.ndarray
    start_gap: np.ndarray
    outcomes: Mapping[str, Outcome]
    landscape: Landscape | None
