"""`on_cancel = "drain"`: the usage that arrives after the caller has left is settled in the ledger."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.anthropic_dialect import ANTHROPIC
from tests.support.harness import Served, collect, read_until, serving, until, upstream
from tests.support.scripted_engine import (
    Bytes,
    Call,
    Done,
    Drop,
    Finish,
    Headers,
    Pause,
    ScriptedEngine,
    Stall,
    Text,
    UsageChunk,
)
from tests.support.wire_dialects import OPENAI, VLLM
from tokengrpc.core.model import FinishReason, UsageReport
from tokengrpc.engines.upstream import late_usage

if TYPE_CHECKING:
    from tests.support.wire_dialects import Dialect
    from tokengrpc.core.ports.ledger import UsageRecord


def draining(engine: ScriptedEngine, **settings: Any) -> Any:
    """Returns the settings of a model whose engine reads on after a cancellation."""
    of_anthropic = {"kind": "anthropic", "api": "auto"} if engine.dialect is ANTHROPIC else {}
    return upstream(engine.base_url, on_cancel="drain", **of_anthropic, **settings)


async def leave_after(server: Served, text: str) -> None:
    """Reads a stream until a text has arrived, and cancels the call."""
    call = server.stream()
    await read_until(call, lambda message: any(token.text == text for token in message.tokens))
    call.cancel()
    await until(lambda: server.registry.active == 0, "the generation has ended")


def usage_record(server: Served) -> UsageRecord:
    (record,) = server.ledger.records.values()
    return record


def late_usage_reader_count(server: Served) -> int:
    (pooled,) = server.server.catalog.resolve("").pool.engines
    return pooled.engine.late_usage_reader_count


async def wait_disconnected(call: Call, engine: ScriptedEngine) -> None:
    """Waits until the server has closed the connection."""
    async with asyncio.timeout(5):
        await call.disconnected.wait()
        await engine.until(lambda e: e.open_connections == 0)


@pytest.mark.parametrize("dialect", [OPENAI, VLLM, ANTHROPIC], ids=lambda d: type(d).__name__)
async def test_the_usage_is_settled(dialect: Dialect):
    """The response is read to its end after the caller has left. The record keeps bill and late usage."""
    async with ScriptedEngine(dialect) as engine:
        engine.script(Text("a"), pause := Pause(), Text(*"bcdef"), Finish(), UsageChunk(7, 6), Done())
        async with serving(draining(engine, dialect="vllm" if dialect is VLLM else "generic")) as server:
            await leave_after(server, "a")
            bill = usage_record(server)
            assert bill.settled_usage is None
            assert bill.usage.output == 1
            pause.release()
            late = await until(lambda: usage_record(server).settled_usage, "the late usage")
            assert (late.input, late.output) == (7, 6)
            assert usage_record(server).usage == bill.usage
            assert usage_record(server).finish_reason is FinishReason.CANCELLED
            # The response ended regularly, so its connection is reused.
            engine.script(Text("z"), Finish(), Done())
            await leave_after(server, "z")
            assert engine.open_connections == 1


async def test_the_generation_does_not_wait_for_it():
    """The generation ends and releases its permit while the engine is still sending."""
    async with ScriptedEngine() as engine:
        engine.script(Text("a"), stall := Stall())
        async with serving(draining(engine), limits={"max_generations": 1}) as server:
            await leave_after(server, "a")
            await stall.reached.wait()
            engine.script(Text("b"), Finish(), Done())
            await leave_after(server, "b")
            assert engine.open_connections == 2


async def test_abort_is_the_default():
    """By default the connection is closed at once, and nothing is settled."""
    async with ScriptedEngine() as engine:
        engine.script(Text("a"), Stall())
        async with serving(upstream(engine.base_url)) as server:
            await leave_after(server, "a")
            await wait_disconnected(await engine.called(), engine)


@pytest.mark.parametrize("before", [(), (Headers(),)], ids=["no answer", "accepted"])
async def test_leaving_in_prefill(before: tuple[Any, ...]):
    """Before the engine's headers the connection is closed; after them the response is read to its end."""
    async with ScriptedEngine() as engine:
        engine.script(*before, pause := Pause(), Text("a"), Finish(), UsageChunk(7, 1), Done())
        async with serving(draining(engine)) as server:
            reading = server.stream()
            task = asyncio.ensure_future(reading.read())
            await pause.reached.wait()
            if before:
                await until(lambda: server.ledger.records, "the engine has accepted")
            reading.cancel()
            await asyncio.gather(task, return_exceptions=True)
            call = await engine.called()
            if not before:
                await wait_disconnected(call, engine)
                return
            await until(lambda: server.registry.active == 0)
            pause.release()
            assert await until(lambda: usage_record(server).settled_usage) == UsageReport(input=7, output=1)


