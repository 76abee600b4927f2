"""Output that comes at most once an interval, on a real server and socket."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import Served, collect, read_until, serving, until, upstream
from tests.support.scripted_engine import (
    Done,
    Finish,
    Pause,
    ScriptedEngine,
    Text,
    UsageChunk,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERVAL = Duration(seconds=1)
WORDS = [f" w{i}" for i in range(5)]
END = (Finish("stop"), UsageChunk(), Done())


async def deliver(
    server: Served, engine: ScriptedEngine, **fields: Any
) -> tuple[Sequence[pb.StreamTokensResponse], float]:
    """Streams words, each of which the engine sends once the server has the one before.

    Returns the messages after the first output, and the seconds that they took.
    """
    pauses = [Pause() for _ in (*WORDS, "end")]
    steps = [step for word, pause in zip(WORDS, pauses, strict=False) for step in (pause, Text(word))]
    engine.script(Text("first"), *steps, pauses[-1], *END)
    call = server.stream("g", **fields)
    (*_, first) = await read_until(call, lambda message: message.tokens)
    began = time.monotonic()
    assert [token.text for token in first.tokens] == ["first"]

    buffer = server.tasks[-1].subscribers.buffer
    for number, pause in enumerate(pauses):
        wanted = first.sequence + number
        await until(lambda wanted=wanted: buffer.last_sequence >= wanted, "the server has the word before")
        pause.release()
    outcome = await collect(call)
    assert outcome.code is grpc.StatusCode.OK
    assert outcome.text == "".join(WORDS)
    assert outcome.finished is not None
    return outcome.messages, time.monotonic() - began


@pytest.mark.parametrize("by", ["request", "setting"])
async def test_what_arrives_meanwhile_is_one_message(engine: ScriptedEngine, by: str) -> None:
    """After the first output, there is at most one message an interval, and the end, which does not wait."""
    limits = {"flush_interval": 1.0} if by == "setting" else {}
    fields = {"flush_interval": INTERVAL} if by == "request" else {}
    async with serving(upstream(engine.base_url), limits=limits) as server:
        messages, seconds = await deliver(server, engine, **fields)
    assert len(messages) <= 2 + int(seconds)


async def test_without_an_interval_each_comes_at_once(engine: ScriptedEngine) -> None:
    """Also if the request overrides the server's interval."""
    async with serving(upstream(engine.base_url), limits={"flush_interval": 1.0}) as server:
        messages, _ = await deliver(server, engine, flush_interval=Duration())
    assert len(messages) == len(WORDS) + 1


async def test_neither_the_first_output_nor_the_end_waits(engine: ScriptedEngine) -> None:
    """Several generations, one after another, take less than one interval each."""
    async with serving(upstream(engine.base_url)) as server:
        began = time.monotonic()
        for number in range(20):
            pause = Pause()
            engine.script(Text("one"), pause, *END)
            call = server.stream(f"g{number}", flush_interval=INTERVAL)
            await read_until(call, lambda message: message.tokens)
            pause.release()
            assert (await collect(call)).finished is not None
        assert time.monotonic() - began < 20


async def test_each_reader_has_its_own(server: Served, engine: ScriptedEngine) -> None:
    """Requests that differ in nothing else are equal, and a resumed stream sets its own."""
    pause = Pause()
    engine.script(Text("one"), pause, *END)
    first = server.stream("g", flush_interval=INTERVAL)
    await read_until(first, lambda message: message.tokens)
    second = server.stream("g")
    await read_until(second, lambda message: message.tokens)
    resume = pb.ResumeTokensRequest(generation_id="g", flush_interval=INTERVAL)
    third = server.stub.ResumeTokens(resume)
    await read_until(third, lambda message: message.tokens)
    assert (await server.get("g")).reader_count == 3
    pause.release()
    for call in (first, second, third):
        assert (await collect(call)).finished is not None


@pytest.mark.parametrize(
    "wrong",
    [Duration(seconds=1, nanos=1), Duration(seconds=-1), Duration(nanos=-1)],
    ids=["too long", "negative", "negative nanos"],
)
async def test_a_wrong_interval_is_named(server: Served, wrong: Duration) -> None:
    """By both calls that have one."""
    resume = pb.ResumeTokensRequest(generation_id="g", flush_interval=wrong)
    for call in (server.stream("g", flush_interval=wrong), server.stub.ResumeTokens(resume)):
        outcome = await collect(call)
        assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "flush_interval" in outcome.message
