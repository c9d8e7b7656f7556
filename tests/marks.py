"""Which cases of a parametrised test are in the short suite."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest


def mostly_slow(cases: Mapping[str, Any], short: Collection[str]) -> list:
    """Cases for `parametrize`, by id. All but the short ones take the same way through the code."""
    assert set(short) <= set(cases), set(short) - set(cases)
    return [
        pytest.param(
            *(case if type(case) is tuple else (case,)),
            id=name,
            marks=() if name in short else pytest.mark.slow,
        )
        for name, case in cases.items()
    ]