async def test_leaving_after_the_finish():
    """After the finish reason the generation succeeds. One reader waits for the usage."""
    async with ScriptedEngine() as engine:
        engine.script(Text("a"), Finish(), pause := Pause(), UsageChunk(7, 1), Done())
        async with serving(draining(engine)) as server:
            call = server.stream("g")
            await read_until(call, lambda message: message.tokens)
            await pause.reached.wait()
            call.cancel()
            await until(lambda: server.registry.active == 0, "the generation has ended")
            assert usage_record(server).finish_reason is FinishReason.END
            assert usage_record(server).settled_usage is None
            assert late_usage_reader_count(server) == 1
            pause.release()
            assert await until(lambda: usage_record(server).settled_usage) == UsageReport(input=7, output=1)


async def test_no_reader_for_a_stalled_engine():
    """The connection of a stalled engine is closed, and nothing is settled."""
    async with ScriptedEngine() as engine:
        engine.script(Text("a"), Stall())
        async with serving(draining(engine), limits={"inter_token_timeout": 0.1}) as server:
            outcome = await collect(server.stream())
            assert outcome.info is not None
            assert outcome.info.reason == "ENGINE_STALLED"
            await wait_disconnected(await engine.called(), engine)
            assert usage_record(server).settled_usage is None


class TestBounds:
    """Beyond a bound the reader stops, and nothing is settled."""

    async def test_time(self):
        """After `drain_limit` the connection is closed."""
        async with ScriptedEngine() as engine:
            engine.script(Text("a"), Stall())
            async with serving(draining(engine, drain_limit=0.05)) as server:
                await leave_after(server, "a")
                await wait_disconnected(await engine.called(), engine)
                assert usage_record(server).settled_usage is None

    async def test_bytes(self, monkeypatch: pytest.MonkeyPatch):
        """After too many bytes the connection is closed."""
        monkeypatch.setattr(late_usage, "MAX_BYTES", 10_000)
        async with ScriptedEngine() as engine:
            engine.script(Text("a"), pause := Pause(), *[Text("x" * 1000)] * 100, Stall())
            async with serving(draining(engine)) as server:
                await leave_after(server, "a")
                pause.release()
                await wait_disconnected(await engine.called(), engine)
                assert usage_record(server).settled_usage is None

    async def test_number(self, monkeypatch: pytest.MonkeyPatch):
        """When the maximum number of readers is running, further connections are closed."""
        monkeypatch.setattr(late_usage, "MAX_READERS", 1)
        async with ScriptedEngine() as engine:
            engine.script(Text("a"), Stall())
            async with serving(draining(engine)) as server:
                await leave_after(server, "a")
                await leave_after(server, "a")
                first, second = await engine.called(), await engine.called()
                async with asyncio.timeout(5):
                    await second.disconnected.wait()
                assert not first.disconnected.is_set()

    async def test_closing_the_server(self):
        """Closing the server cancels the readers."""
        async with ScriptedEngine() as engine:
            engine.script(Text("a"), Stall())
            async with serving(draining(engine)) as server:
                await leave_after(server, "a")
                call = await engine.called()
                assert not call.disconnected.is_set()
            await wait_disconnected(call, engine)

    @pytest.mark.parametrize(
        "end", [(), (Drop(),), (Bytes(b"data: {nonsense\n\n"),)], ids=["cut short", "lost", "nonsense"]
    )
    async def test_irregular_ends(self, end: tuple[Any, ...]):
        """A response that did not end regularly has no final usage."""
        async with ScriptedEngine() as engine:
            engine.script(Text("a"), pause := Pause(), Text("b"), UsageChunk(7, 2), *end)
            async with serving(draining(engine)) as server:
                await leave_after(server, "a")
                assert late_usage_reader_count(server) == 1
                pause.release()
                await until(lambda: late_usage_reader_count(server) == 0, "the reader has ended")
                assert usage_record(server).settled_usage is None
