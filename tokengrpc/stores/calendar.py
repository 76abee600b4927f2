"""Hours, days and months in a time zone, as instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

from tokengrpc.core.ports.usage_reader import TimeUnit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from zoneinfo import ZoneInfo

_SECOND = 1_000_000_000
_HOUR = 3600 * _SECOND


def bucket_edges(first_ns: int, last_ns: int, unit: TimeUnit, zone: ZoneInfo | None) -> Sequence[int]:
    """Returns the starts of all units from the one with `first_ns` to the one with `last_ns`.

    Times are in nanoseconds since the Unix epoch. A day may have 23 or 25 hours. Hours are 3600 seconds each
    and begin at the zone's minutes of `first_ns`.
    """
    start = datetime.fromtimestamp(first_ns // _SECOND, zone or UTC)
    walk = _hours(start) if unit is TimeUnit.HOUR else _dates(start, unit)
    edges = [next(walk)]
    for edge in walk:
        if edge > last_ns:
            break
        edges.append(edge)
    return edges


class Span(NamedTuple):
    """Time from `start_ns` on that is divided into units of one length."""

    start_ns: int
    length_ns: int


def bucket_spans(first_ns: int, last_ns: int, unit: TimeUnit, zone: ZoneInfo | None) -> Sequence[Span]:
    """Returns the edges of `bucket_edges` as spans, each until the start of the next one.

    There are few: one of hours; of days, up to four for each year in which clocks change twice.
    """
    if unit is TimeUnit.HOUR:
        (edge,) = bucket_edges(first_ns, first_ns, unit, zone)
        return [Span(edge, _HOUR)]
    # Two more units, so that the length of the last one is known.
    edges = bucket_edges(first_ns, last_ns + 64 * 24 * _HOUR, unit, zone)
    each = (Span(start, end - start) for start, end in pairwise(edges) if start < end)
    return [next(alike) for _, alike in groupby(each, key=lambda span: span.length_ns)]


def _hours(start: datetime) -> Iterator[int]:
    edge = round(start.timestamp()) - start.minute * 60 - start.second
    while True:
        yield edge * _SECOND
        edge += 3600


def _dates(start: datetime, unit: TimeUnit) -> Iterator[int]:
    date = start.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if unit is TimeUnit.MONTH:
        date = date.replace(day=1)
    while True:
        yield round(date.timestamp()) * _SECOND
        # 32 days after the first of a month is the next month. Addition is in local time, without its offset.
        step = timedelta(days=1 if unit is TimeUnit.DAY else 32)
        date = (date + step).replace(fold=0)
        if unit is TimeUnit.MONTH:
            date = date.replace(day=1)
