"""The contract of every event sink."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from tests.support.event_stores import EVENT_STORES
from tests.support.records import KEY, log_records
from tokengrpc.core.model import Durability, GenerationKey
from tokengrpc.core.ports.log import AppendOutcome, AppendStatus, EventSink
from tokengrpc.errors import GenerationNotFound, ReplayExpired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.event_stores import EventStore

Replicas = tuple[EventSink, EventSink]
OK, REPEATED, FENCED, HOLE, CANCEL, UNKNOWN = AppendStatus
OTHER = GenerationKey("other", KEY.generation_id)
NOWHERE = GenerationKey("t", "unknown")


@pytest.fixture(params=EVENT_STORES, ids=[make.__name__ for make in EVENT_STORES])
async def store(request) -> AsyncIterator[EventStore]:
    """Each event store of this project."""
    async with request.param(request) as made:
        yield made


@pytest.fixture
async def replicas(store: EventStore) -> Replicas:
    """Two replicas on one store."""
    return await store.replica("a"), await store.replica("b")


@pytest.fixture
async def sink(replicas: Replicas) -> EventSink:
    return replicas[0]


async def claimed(sink: EventSink, incarnation: str = "log") -> int:
    claim = await sink.claim(KEY, b"same", b"request", incarnation)
    assert claim.owned
    return claim.epoch


@pytest.mark.parametrize(
    ("stored", "appended", "status", "last"),
    [
        pytest.param(0, (1, 3), OK, 3, id="the first records"),
        pytest.param(3, (4, 4), OK, 4, id="the next record"),
        pytest.param(3, (1, 3), REPEATED, 3, id="all of them again"),
        pytest.param(3, (3, 3), REPEATED, 3, id="the last one again"),
        pytest.param(3, (3, 5), OK, 5, id="the last one again, and more"),
        pytest.param(3, (5, 5), HOLE, 3, id="one is missing before them"),
        pytest.param(0, (2, 2), HOLE, 0, id="the first is missing"),
    ],
)
async def test_outcomes_of_an_append(sink: EventSink, stored: int, appended, status, last: int) -> None:
    """The table of `EventSink.append`, except for other epochs and cancels. The stored log has no gap."""
    epoch = await claimed(sink)
    if stored:
        await sink.append(KEY, epoch, log_records(1, stored))
    assert await sink.append(KEY, epoch, log_records(*appended)) == AppendOutcome(status, last)
    if last:
        assert list(await sink.read(KEY, 0, 1 << 20)) == log_records(1, last)


async def test_another_epoch_is_fenced(sink: EventSink) -> None:
    """An owner that lost its claim writes nothing more."""
    old = await claimed(sink)
    await sink.append(KEY, old, log_records(1, 2))
    new = await claimed(sink, "anew")
    assert new > old
    assert (await sink.append(KEY, old, log_records(1, 1))).status is FENCED
    assert await sink.append(KEY, new, log_records(1, 1)) == AppendOutcome(OK, 1)


async def test_one_replica_owns_a_log(replicas: Replicas) -> None:
    """The other one learns which replica does."""
    first, second = replicas
    mine = await first.claim(KEY, b"same", b"request", "mine")
    other = await second.claim(KEY, b"other", b"request", "theirs")
    assert mine.owned
    assert not other.owned
    assert (other.owner, other.epoch, other.fingerprint) == (mine.owner, mine.epoch, b"same")
    assert other.incarnation == mine.incarnation == "mine"
    assert (await second.append(KEY, mine.epoch + 1, log_records(1, 1))).status is FENCED


async def test_a_log_that_is_made_anew_has_its_own_incarnation(replicas: Replicas) -> None:
    """So a cursor of the log before it is not taken for one of this log, on any replica."""
    first, second = replicas
    for incarnation in ("before", "after"):
        claim = await first.claim(KEY, b"same", b"request", incarnation)
        await first.append(KEY, claim.epoch, log_records(1, 1))
        assert claim.incarnation == incarnation
        assert (await second.claim(KEY, b"same", b"", "unused")).incarnation == incarnation


async def test_the_durability_is_told(replicas: Replicas) -> None:
    """It is the store's, so the same on all replicas, and that which is known of it."""
    first, second = replicas
    assert isinstance(first.durability, Durability)
    assert first.durability is second.durability


async def test_a_repeated_claim_changes_nothing(sink: EventSink) -> None:
    """The first answer was lost, and the second call may even arrive after an append."""
    epoch = await claimed(sink)
    await sink.append(KEY, epoch, log_records(1, 2))
    assert await claimed(sink) == epoch
    assert await sink.append(KEY, epoch, log_records(3, 3)) == AppendOutcome(OK, 3)


async def test_ids_are_separate_by_tenant(sink: EventSink) -> None:
    """Two tenants may use one id."""
    epoch = await claimed(sink)
    await sink.append(KEY, epoch, log_records(1, 2))
    claim = await sink.claim(OTHER, b"", b"", "other")
    assert claim.owned
    assert (await sink.append(OTHER, claim.epoch, log_records(1, 1))).status is OK


