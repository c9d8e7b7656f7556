"""How many digits a number deserves: as many as its interval leaves certain."""

from __future__ import annotations

import math

_OF_WIDTH = 2  # digits of an interval's width that are shown
_MOST = 6  # digits of a number, however narrow its interval
_TOLD_APART = (0.0, 0.5, 1.0)  # what an end must not look like unless it is that: sentences ask


def alike(value: float, low: float, high: float) -> tuple[str, str, str]:
    """A number and the ends of its interval as text, with the same decimals.

    These show two digits of the width: 435 [376, 483], 0.76 [0.57, 0.93], 43.9 [42.7, 45.2]. There
    are more where an end would otherwise read as 0, 0.5 or 1, and is not.

    Args:
      value: finite.
      low: finite.
      high: finite.
    """
    most = _MOST - 1 - _size(max(abs(low), abs(high), abs(value)))
    decimals = _OF_WIDTH - 1 - _size(high - low) if high > low else _fewest(value, most)
    decimals = max(0, min(decimals, most))
    while decimals < most and any(_misread(end, decimals) for end in (low, high)):
        decimals += 1
    low_said, high_said = (_fixed(end, decimals) for end in (low, high))
    return _fixed(value, decimals), low_said, high_said


def _size(value: float) -> int:
    """Place of the first digit: 0 for 1 to 9.9, -1 for 0.1 to 0.99."""
    return math.floor(math.log10(value)) if value > 0 else 0


def _fewest(value: float, most: int) -> int:
    """Decimals that say a number exactly to three digits: 500, 0.75."""
    digits = f"{abs(value):.{max(0, min(most, 2 - _size(abs(value))))}f}"
    return len(digits.rstrip("0").partition(".")[2])


def _misread(end: float, decimals: int) -> bool:
    return any(end != mark and round(end, decimals) == mark for mark in _TOLD_APART)


def _fixed(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"
