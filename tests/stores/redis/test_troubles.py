"""Troubles of resumable streams on Redis elsewhere; more are in the other files and in tests/ports."""

from __future__ import annotations

import asyncio
import gc
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from tests.support.event_stores import EVENT_STORES
from tests.support.records import KEY, log_records
from tokengrpc.core.events import RecordKind
from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.log import AppendStatus, Record, TakeoverStatus
from tokengrpc.errors import GenerationNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.event_stores import RedisEventStore


@pytest.fixture(params=EVENT_STORES[1:], ids=[make.__name__ for make in EVENT_STORES[1:]])
async def store(request) -> AsyncIterator[RedisEventStore]:
    """Each store on a real server."""
    async with request.param(request) as made:
        yield made


async def test_nothing_is_lost_between_two_reads(store: RedisEventStore) -> None:
    """A read after `$` would begin at whatever is last by then. Records come one by one."""
    writer, reader = await store.replica("a"), await store.replica("b")
    epoch = (await writer.claim(KEY, b"", b"", "log")).epoch
    count = 150

    async def follow(after: int) -> list[int]:
        async with aclosing(reader.follow(KEY, after)) as batches:
            return [record.sequence async for batch in batches for record in batch]

    following = []
    for n in range(1, count + 1):
        if n % 10 == 1:
            following.append((n - 1, asyncio.ensure_future(follow(n - 1))))
        await writer.append(KEY, epoch, log_records(n, n, end=n == count))
    for after, task in following:
        assert await asyncio.wait_for(task, 30) == list(range(after + 1, count + 1))


async def test_records_of_one_moment_stay_apart(store: RedisEventStore) -> None:
    """Ids are sequences, not times: a cursor within a millisecond is exact."""
    sink = await store.replica("a")
    epoch = (await sink.claim(KEY, b"", b"", "log")).epoch
    await sink.append(KEY, epoch, log_records(1, 50))
    for after in (0, 1, 24, 49):
        assert (await sink.read(KEY, after, 1 << 20))[0].sequence == after + 1


async def test_an_id_is_used_again_by_another_producer(store: RedisEventStore) -> None:
    """The old producer writes nothing, and its follower gets nothing of the new log."""
    old, new = await store.replica("a"), await store.replica("b")
    epoch = (await old.claim(KEY, b"", b"", "old")).epoch
    await old.append(KEY, epoch, log_records(1, 3))
    async with aclosing(new.follow(KEY, 0)) as batches:
        assert [record.sequence for record in await anext(batches)] == [1, 2, 3]
        await store.drop(KEY)
        fresh = (await new.claim(KEY, b"", b"", "new")).epoch
        await new.append(KEY, fresh, log_records(1, 9))
        assert (await old.append(KEY, epoch, log_records(4, 4))).status is AppendStatus.FENCED
        with pytest.raises(GenerationNotFound):
            await asyncio.wait_for(anext(batches), 10)


async def test_a_slow_follower_slows_nobody(store: RedisEventStore) -> None:
    """Its records wait in the store, not in memory; it has them all in the end."""
    writer, reader = await store.replica("a"), await store.replica("b")
    epoch = (await writer.claim(KEY, b"", b"", "log")).epoch
    large = [Record(n, RecordKind.TOKENS, bytes(100_000), b"t") for n in range(1, 41)]
    end = Record(41, RecordKind.FINISHED, b"", b"t")
    async with aclosing(reader.follow(KEY, 0)) as slow, aclosing(reader.follow(KEY, 0)) as fast:
        await writer.append(KEY, epoch, large[:1])
        first = [*await anext(slow)]
        seen = [*await anext(fast)]
        for n in range(1, 40, 3):
            await writer.append(KEY, epoch, large[n : n + 3])
            while seen[-1].sequence < n + 1:
                seen += await anext(fast)
        await writer.append(KEY, epoch, [end])
        seen += [record async for batch in fast for record in batch]
        first += [record async for batch in slow for record in batch]
    assert seen == first == [*large, end]


@pytest.mark.parametrize("learns", ["append", "renew", "release", "retain"])
async def test_nothing_is_kept_of_logs_that_others_own(store: RedisEventStore, learns: str) -> None:
    """However the replica that lost a log learns of it."""
    old, new = await store.replica("a"), await store.replica("b")
    key = GenerationKey("t", "moved")
    gc.collect()
    before = sys.getrefcount(key)
    epoch = (await old.claim(key, b"", b"", "log")).epoch
    await store.pass_leases(key)
    assert (await new.take_over(key, epoch)).status is TakeoverStatus.TAKEN
    ways = {
        "append": lambda: old.append(key, epoch, log_records(1, 1)),
        "renew": lambda: old.renew({key: epoch}),
        "release": lambda: old.release({key: epoch}),
        "retain": lambda: old.retain(key, epoch, 60.0),
    }
    await ways.pop(learns)()
    await new.retain(key, epoch + 1, 0)
    ways.clear()
    gc.collect()
    assert sys.getrefcount(key) == before
