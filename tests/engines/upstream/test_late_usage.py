"""A caller who left, and an engine whose usage comes last: `on_cancel = "drain"` settles the ledger."""

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
from tokengrpc.engines.upstream import late_usage as drains

if TYPE_CHECKING:
    from tests.support.wire_dialects import Dialect
    from tokengrpc.core.ports.ledger import UsageRecord


def drained(engine: ScriptedEngine, **settings: Any) -> Any:
    of_anthropic = {"kind": "anthropic", "api": "auto"} if engine.dialect is ANTHROPIC else {}
    return upstream(engine.base_url, on_cancel="drain", **of_anthropic, **settings)


async def leave_after(server: Served, text: str) -> None:
    """Reads until a text has come, and leaves."""
    call = server.stream()
    await read_until(call, lambda message: any(token.text == text for token in message.tokens))
    call.cancel()
    await until(lambda: server.registry.active == 0, "the generation has ended")


def entry(server: Served) -> UsageRecord:
    (only,) = server.ledger.records.values()
    return only


async def gone(call: Call, engine: ScriptedEngine) -> None:
    """The server hung up."""
    async with asyncio.timeout(5):
        await call.disconnected.wait()
        await engine.until(lambda e: e.open_connections == 0)


@pytest.mark.parametrize("dialect", [OPENAI, VLLM, ANTHROPIC], ids=lambda d: type(d).__name__)
async def test_the_usage_is_settled(dialect: Dialect):
    """The engine is read to its end with nobody waiting; what it told stands beside the bill."""
    async with ScriptedEngine(dialect) as engine:
        engine.script(Text("a"), pause := Pause(), Text(*"bcdef"), Finish(), UsageChunk(7, 6), Done())
        async with serving(drained(engine, dialect="vllm" if dialect is VLLM else "generic")) as server:
            await leave_after(server, "a")
            bill = entry(server)
            assert bill.settled_usage is None
            assert bill.usage.output == 1
            pause.release()
            late = await until(lambda: entry(server).settled_usage, "the late usage")
            assert (late.input, late.output) == (7, 6)
            assert entry(server).usage == bill.usage
            assert entry(server).finish_reason is FinishReason.CANCELLED
            # The connection has ended well, and serves the next one.
            engine.script(Text("z"), Finish(), Done())
            await leave_after(server, "z")
            assert engine.open_connections == 1


async def test_the_caller_does_not_wait_for_it():
    """The generation ends, with its permit and its readers, while the engine still goes on."""
    async with ScriptedEngine() as engine:
        engine.script(Text("a"), stall := Stall())
        async with serving(drained(engine), limits={"max_generations": 1}) as server:
            await leave_after(server, "a")
            await stall.reached.wait()
            engine.script(Text("b"), Finish(), Done())
            await leave_after(server, "b")
            assert engine.open_connections == 2


async def test_abort_is_the_default():
    """The connection is closed at once, and nothing is settled."""
    async with ScriptedEngine() as engine:
        engine.script(Text("a"), Stall())
        async with serving(upstream(engine.base_url)) as server:
            await leave_after(server, "a")
            await gone(await engine.called(), engine)


@pytest.mark.parametrize("before", [(), (Headers(),)], ids=["no answer", "accepted"])
async def test_leaving_in_prefill(before: tuple[Any, ...]):
    """Before the engine has answered nothing can be drained; after that it is."""
    async with ScriptedEngine() as engine:
        engine.script(*before, pause := Pause(), Text("a"), Finish(), UsageChunk(7, 1), Done())
        async with serving(drained(engine)) as server:
            reading = server.stream()
            task = asyncio.ensure_future(reading.read())
            await pause.reached.wait()
            if before:
                await read_until_started(server)
            reading.cancel()
            await asyncio.gather(task, return_exceptions=True)
            call = await engine.called()
            if not before:
                await gone(call, engine)
                return
            await until(lambda: server.registry.active == 0)
            pause.release()
            assert await until(lambda: entry(server).settled_usage) == UsageReport(input=7, output=1)


