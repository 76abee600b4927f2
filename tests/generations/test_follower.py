"""A follower by itself, whose generation this server takes over while callers wait for its events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from tests.support.records import KEY, log_records
from tests.support.services import make_services
from tokengrpc.core.log_head import LogHead
from tokengrpc.generations.follower import Follower
from tokengrpc.stores.memory import MemoryEventSink

if TYPE_CHECKING:
    from tokengrpc.generations.readable import ReadableGeneration


class Silent(MemoryEventSink):
    """An event sink whose logs cannot be followed yet."""

    async def follow(self, key, after):
        await asyncio.Event().wait()
        yield ()


async def test_a_caller_that_waits_during_a_takeover_drops_nothing() -> None:
    """The buffer is that of the running generation by then: later readers get its events from the first."""
    sink = Silent()
    head = LogHead(record_id="r", model="m", server="s", created=1, replay_ttl=1.0)
    await sink.claim(KEY, b"", head.encode(), "log")
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