async def test_reading_after_a_sequence(replicas: Replicas) -> None:
    """Each replica reads what either has written: as much as fits into a message, at least one record."""
    first, second = replicas
    epoch = await claimed(first)
    await first.append(KEY, epoch, log_records(1, 5))
    assert list(await second.read(KEY, 2, 1 << 20)) == log_records(3, 5)
    assert list(await second.read(KEY, 2, 1)) == log_records(3, 3)
    assert list(await second.read(KEY, 5, 1 << 20)) == []
    with pytest.raises(GenerationNotFound):
        await second.read(NOWHERE, 0, 1)


async def test_following_from_anywhere(replicas: Replicas) -> None:
    """A follower receives each record once, in order, whenever it joins, until the generation ends."""
    first, second = replicas
    epoch = await claimed(first)
    await first.append(KEY, epoch, log_records(1, 2))

    async def follow(after: int) -> list[int]:
        async with aclosing(second.follow(KEY, after)) as batches:
            return [record.sequence async for batch in batches for record in batch]

    early, late = asyncio.ensure_future(follow(0)), asyncio.ensure_future(follow(2))
    for n in range(3, 8):
        await first.append(KEY, epoch, log_records(n, n))
        await asyncio.sleep(0)
    await first.append(KEY, epoch, log_records(8, 8, end=True))
    assert await asyncio.wait_for(early, 10) == list(range(1, 9))
    assert await asyncio.wait_for(late, 10) == list(range(3, 9))
    assert await asyncio.wait_for(follow(7), 10) == [8]


async def test_a_cancel_reaches_the_owner(replicas: Replicas) -> None:
    """With the owner's next append, whose records are stored nevertheless."""
    first, second = replicas
    epoch = await claimed(first)
    await first.append(KEY, epoch, log_records(1, 1))
    await second.publish_cancel(KEY)
    assert await first.append(KEY, epoch, log_records(2, 2)) == AppendOutcome(CANCEL, 2)


async def test_an_unknown_log_takes_no_records(sink: EventSink) -> None:
    """A failover may have lost it."""
    assert await sink.append(NOWHERE, 1, log_records(1, 1)) == AppendOutcome(UNKNOWN, 0)


async def test_a_trimmed_cursor_is_an_error(store: EventStore, replicas: Replicas) -> None:
    """Records that are no longer kept are not skipped, by readers and by followers."""
    first, second = replicas
    epoch = await claimed(first)
    await first.append(KEY, epoch, log_records(1, 5, end=True))
    await store.trim(KEY, 2)
    assert list(await second.read(KEY, 2, 1 << 20)) == log_records(3, 4)
    with pytest.raises(ReplayExpired):
        await second.read(KEY, 1, 1 << 20)
    async with aclosing(second.follow(KEY, 1)) as batches:
        with pytest.raises(ReplayExpired):
            await anext(batches)
    async with aclosing(second.follow(KEY, 2)) as batches:
        assert [record.sequence async for batch in batches for record in batch] == [3, 4, 5]


async def test_a_follower_of_a_log_that_is_made_anew_fails(replicas: Replicas) -> None:
    """It receives no records of the new log."""
    first, second = replicas
    epoch = await claimed(first)
    await first.append(KEY, epoch, log_records(1, 2))
    async with aclosing(second.follow(KEY, 0)) as batches:
        assert list(await anext(batches)) == log_records(1, 2)
        following = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        claim = await first.claim(KEY, b"other", b"", "anew")
        await first.append(KEY, claim.epoch, log_records(1, 5))
        with pytest.raises(GenerationNotFound):
            await asyncio.wait_for(following, 10)


async def test_a_follower_reads_on_after_a_takeover(store: EventStore, replicas: Replicas) -> None:
    """The new owner continues the same log."""
    first, second = replicas
    epoch = await claimed(first)
    await first.append(KEY, epoch, log_records(1, 2))
    async with aclosing(first.follow(KEY, 0)) as batches:
        assert list(await anext(batches)) == log_records(1, 2)
        await first.release({KEY: epoch})
        taken = await second.take_over(KEY, epoch)
        await second.append(KEY, taken.epoch, log_records(3, 4, end=True))
        assert [record.sequence async for batch in batches for record in batch] == [3, 4]


async def test_a_follower_waits_until_a_hole_is_filled(store: EventStore, replicas: Replicas) -> None:
    """A failover lost records that the follower has: it receives each record once, in order."""
    first, second = replicas
    epoch = await claimed(first)
    await first.append(KEY, epoch, log_records(1, 6))
    async with aclosing(second.follow(KEY, 0)) as batches:
        seen = [record.sequence for record in await anext(batches)]
        await store.lose(KEY, 3)
        assert await first.append(KEY, epoch, log_records(7, 8)) == AppendOutcome(HOLE, 3)
        await first.append(KEY, epoch, log_records(4, 8, end=True))
        seen += [record.sequence async for batch in batches for record in batch]
    assert seen == list(range(1, 9))
