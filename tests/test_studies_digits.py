"""Digits of numbers follow their intervals, and mislead nobody."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftuning.studies import digits
from selftuning.studies.intervals import Interval, alone, said


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((435.2, 376.3, 482.9), "435 [376, 483]"),
        ((0.7639, 0.569, 0.931), "0.76 [0.57, 0.93]"),
        ((43.9, 42.7, 45.2), "43.9 [42.7, 45.2]"),
        ((500.0, 498.24, 500.0), "500.0 [498.2, 500.0]"),
        ((500.0, 500.0, 500.0), "500 [500, 500]"),
        ((0.75, 0.75, 0.75), "0.75 [0.75, 0.75]"),
        ((-170.3, -190.1, -150.2), "-170 [-190, -150]"),
        ((12345.6, 10000.0, 15000.0), "12,346 [10,000, 15,000]"),
        ((0.55, 0.503, 0.604), "0.550 [0.503, 0.604]"),  # 0.50 would be undecided
        ((0.55, 0.5, 0.604), "0.55 [0.50, 0.60]"),
        ((100.0, -0.04, 200.0), "100.00 [-0.04, 200.00]"),  # 0 would not contain it
        ((-0.001, -0.02, 0.01), "-0.001 [-0.020, 0.010]"),
    ],
)
def test_two_digits_of_the_width_are_shown(found, expected):
    assert said(Interval(*found)) == expected
    assert alone(Interval(*found)) == expected.partition(" ")[0]


finite = st.floats(-1e7, 1e7, allow_nan=False)


@given(st.tuples(finite, finite, finite).map(sorted))
def test_what_is_said_is_near_what_is_meant(ends):
    low, value, high = ends
    texts = digits.alike(value, low, high)
    numbers = [float(text.replace(",", "")) for text in texts]
    largest = max(map(abs, ends))
    # A twentieth of the width is half of its second digit; no number has more than six of its own.
    tolerance = max((high - low) / 20, 1e-5 * largest) if high > low else 0.006 * largest
    for number, meant in zip(numbers, (value, low, high), strict=True):
        assert math.isclose(number, meant, rel_tol=1e-9, abs_tol=tolerance)
    assert numbers[1] <= numbers[0] <= numbers[2]
    assert not any(text.startswith("-") and not float(text.replace(",", "")) for text in texts)
