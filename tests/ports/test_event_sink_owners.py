"""The contract of every event sink: owners, leases, takeover, cancels and subscribers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from tests.support.event_stores import EVENT_STORES, LEASE
from tests.support.records import KEY, log_records
from tokengrpc.core.events import RecordKind
from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.log import (
    AppendStatus,
    EventSink,
    Lease,
    LeaseStatus,
    LogState,
    Record,
    Takeover,
    TakeoverStatus,
)
from tokengrpc.errors import GenerationNotFound, LogDiverged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.event_stores import EventStore

Replicas = tuple[EventSink, EventSink]

OTHER = GenerationKey("t", "other")
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


async def claimed(sink: EventSink, key: GenerationKey = KEY, records: int = 0, *, end: bool = False) -> int:
    claim = await sink.claim(key, b"same", b"request", "log")
    assert claim.owned
    if records:
        await sink.append(key, claim.epoch, log_records(1, records, end=end))
    return claim.epoch


async def described(sink: EventSink, key: GenerationKey = KEY) -> LogState:
    state = await sink.describe(key)
    assert state is not None
    return state


async def append_status(sink: EventSink, epoch: int, *sequences: int) -> AppendStatus:
    return (await sink.append(KEY, epoch, log_records(*sequences))).status


async def test_a_log_is_described_to_any_replica(replicas: Replicas) -> None:
    """All that a replica needs to read a log, or to continue its generation."""
    first, second = replicas
    assert await second.describe(KEY) is None
    epoch = await claimed(first, records=2)
    await second.count_subscribers({KEY: 3})
    state = await described(second)
    assert 0 < state.lease_left <= first.lease == LEASE
    assert state == LogState(
        owner=first.replica,
        epoch=epoch,
        lease_left=state.lease_left,
        fingerprint=b"same",
        incarnation="log",
        request=b"request",
        last=2,
        ended=False,
        cancel_requested=False,
        subscribers=3,
    )
    await second.publish_cancel(KEY)
    await first.append(KEY, epoch, log_records(3, 3, end=True))
    state = await described(second)
    assert (state.last, state.ended, state.cancel_requested) == (3, True, True)


async def test_renewals_of_many_leases_report_what_happened(store: EventStore, replicas: Replicas) -> None:
    """One call for all: cancels, logs of others, logs that are gone, and subscribers."""
    first, second = replicas
    keys = {name: GenerationKey("t", name) for name in ("held", "cancelled", "fenced", "released")}
    epochs = {key: await claimed(first, key) for key in keys.values()}
    await second.publish_cancel(keys["cancelled"])
    await second.count_subscribers({keys["held"]: 2})
    await store.pass_leases(*keys.values())
    await second.take_over(keys["fenced"], epochs[keys["fenced"]])
    await first.release({keys["released"]: epochs[keys["released"]]})
    leases = await first.renew({**epochs, NOWHERE: 1})
    assert leases == {
        keys["held"]: Lease(LeaseStatus.HELD, 2),
        keys["cancelled"]: Lease(LeaseStatus.CANCEL_REQUESTED, 0),
        keys["fenced"]: Lease(LeaseStatus.FENCED, 0),
        keys["released"]: Lease(LeaseStatus.FENCED, 0),
        NOWHERE: Lease(LeaseStatus.UNKNOWN, 0),
    }
    assert (await described(first, keys["held"])).lease_left > 0
    assert await first.renew({}) == {}


async def test_an_append_renews_the_lease(store: EventStore, replicas: Replicas) -> None:
    """Also one that repeats what is stored."""
    first, second = replicas
    epoch = await claimed(first)
    for records in (log_records(1, 1), log_records(1, 1)):
        await store.pass_leases(KEY)
        assert (await described(second)).lease_left == 0
        await first.append(KEY, epoch, records)
        assert (await described(second)).lease_left > 0


@pytest.mark.parametrize("how", ["the lease ends", "the owner releases it"])
async def test_takeover(store: EventStore, replicas: Replicas, how: str) -> None:
    """The new owner continues the same log; the old one is fenced, and stays so."""
    first, second = replicas
    epoch = await claimed(first, records=2)
    assert await second.take_over(KEY, epoch) == Takeover(TakeoverStatus.HELD, epoch, first.replica, 2)
    if how == "the lease ends":
        await store.pass_leases(KEY)
    else:
        await first.release({KEY: epoch})
        assert (await described(second)).owner == ""
        assert await append_status(first, epoch, 3, 3) is AppendStatus.FENCED
    taken = Takeover(TakeoverStatus.TAKEN, epoch + 1, second.replica, 2)
    assert await second.take_over(KEY, epoch) == taken
    state = await described(first)
    assert (state.owner, state.epoch, state.incarnation, state.request) == (
        second.replica,
        epoch + 1,
        "log",
        b"request",
    )
    assert state.lease_left > 0
    for sequences in ((1, 2), (3, 3), (9, 9)):
        assert await append_status(first, epoch, *sequences) is AppendStatus.FENCED
    assert (await first.renew({KEY: epoch}))[KEY].status is LeaseStatus.FENCED
    assert await append_status(second, epoch + 1, 3, 3) is AppendStatus.OK
    assert list(await first.read(KEY, 0, 1 << 20)) == log_records(1, 3)
    # A caller that has got no answer asks again.
    assert (await second.take_over(KEY, epoch)).status is TakeoverStatus.TAKEN


async def test_one_of_several_replicas_takes_over(store: EventStore, replicas: Replicas) -> None:
    """The others learn the new owner."""
    first, second = replicas
    third = await store.replica("c")
    epoch = await claimed(first, records=1)
    await store.pass_leases(KEY)
    results = await asyncio.gather(second.take_over(KEY, epoch), third.take_over(KEY, epoch))
    assert sorted(result.status.value for result in results) == ["moved", "taken"]
    assert len({(result.epoch, result.owner) for result in results}) == 1
    assert (await first.take_over(KEY, epoch)).status is TakeoverStatus.MOVED


async def test_an_owner_that_comes_back_in_time_keeps_its_log(store: EventStore, replicas: Replicas) -> None:
    """The lease had ended, but nobody took over: the epoch decides, not the clock."""
    first, second = replicas
    epoch = await claimed(first, records=1)
    await store.pass_leases(KEY)
    assert await append_status(first, epoch, 2, 2) is AppendStatus.OK
    assert (await second.take_over(KEY, epoch)).status is TakeoverStatus.HELD
    await store.pass_leases(KEY)
    assert (await first.renew({KEY: epoch}))[KEY].status is LeaseStatus.HELD
    assert (await second.take_over(KEY, epoch)).status is TakeoverStatus.HELD


async def test_nothing_takes_over_what_has_ended_or_is_unknown(store: EventStore, replicas: Replicas) -> None:
    """An ended generation needs no owner."""
    first, second = replicas
    epoch = await claimed(first, records=2, end=True)
    await store.pass_leases(KEY)
    assert (await second.take_over(KEY, epoch)).status is TakeoverStatus.ENDED
    assert await second.take_over(NOWHERE, 1) == Takeover(TakeoverStatus.UNKNOWN)


async def test_a_claim_takes_over_nothing(store: EventStore, replicas: Replicas) -> None:
    """Neither a log whose lease has ended, nor one that was released."""
    first, second = replicas
    epoch = await claimed(first, records=1)
    await store.pass_leases(KEY)
    assert not (await second.claim(KEY, b"same", b"request", "new")).owned
    await first.release({KEY: epoch})
    for sink in replicas:
        claim = await sink.claim(KEY, b"same", b"request", "new")
        assert (claim.owned, claim.owner, claim.epoch, claim.incarnation) == (False, "", epoch, "log")


async def test_only_the_owner_releases_a_log(replicas: Replicas) -> None:
    """Another replica, an older epoch and an unknown log change nothing."""
    first, second = replicas
    old = await claimed(first)
    epoch = (await first.claim(KEY, b"same", b"request", "anew")).epoch
    await second.release({KEY: epoch, NOWHERE: 1})
    await first.release({KEY: old})
    assert (await described(first)).owner == first.replica


async def test_orphans_are_running_logs_without_an_owner(store: EventStore, replicas: Replicas) -> None:
    """Those that have ended, and those with a lease, are not listed."""
    first, second = replicas
    keys = {name: GenerationKey("t", name) for name in ("released", "ended", "held", "gone", "expired")}
    epochs = {key: await claimed(first, key, 1, end=key is keys["ended"]) for key in keys.values()}
    await first.retain(keys["ended"], epochs[keys["ended"]], 60)
    await first.retain(keys["gone"], epochs[keys["gone"]], 0)
    assert list(await second.orphans(10)) == []
    await store.pass_leases(*keys.values())
    assert set(await second.orphans(10)) == {keys[name] for name in ("released", "held", "expired")}
    await first.renew({keys["held"]: epochs[keys["held"]]})
    await first.release({keys["released"]: epochs[keys["released"]]})
    assert list(await second.orphans(10)) == [keys["released"], keys["expired"]]
    assert list(await second.orphans(1)) == [keys["released"]]
    await second.take_over(keys["released"], epochs[keys["released"]])
    assert list(await second.orphans(10)) == [keys["expired"]]


async def test_a_log_is_kept_after_its_end(replicas: Replicas) -> None:
    """With a time of 0 it is deleted, and its id is free for any replica."""
    first, second = replicas
    epoch = await claimed(first, records=2, end=True)
    await second.retain(KEY, epoch, 0)
    await first.retain(KEY, epoch + 1, 0)
    await first.retain(KEY, epoch, 60)
    assert list(await second.read(KEY, 0, 1 << 20)) == log_records(1, 1)
    await first.retain(KEY, epoch, 0)
    assert await second.describe(KEY) is None
    with pytest.raises(GenerationNotFound):
        await second.read(KEY, 0, 1 << 20)
    assert (await second.claim(KEY, b"", b"", "anew")).owned


async def test_a_log_that_was_lost_can_be_made_again(store: EventStore, replicas: Replicas) -> None:
    """Its owner learns it, claims it with the same incarnation, and appends what it has."""
    first, second = replicas
    epoch = await claimed(first, records=3)
    await store.drop(KEY)
    assert await append_status(first, epoch, 4, 4) is AppendStatus.UNKNOWN
    again = await first.claim(KEY, b"same", b"request", "log")
    assert (again.owned, again.incarnation) == (True, "log")
    assert await append_status(first, again.epoch, 1, 4) is AppendStatus.OK
    assert list(await second.read(KEY, 0, 1 << 20)) == log_records(1, 4)


async def test_an_older_producer_writes_nothing_to_a_new_log(store: EventStore, replicas: Replicas) -> None:
    """Its log expired while it slept, and another replica uses the id: with the same epoch."""
    first, second = replicas
    old = await claimed(first, records=1)
    await store.drop(KEY)
    new = (await second.claim(KEY, b"other", b"", "anew")).epoch
    assert new == old
    assert await append_status(first, old, 1, 1) is AppendStatus.FENCED
    assert await append_status(first, old, 2, 2) is AppendStatus.FENCED
    assert list(await second.read(KEY, 0, 1 << 20)) == []


async def test_a_cancel_is_told_to_the_owner_at_once(store: EventStore, replicas: Replicas) -> None:
    """By a message, whichever replica owns the log now. Later owners learn it as well."""
    first, second = replicas
    epoch = await claimed(first)
    other = await claimed(first, OTHER)
    async with aclosing(first.cancels()) as cancels, aclosing(second.cancels()) as seconds:
        one, two = asyncio.ensure_future(anext(cancels)), asyncio.ensure_future(anext(seconds))
        await second.publish_cancel(KEY)
        assert await asyncio.wait_for(one, 10) == KEY
        await store.pass_leases(OTHER)
        await second.take_over(OTHER, other)
        await first.publish_cancel(OTHER)
        assert await asyncio.wait_for(two, 10) == OTHER
    await store.pass_leases(KEY)
    taken = await second.take_over(KEY, epoch)
    assert (await second.renew({KEY: taken.epoch}))[KEY].status is LeaseStatus.CANCEL_REQUESTED
    with pytest.raises(GenerationNotFound):
        await second.publish_cancel(NOWHERE)


async def test_subscribers_are_counted_over_replicas(replicas: Replicas) -> None:
    """Each replica sets its own numbers, of many logs in one call."""
    first, second = replicas
    await claimed(first)
    await claimed(first, OTHER)
    assert await first.count_subscribers({KEY: 2, OTHER: 1}) == {KEY: 2, OTHER: 1}
    assert await second.count_subscribers({KEY: 1, NOWHERE: 1}) == {KEY: 3, NOWHERE: 0}
    assert await first.count_subscribers({KEY: 0}) == {KEY: 1}
    assert await first.count_subscribers({}) == {}


async def test_another_owner_continues_a_log_that_lost_its_end(store: EventStore, replicas: Replicas) -> None:
    """Owner and end of the log are lost together. A follower that has the end learns it."""
    old, new = replicas
    epoch = (await old.claim(KEY, b"", b"", "log")).epoch
    await old.append(KEY, epoch, log_records(1, 6))
    async with aclosing(new.follow(KEY, 0)) as batches:
        assert [record.sequence for record in await anext(batches)] == [1, 2, 3, 4, 5, 6]
        await store.lose(KEY, 3)
        await store.pass_leases(KEY)
        taken = await new.take_over(KEY, epoch)
        assert (taken.status, taken.last) == (TakeoverStatus.TAKEN, 3)
        others = [Record(n, RecordKind.TOKENS, b"other%d;" % n, b"") for n in range(4, 9)]
        await new.append(KEY, taken.epoch, others)
        with pytest.raises(LogDiverged):
            await asyncio.wait_for(anext(batches), 10)


@pytest.mark.parametrize("gone", ["deleted", "expired"])
async def test_an_owner_stays_fenced_when_the_log_is_gone(
    store: EventStore, replicas: Replicas, gone: str
) -> None:
    """Another one has ended the generation: the old owner does not write the log again, and a new one may."""
    first, second = replicas
    old = await claimed(first, records=2)
    await store.pass_leases(KEY)
    epoch = (await second.take_over(KEY, old)).epoch
    if gone == "deleted":
        await second.retain(KEY, epoch, 0)
    else:
        await second.retain(KEY, epoch, 60)
        await store.drop(KEY)
    assert await append_status(first, old, 3, 3) is AppendStatus.FENCED
    assert (await first.renew({KEY: old}))[KEY].status is LeaseStatus.FENCED
    assert await append_status(second, epoch, 3, 3) is AppendStatus.UNKNOWN
    new = await second.claim(KEY, b"same", b"request", "anew")
    assert (new.owned, new.epoch) == (True, epoch + 1)
    await store.drop(KEY)
    assert await append_status(second, new.epoch, 1, 1) is AppendStatus.UNKNOWN
