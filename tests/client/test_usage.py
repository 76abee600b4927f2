"""The usage ledger through both Python clients: all pages, sums, filters, and new entries as they come."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.harness import OPTIONS, Served, serving
from tests.support.records import finished_record
from tokengrpc import SyncTokenStreamClient, TokenStreamClient
from tokengrpc.client import UnavailableError
from tokengrpc.client.policy import ResumePolicy
from tokengrpc.stores.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECOND = 10**9
COUNT = 1003
"""More than a page has."""


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    ledger = MemoryLedger()
    for n in range(COUNT):
        record = finished_record(
            f"r{n:04}", tenant="default", model=f"m{n % 2}", labels={"n": str(n)}, create_time_ns=n * SECOND
        )
        await ledger.finish(record)
    async with serving(ledger=ledger) as started:
        yield started


async def test_all_pages_are_read(served: Served) -> None:
    """Records are newest first, entries oldest first; each is there once."""
    async with TokenStreamClient(served.target, options=OPTIONS) as client:
        records = [record.record_id async for record in client.usage.records()]
        entries = [entry.sequence async for entry in client.usage.entries(after=1)]
    assert records == [f"r{n:04}" for n in reversed(range(COUNT))]
    assert entries == list(range(2, COUNT + 1))


async def test_filters_and_sums(served: Served) -> None:
    """Filters select the same for records and sums."""
    chosen: dict[str, Any] = {
        "model": "m1",
        "since": datetime.fromtimestamp(10, UTC),
        "until": datetime.fromtimestamp(20, UTC),
    }
    async with TokenStreamClient(served.target, options=OPTIONS) as client:
        records = [record.create_time.seconds async for record in client.usage.records(**chosen)]
        sums = await client.usage.summarize(["model", "label:n"], **chosen)
        (hour,) = await client.usage.summarize(["hour"], zone="Asia/Kolkata", model="m0")
        assert [record.labels["n"] async for record in client.usage.records(labels={"n": "7"})] == ["7"]
    assert records == [19, 17, 15, 13, 11]
    assert [(s.model, s.label_value) for s in sums] == [("m1", n) for n in ("11", "13", "15", "17", "19")]
    assert (hour.bucket_start_time.seconds, hour.generation_count) == (-1800, COUNT // 2 + 1)


async def test_wrong_arguments(served: Served) -> None:
    """Are errors of the caller's program, before any call."""
    async with TokenStreamClient(served.target, options=OPTIONS) as client:
        for by, zone in ((["week"], ""), (["day", "hour"], ""), (["label:"], ""), (["model"], "UTC")):
            with pytest.raises(ValueError, match=r"by: |zone: "):
                await client.usage.summarize(by, zone=zone)
        with pytest.raises(ValueError, match=r"since: .* has no time zone"):
            await client.usage.summarize(since=datetime(2026, 1, 1))  # noqa: DTZ001 - what is tested
        with pytest.raises(TypeError, match="user is not a filter of usage"):
            await client.usage.summarize(user="x")  # type: ignore[call-arg]


async def test_new_entries_are_followed(served: Served) -> None:
    """An entry that is written later comes as well, and the generator is the caller's to end."""
    async with TokenStreamClient(served.target, options=OPTIONS) as client:
        assert await client.usage.newest_sequence() == COUNT
        following = client.usage.follow(after=COUNT - 1, interval=0.01)
        assert (await anext(following)).sequence == COUNT
        waiting = asyncio.ensure_future(anext(following))
        await served.ledger.finish(finished_record("late", tenant="default"))
        assert (await waiting).usage_record.record_id == "late"
        await following.aclose()  # type: ignore[attr-defined] # a generator


async def test_patience_ends_when_the_server_stays_away(served: Served) -> None:
    """The error of the last call is raised."""
    policy = ResumePolicy(patience=0)
    async with TokenStreamClient("127.0.0.1:1", options=OPTIONS, policy=policy) as client:
        with pytest.raises(UnavailableError):
            await anext(client.usage.follow(interval=0.01))
        with pytest.raises(UnavailableError):
            await client.usage.newest_sequence()


async def test_the_blocking_client(served: Served) -> None:
    """Has the same methods and results."""

    def read() -> tuple[int, int, list[str], int]:
        with SyncTokenStreamClient(served.target, options=OPTIONS) as client:
            records = len(list(client.usage.records()))
            entries = len(list(client.usage.entries(after=2)))
            models = [found.model for found in client.usage.summarize(["model"])]
            following = client.usage.follow(after=client.usage.newest_sequence() - 1)
            return records, entries, models, next(following).sequence

    assert await asyncio.to_thread(read) == (COUNT, COUNT - 2, ["m0", "m1"], COUNT)
