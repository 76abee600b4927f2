"""Spans, which databases compare, say the same as the edges of all hours, days and months."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tokengrpc.core.ports.usage_reader import TimeUnit
from tokengrpc.stores.calendar import bucket_edges, bucket_spans

SECOND = 10**9
# Clocks change by an hour, by half an hour, around Ramadan; a day was left out in 2011; never.
ZONES = ("Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "Asia/Kolkata")


def at(*date: int) -> int:
    return round(datetime(*date, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[arg-type]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("unit", [TimeUnit.DAY, TimeUnit.MONTH])
def test_spans_say_the_same_as_edges(unit: TimeUnit, zone: str) -> None:
    """At each edge, just before it and in between, over 20 years. Days have far fewer spans than edges."""
    first, last = at(2010, 1, 1, 13), at(2030, 1, 1)
    edges = bucket_edges(first, last, unit, ZoneInfo(zone))
    spans = bucket_spans(first, last, unit, ZoneInfo(zone))
    starts = [span.start_ns for span in spans]
    for edge in edges[1:]:
        for time in (edge - 1, edge, edge + 7 * SECOND):
            start, length = spans[bisect_right(starts, time) - 1]
            assert time - (time - start) % length == edges[bisect_right(edges, time) - 1]
    assert all(length for _, length in spans)
    assert unit is TimeUnit.MONTH or len(spans) < 150 < len(edges)
