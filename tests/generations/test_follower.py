"""Followers without their servers: while callers wait for a store, and when the last reader has left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from tests.support.records import KEY, log_records
from tests.support.services import make_services
from tokengrpc.config import LimitSettings
from tokengrpc.core.log_head import LogHead
from tokengrpc.errors import StoreUnavailable
from tokengrpc.generations.follower import Follower
from tokengrpc.generations.followers import Followers
from tokengrpc.stores.memory import MemoryEventSink, MemoryLogs

if TYPE_CHECKING:
    from tests.support.virtual_time import VirtualLoop
    from tokengrpc.generations.readable import ReadableGeneration

HEAD = LogHead(record_id="r", model="m", server="s", created=1, replay_ttl=1.0)


class Silent(MemoryEventSink):
    """An event sink whose logs cannot be followed yet."""

    async def follow(self, key, after):
        await asyncio.Event().wait()
        yield ()


async def test_a_caller_that_waits_during_a_takeover_drops_nothing() -> None:
    """The buffer is that of the running generation by then: later readers get its events from the first."""
    sink = Silent()
    await sink.claim(KEY, b"", HEAD.encode(), "log")
    state = await sink.describe(KEY)
    assert state is not None
    follower = Follower(KEY, state, sink, make_services(sink=sink), on_close=lambda _: None)
    waiting = asyncio.create_task(follower.catch_up(2))
    await asyncio.sleep(0)
    buffer = follower.subscribers.buffer
    buffer.append(log_records(1, 2))
    follower.hand_over(cast("ReadableGeneration", Any))
    await waiting
    assert [record.sequence for record in buffer.records(0, 1 << 20)] == [1, 2]


class SlowToCount(MemoryEventSink):
    """An event sink that takes the numbers of readers only once it may."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.may_count = asyncio.Event()

    async def count_subscribers(self, counts):
        await self.may_count.wait()
        return await super().count_subscribers(counts)


async def follow(followers: Followers, sink: MemoryEventSink) -> Follower | None:
    """Follows the generation as a caller does. Returns its follower."""
    state = await sink.describe(KEY)
    assert state is not None
    await followers.follow(KEY, state)
    return followers.find(KEY)


def test_a_slow_store_loses_no_first_reader(loop: VirtualLoop) -> None:
    """A caller who waits for the store keeps the follower, for longer than it stays without readers."""
    sink = SlowToCount(lease=60.0)
    loop.run_until_complete(sink.claim(KEY, b"", HEAD.encode(), "log"))
    followers = Followers(sink, make_services(sink=sink))
    waiting = loop.create_task(follow(followers, sink))
    loop.advance(4.0)
    sink.may_count.set()
    assert loop.run_until_complete(waiting) is not None
    followers.close()
    loop.run()


def test_the_owner_hears_that_the_last_reader_left(loop: VirtualLoop) -> None:
    """From the follower itself, which is gone before the next heartbeat of a long lease."""
    logs = MemoryLogs()
    owner, sink = MemoryEventSink("a", logs, lease=60.0), MemoryEventSink("b", logs, lease=60.0)
    loop.run_until_complete(owner.claim(KEY, b"", HEAD.encode(), "log"))
    followers = Followers(sink, make_services(sink=sink))
    loop.run_until_complete(follow(followers, sink))
    assert sink.log_of(KEY).count(logs.now()) == 1
    loop.advance(2.0)
    assert followers.find(KEY) is None
    assert sink.log_of(KEY).count(logs.now()) == 0


def test_events_that_a_failover_lost_are_not_waited_for(loop: VirtualLoop) -> None:
    """The caller may ask again, and hears what the log has then. Waiting for the store takes far longer."""
    sink = Silent(lease=60.0)
    claim = loop.run_until_complete(sink.claim(KEY, b"", HEAD.encode(), "log"))
    loop.run_until_complete(sink.append(KEY, claim.epoch, log_records(1, 3)))
    state = loop.run_until_complete(sink.describe(KEY))
    assert state is not None
    services = make_services(sink=sink, limits=LimitSettings(store_retry_time=600.0))
    followers = Followers(sink, services)
    waiting = loop.create_task(followers.follow(KEY, state))
    loop.advance(3 * services.sink_patience.call_timeout)
    assert isinstance(waiting.exception(), StoreUnavailable)
    followers.close()
    loop.run()
