"""Servers that continue the generations of one that is gone, from the event store that they share.

The store is in memory. A server that is cut from it seems to be dead to the others; afterwards it is fenced.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tokenstreaming.v1 import input_pb2

from tests.support.cut_sink import CutSink
from tests.support.harness import check_gapless, collect, read_until, serving, upstream
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Stall, Text, UsageChunk
from tests.support.wire_dialects import VLLM
from tokengrpc.stores.memory import MemoryLogs
from tokengrpc.stores.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.harness import Served

WORDS = [f" word{n}" for n in range(12)]
REST = WORDS[6:]
END = (Finish(), UsageChunk(7, len(REST)), Done())
SWITCH = input_pb2.Recovery(max_engine_switch_count=1)
LEASE = 0.4


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine(VLLM) as engine:
        yield engine


@asynccontextmanager
async def replicas(engine: ScriptedEngine, count: int = 2, **settings: Any) -> AsyncIterator[list[Served]]:
    """Runs servers on one store, with one ledger."""
    logs, ledger = MemoryLogs(), MemoryLedger()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                serving(
                    upstream(engine.base_url, dialect="vllm"),
                    sink=CutSink(name, logs, lease=LEASE),
                    ledger=ledger,
                    server_name=name,
                    **settings,
                )
            )
            for name in "abc"[:count]
        ]


def has(text: str) -> Any:
    """Returns whether a message has a token with this text."""
    return lambda message: any(text in token.text for token in message.tokens)


async def test_another_server_continues_exactly(engine: ScriptedEngine) -> None:
    """Its readers there see the switch and the rest, in one output without a gap; there is one record."""
    async with replicas(engine) as (a, b):
        engine.script(*map(Text, WORDS[:6]), Stall())
        here = a.stream("g", recovery=SWITCH)
        await read_until(here, has(WORDS[5]))
        engine.script(*map(Text, REST), *END)
        there = b.resume("g")
        before = await read_until(there, has(WORDS[5]))
        a.server.sink.cut()
        outcome = await collect(there)
        assert outcome.code is grpc.StatusCode.OK
        check_gapless([*before, *outcome.messages])
        assert outcome.text == "".join(REST)
        (switch,) = [m.engine_switched for m in outcome.messages if m.HasField("engine_switched")]
        assert switch.reason == "SERVER_LOST"
        a.server.sink.mend()
        fenced = await collect(here)
        assert (fenced.code, fenced.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        (record,) = a.ledger.records.values()
        assert [(each.server, each.output) for each in record.attempts] == [("a", 6), ("b", 6)]
        assert record.usage.output == len(WORDS)
        assert await b.get("g")
