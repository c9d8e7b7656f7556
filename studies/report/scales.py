"""Axes on which hyperparameters are tuned: logarithms, or log-odds for values between 0 and 1.

Those of extensions may also be tuned as they are. All are drawn on linear axes with ticks of their
own, for Plotly has no log-odds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from selftuning.configs import extensions, hyperparameters
from selftuning.studies.intervals import number

_ROOM = 0.07  # of the axis, at both ends
_SHORTEST = 0.3  # axis, a factor of two: what hardly moves must not look as if it did
_FEWEST, _MOST = 3, 7  # ticks
_APART = 0.09  # of the axis, between ticks
_DECADES = range(-9, 7)
# From coarse to fine: the first that has enough ticks in sight is taken.
_LOG = tuple(
    tuple(digit * 10.0**decade for decade in _DECADES for digit in digits)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8))
)
_ODDS = (
    (1e-3, 1e-2, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999),
    (1e-3, 3e-3, 1e-2, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.997, 0.999, 0.9999),
    tuple(x / 100 for x in (1, 2, 5, *range(10, 95, 5), *range(95, 100))),
)


class Scale(NamedTuple):
    """How values become places on an axis.

    Attributes:
      forward: values -> places, NaN where there is none.
      inverse: places -> values.
      ticks: values that may be labelled, from coarse to fine.
      said: value -> its label.
    """

    forward: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]
    ticks: tuple[tuple[float, ...], ...]
    said: Callable[[float], str]

    def axis(self, places: np.ndarray) -> dict[str, Any]:
        """Range and ticks of an axis that shows all of some places, for Plotly."""
        known = places[np.isfinite(places)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        room = max(_ROOM * (high - low), (_SHORTEST - (high - low)) / 2)
        low, high = low - room, high + room
        ticks = self._in_sight(low, high)
        return {
            "range": [low, high],
            "tickvals": [float(self.forward(np.array(tick))) for tick in ticks],
            "ticktext": [self.said(tick) for tick in ticks],
        }

    def _in_sight(self, low: float, high: float) -> list[float]:
        for tier in self.ticks:
            seen = [x for x in tier if low <= float(self.forward(np.array(x))) <= high]
            if len(seen) >= _FEWEST:
                return self._thinned(seen, high - low)
        ends = self.inverse(np.array([low, high]))
        return _round_numbers(float(ends[0]), float(ends[1]))

    def _thinned(self, ticks: list[float], length: float) -> list[float]:
        """Those that are far enough from the one before."""
        apart = max(_APART, 1 / (_MOST + 1)) * length
        kept = ticks[:1]
        for tick in ticks[1:]:
            if float(self.forward(np.array(tick)) - self.forward(np.array(kept[-1]))) >= apart:
                kept.append(tick)
        return kept


def _round_numbers(low: float, high: float) -> list[float]:
    """Three to six numbers with few digits, equally far apart."""
    size = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = next(s * size for s in (5, 2, 1) if (high - low) / (s * size) >= 3)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log(values: np.ndarray) -> np.ndarray:
    return np.log10(values, where=values > 0, out=np.full(np.shape(values), np.nan))


def _odds(values: np.ndarray) -> np.ndarray:
    inside = (values > 0) & (values < 1)
    return np.where(inside, _log(values) - _log(1 - np.asarray(values)), np.nan)


def _probability(places: np.ndarray) -> np.ndarray:
    return 1 / (1 + 10.0**-places)


def _near_one(value: float) -> str:
    """A value between 0 and 1, with two digits of how far it is from 1."""
    if not 0.5 < value < 1:
        return number(value)
    digits = math.ceil(-math.log10(1 - value)) + 1
    return f"{value:.{digits}f}".rstrip("0")


LOGARITHM = Scale(_log, lambda places: 10.0**places, _LOG, number)
LOG_ODDS = Scale(_odds, _probability, _ODDS, _near_one)
LINEAR = Scale(np.asarray, np.asarray, (), number)


_SCALES: Mapping[hyperparameters.Scale, Scale] = {
    "log": LOGARITHM,
    "unit": LOG_ODDS,
    "linear": LINEAR,
}


def scale_of(name: str, modules: Sequence[str] = ()) -> Scale:
    """The scale of a hyperparameter, which may be of an extension."""
    return _SCALES[extensions.definitions(modules)[name].scale]


def value_said(scale: Scale, value: float) -> str:
    """A value as text."""
    return scale.said(float(value)) if math.isfinite(value) else "-"