async def test_leaving_after_the_finish():
    """The answer ended well, without its usage, which is read on for, once."""
    async with ScriptedEngine() as engine:
        engine.script(Text("a"), Finish(), pause := Pause(), UsageChunk(7, 1), Done())
        async with serving(drained(engine)) as server:
            call = server.stream("g")
            await read_until(call, lambda message: message.tokens)
            await pause.reached.wait()
            call.cancel()
            await until(lambda: server.registry.active == 0, "the generation has ended")
            assert entry(server).finish_reason is FinishReason.END
            assert entry(server).settled_usage is None
            running = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
            assert running.count(drains.LateUsageReaders._run.__qualname__) == 1
            pause.release()
            assert await until(lambda: entry(server).settled_usage) == UsageReport(input=7, output=1)


async def read_until_started(server: Served) -> None:
    await until(lambda: server.ledger.records, "the engine has accepted")


async def test_a_silent_engine_is_not_waited_for():
    """What it would tell one day is of no use: another engine goes on, or the generation has failed."""
    async with ScriptedEngine() as engine:
        engine.script(Text("a"), Stall())
        async with serving(drained(engine), limits={"inter_token_timeout": 0.1}) as server:
            outcome = await collect(server.stream())
            assert outcome.info is not None
            assert outcome.info.reason == "ENGINE_STALLED"
            await gone(await engine.called(), engine)
            assert entry(server).settled_usage is None


class TestBounds:
    """A drain is given up, and then nothing is settled."""

    async def test_time(self):
        """After `drain_limit` the connection is closed."""
        async with ScriptedEngine() as engine:
            engine.script(Text("a"), Stall())
            async with serving(drained(engine, drain_limit=0.05)) as server:
                await leave_after(server, "a")
                await gone(await engine.called(), engine)
                assert entry(server).settled_usage is None

    async def test_bytes(self, monkeypatch: pytest.MonkeyPatch):
        """After so many bytes too."""
        monkeypatch.setattr(drains, "_BYTES", 10_000)
        async with ScriptedEngine() as engine:
            engine.script(Text("a"), pause := Pause(), *[Text("x" * 1000)] * 100, Stall())
            async with serving(drained(engine)) as server:
                await leave_after(server, "a")
                pause.release()
                await gone(await engine.called(), engine)
                assert entry(server).settled_usage is None

    async def test_number(self, monkeypatch: pytest.MonkeyPatch):
        """More at once are not drained but closed."""
        monkeypatch.setattr(drains, "_DRAINS", 1)
        async with ScriptedEngine() as engine:
            engine.script(Text("a"), Stall())
            async with serving(drained(engine)) as server:
                await leave_after(server, "a")
                await leave_after(server, "a")
                first, second = await engine.called(), await engine.called()
                async with asyncio.timeout(5):
                    await second.disconnected.wait()
                assert not first.disconnected.is_set()

    async def test_closing_the_server(self):
        """Nothing is left of it."""
        async with ScriptedEngine() as engine:
            engine.script(Text("a"), Stall())
            async with serving(drained(engine)) as server:
                await leave_after(server, "a")
                call = await engine.called()
                assert not call.disconnected.is_set()
            await gone(call, engine)

    @pytest.mark.parametrize(
        "end", [(), (Drop(),), (Bytes(b"data: {nonsense\n\n"),)], ids=["cut short", "lost", "nonsense"]
    )
    async def test_ends_that_are_none(self, end: tuple[Any, ...]):
        """What did not end well has no final usage."""
        async with ScriptedEngine() as engine:
            engine.script(Text("a"), pause := Pause(), Text("b"), UsageChunk(7, 2), *end)
            async with serving(drained(engine)) as server:
                await leave_after(server, "a")
                pause.release()
                await engine.until(lambda e: e.open_connections == 0)
                assert entry(server).settled_usage is None
