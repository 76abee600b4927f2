"""Server processes that are killed or paused while they run generations, and those that continue them.

The servers share a Redis and a PostgreSQL ledger. The engine is scripted; the test sees what it is asked.
"""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tokenstreaming.v1 import generation_pb2, input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.generations.test_followers import events
from tests.support.harness import OPTIONS, check_gapless, collect, has, read_until, until
from tests.support.killed_server import KilledServer
from tests.support.redis_sinks import started
from tests.support.scripted_engine import (
    Done,
    Finish,
    Headers,
    Pause,
    ScriptedEngine,
    Stall,
    Text,
    UsageChunk,
)
from tests.support.wire_dialects import VLLM
from tokengrpc.client.stubs import aio_stub
from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.usage_reader import EntryKind, RecordQuery
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import SqlLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import Postgres
    from tests.support.redis_servers import RedisServer
    from tokengrpc.core.ports.ledger import UsageRecord

WORDS = [f" word{n}" for n in range(12)]
HALF, REST = WORDS[:6], WORDS[6:]
SETTINGS = """
store = "{store}"
ledger = "{ledger}"
server_name = "{name}"
observers = []

[limits]
min_generations = 1000
checkpoint_interval = 0.1

[plugins.redis]
durability = "fsynced"
lease = 1.0

[[models]]
name = "m"
kind = "openai"
dialect = "vllm"
api = "chat"
base_url = "{engine}"
"""


class Fleet:
    """Servers by name, each in a process of its own, and connections to them."""

    def __init__(self, folder: Path, store: str, ledger: str, engine: ScriptedEngine) -> None:
        self.engine = engine
        self.store = store
        self._folder, self._ledger = folder, ledger
        self._servers: dict[str, KilledServer] = {}
        self._channels = AsyncExitStack()

    async def start(self, *names: str) -> None:
        """Starts servers at the same time."""
        for name in names:
            settings = SETTINGS.format(
                store=self.store, ledger=self._ledger, name=name, engine=self.engine.base_url
            )
            self._servers[name] = KilledServer(self._folder / name, settings)
            await self._servers[name].spawn()
        for name in names:
            await self._servers[name].serve()

    async def close(self) -> None:
        """Ends all servers."""
        await self._channels.aclose()
        for server in self._servers.values():
            if server.up.is_set():
                server.signal(signal.SIGCONT)
                await server.end(signal.SIGKILL)

    async def stub(self, name: str) -> Any:
        """Connects to a server."""
        address = f"127.0.0.1:{self._servers[name].port}"
        return aio_stub(
            await self._channels.enter_async_context(grpc.aio.insecure_channel(address, options=OPTIONS))
        )

    async def kill(self, name: str) -> None:
        """Kills a server with SIGKILL."""
        await self._servers[name].end(signal.SIGKILL)

    def signal(self, name: str, what: signal.Signals) -> None:
        """Sends a signal to a server."""
        self._servers[name].signal(what)

    async def stream(self, name: str, generation_id: str = "g", penalty: float = 0.0) -> Any:
        """Starts a generation on a server. With a penalty, nobody can continue it."""
        request = pb.StreamTokensRequest(
            generation_id=generation_id,
            prompt="hello",
            sampling=input_pb2.Sampling(frequency_penalty=penalty),
        )
        return (await self.stub(name)).StreamTokens(request)

    async def resume(self, name: str, generation_id: str = "g", after: Any = None) -> Any:
        """Resumes a generation on a server, after a message if there is one, with proof of what it has."""
        request = pb.ResumeTokensRequest(generation_id=generation_id)
        if after is not None:
            request.after_sequence, request.output_checksum = after.sequence, after.output_checksum
        return (await self.stub(name)).ResumeTokens(request)

    async def records(self) -> dict[str, UsageRecord]:
        """Returns the records of the ledger by generation, of which each was begun and finished once."""
        ledger = SqlLedger(database.postgresql(self._ledger, 5.0), "test")
        await ledger.start()
        try:
            records = await ledger.list_records(RecordQuery(), None, 10)
            entries = await ledger.entries(0, 100)
        finally:
            await ledger.close()
        ids = [record.record_id for record in records]
        written = Counter((entry.record.record_id, entry.kind) for entry in entries)
        assert written == Counter((id_, kind) for id_ in ids for kind in (EntryKind.BEGIN, EntryKind.FINISH))
        return {record.generation_id: record for record in records}


@pytest.fixture
async def fleet(
    redis_fsynced_server: RedisServer, postgres_server: Postgres, tmp_path: Path
) -> AsyncIterator[Fleet]:
    async with ScriptedEngine(VLLM) as engine:
        with ExitStack() as stack:
            ledger = stack.enter_context(postgres_server.database("takeovers"))
            fleet = Fleet(tmp_path, redis_fsynced_server.url, ledger, engine)
            try:
                yield fleet
            finally:
                await fleet.close()
                redis_fsynced_server.call("FLUSHALL")


def texts(*words: str) -> tuple[Any, ...]:
    """Returns a script that ends after these words."""
    return (*map(Text, words), Finish(), UsageChunk(7, len(words)), Done())


def switch_reasons(messages: list[Any]) -> list[str]:
    """Returns why engines were switched."""
    return [m.engine_switched.reason for m in messages if m.HasField("engine_switched")]


