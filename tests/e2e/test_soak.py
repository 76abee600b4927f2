"""Endings of all kinds, mixed, on one server: each as due, and nothing is left in the end.

`make soak` does the same for ten minutes, and looks at slopes; nothing that depends on time is asserted here.
"""

from __future__ import annotations

import pytest

from soak.kinds import KINDS
from soak.run import soak
from soak.slopes import Series

SECONDS = 8.0


async def test_mixed_endings_are_as_due_and_leave_nothing():
    """Also, the server logs nothing that was not asked for."""
    result = await soak(SECONDS, callers=10)
    assert result.found == []
    assert result.endings.keys() == KINDS.keys()


@pytest.mark.parametrize(
    ("values", "grows"),
    [
        ([100.0, 101.0, 99.0, 100.0, 100.0], False),
        ([100.0, 120.0, 140.0, 160.0, 180.0], True),
        ([180.0, 160.0, 140.0, 120.0, 100.0], False),
        ([100.0, 100.0, 300.0, 100.0, 100.0], False),
    ],
    ids=["flat", "growing", "shrinking", "a peak"],
)
def test_only_a_slope_is_growth(values: list[float], grows: bool):
    """By least squares, above a tenth of the mean."""
    series = Series(name="", slack=1.0, times=[float(at) for at in range(len(values))], values=values)
    assert series.grows is grows
