"""Stores in memory, beyond the contract that all stores fulfil."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from tests.support.records import KEY, log_records
from tokengrpc.errors import ReplayExpired
from tokengrpc.stores.memory import MemoryEventSink


async def log_without_its_first_two(end: bool) -> MemoryEventSink:
    """Returns a sink with a log of five records, of which the first two are no longer kept."""
    sink = MemoryEventSink()
    claim = await sink.claim(KEY, b"", b"", "log")
    await sink.append(KEY, claim.epoch, log_records(1, 5, end=end))
    drop(sink, 2)
    return sink


def drop(sink: MemoryEventSink, count: int) -> None:
    log = sink.log_of(KEY)
    del log.records[:count]
    log.dropped += count


async def test_a_follower_gets_the_records_that_are_kept() -> None:
    """A log without its oldest records can be followed from the first record that is kept."""
    sink = await log_without_its_first_two(end=True)
    async with aclosing(sink.follow(KEY, 2)) as batches:
        assert [record.sequence async for batch in batches for record in batch] == [3, 4, 5]


async def test_a_follower_that_starts_too_far_behind_fails() -> None:
    """The next record is no longer kept: ReplayExpired, and no later record."""
    sink = await log_without_its_first_two(end=True)
    async with aclosing(sink.follow(KEY, 1)) as batches:
        with pytest.raises(ReplayExpired):
            await anext(batches)


async def test_a_follower_that_falls_too_far_behind_fails() -> None:
    """Records that are dropped before a follower has read them are not skipped."""
    sink = await log_without_its_first_two(end=False)
    async with aclosing(sink.follow(KEY, 2)) as batches:
        assert [record.sequence for record in await anext(batches)] == [3, 4, 5]
        await sink.append(KEY, sink.log_of(KEY).epoch, log_records(6, 8))
        drop(sink, 5)
        with pytest.raises(ReplayExpired):
            await anext(batches)