def attempts(record: UsageRecord) -> list[tuple[str, int, str]]:
    """Returns the server, the number of output tokens and the error of each attempt."""
    return [(each.server, each.output, each.error_reason) for each in record.attempts]


async def test_generations_of_a_killed_server(fleet: Fleet) -> None:
    """Readers who followed them on another server, and those who resume there, get the same.

    One is continued exactly, one starts again because it had no token, one cannot be continued and ends.
    """
    await fleet.start("a", "b")
    penalties = {"continued": 0.0, "ended": 1.0, "again": 0.0}
    begun, here, there = {}, {}, {}
    for name, penalty in penalties.items():
        half = HALF if name != "again" else []
        fleet.engine.script(Headers(), *map(Text, half), Stall())
        here[name] = await fleet.stream("a", name, penalty)
        arrived = has(half[-1]) if half else lambda message: message.HasField("started")
        begun[name] = await read_until(here[name], arrived)
        there[name] = await fleet.resume("b", name)
        await read_until(there[name], arrived)
    fleet.engine.script(*texts(*REST))
    await fleet.kill("a")
    resumed = {}
    for name in penalties:
        assert (await collect(here[name])).code is grpc.StatusCode.UNAVAILABLE
        resumed[name] = await collect(await fleet.resume("b", name, begun[name][-1]))
        followed = await collect(there[name])
        assert events(followed.messages) == events(resumed[name].messages)
        check_gapless([*begun[name], *resumed[name].messages])
    for name in ("continued", "again"):
        assert resumed[name].code is grpc.StatusCode.OK
        assert resumed[name].text == "".join(REST)
    assert switch_reasons(resumed["continued"].messages) == ["SERVER_LOST"]
    assert switch_reasons(resumed["again"].messages) == []
    ended = resumed["ended"]
    assert (ended.code, ended.info.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_LOST")
    assert (ended.failure.ended, ended.failure.usage.output_token_count) == (True, len(HALF))
    assert ended.finished is not None
    asked = [call.body["messages"][-1] for call in fleet.engine.calls[3:]]
    assert sorted(map(str, asked)) == sorted(
        map(str, [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "".join(HALF)}])
    )
    records = await fleet.records()
    assert attempts(records["continued"]) == [("a", 6, "SERVER_LOST"), ("b", 6, "")]
    assert attempts(records["again"]) == [("a", 0, "SERVER_LOST"), ("b", 6, "")]
    assert attempts(records["ended"]) == [("a", 6, "SERVER_LOST")]
    assert {name: record.usage.output for name, record in records.items()} == {
        "continued": len(WORDS),
        "again": len(REST),
        "ended": len(HALF),
    }


async def test_a_paused_owner_that_comes_back_writes_nothing(fleet: Fleet) -> None:
    """It stops its engine call, and its readers resume where the generation has gone on."""
    await fleet.start("a", "b")
    fleet.engine.script(*map(Text, HALF), hold := Pause(), Text(" stale"), Stall())
    here = await fleet.stream("a")
    begun = await read_until(here, has(HALF[-1]))
    fleet.engine.script(*texts(*REST))
    fleet.signal("a", signal.SIGSTOP)
    elsewhere = await collect(await fleet.resume("b"))
    assert elsewhere.text == "".join(WORDS)
    hold.release()
    fleet.signal("a", signal.SIGCONT)
    fenced = await collect(here)
    assert (fenced.code, fenced.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert fenced.failure.retry_advice == generation_pb2.RETRY_ADVICE_RESUME
    assert not fenced.text
    await fleet.engine.calls[0].disconnected.wait()
    resumed = await collect(await fleet.resume("b", after=begun[-1]))
    check_gapless([*begun, *resumed.messages])
    assert resumed.text == "".join(REST)
    async with started(fleet.store, durability="fsynced") as sink:
        state = await sink.describe(GenerationKey("default", "g"))
    assert state is not None
    assert (state.ended, state.epoch, state.last) == (True, 2, resumed.messages[-1].sequence)
    assert attempts((await fleet.records())["g"]) == [("a", 6, "SERVER_LOST"), ("b", 6, "")]


async def test_the_server_that_took_over_is_killed_as_well(fleet: Fleet) -> None:
    """Before its engine has any output. A third one continues, with one switch for the readers."""
    await fleet.start("a", "b")
    fleet.engine.script(*map(Text, HALF), Stall())
    begun = await read_until(await fleet.stream("a"), has(HALF[-1]))
    fleet.engine.script(Stall())
    await fleet.kill("a")
    there = await fleet.resume("b", after=begun[-1])
    await until(lambda: len(fleet.engine.calls) == 2)
    fleet.engine.script(*texts(*REST))
    await fleet.start("c")
    await fleet.kill("b")
    assert (await collect(there)).code is grpc.StatusCode.UNAVAILABLE
    resumed = await collect(await fleet.resume("c", after=begun[-1]))
    assert resumed.code is grpc.StatusCode.OK
    check_gapless([*begun, *resumed.messages])
    assert resumed.text == "".join(REST)
    assert switch_reasons(resumed.messages) == ["SERVER_LOST"]
    assert attempts((await fleet.records())["g"]) == [("a", 6, "SERVER_LOST"), ("c", 6, "")]
