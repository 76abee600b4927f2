"""A generation tells which engines were called for it, by which server, when, and what came of it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import grpc
from tokenstreaming.v1 import input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import Served, collect, read_until, serving, upstream
from tests.support.scripted_engine import Done, Drop, Finish, ScriptedEngine, Stall, Status, Text, UsageChunk
from tests.support.several_engines import two_engines
from tests.support.wire_dialects import VLLM

if TYPE_CHECKING:
    from tokenstreaming.v1 import generation_pb2

BY_IDS = {"dialect": "vllm", "api": "auto"}


def told(generation: generation_pb2.Generation) -> list[tuple[str, int, str]]:
    """Returns engine, output and error of each attempt, whose times and servers are checked."""
    before = generation.create_time.ToNanoseconds()
    for attempt in generation.attempts:
        assert attempt.server == generation.server
        assert attempt.start_time.ToNanoseconds() >= before
        before = attempt.start_time.ToNanoseconds()
        if attempt.HasField("end_time"):
            before = attempt.end_time.ToNanoseconds()
            assert before >= attempt.start_time.ToNanoseconds()
    ended = [attempt.HasField("end_time") for attempt in generation.attempts]
    assert all(ended[:-1])
    assert not ended or ended[-1] == generation.HasField("end_time")
    return [(a.engine, a.output_token_count, a.error_reason) for a in generation.attempts]


async def test_an_engine_that_refuses_is_an_attempt() -> None:
    """It added nothing. GenerateText returns the same."""
    async with two_engines(server_name="replica-1") as two:
        two.a.script(Status(503))
        request = pb.GenerateTextRequest(request={"generation_id": "g", "prompt": "hello"})
        whole = (await two.server.stub.GenerateText(request)).generation
        assert told(whole) == [("a", 0, "ENGINE_UNAVAILABLE"), ("b", 2, "")]
        assert whole.server == "replica-1"
        found = await two.server.get("g")
        assert (found.attempts, found.server) == (whole.attempts, whole.server)
        (record,) = two.ended.records
        assert record.engines == ("a", "b")


async def test_a_continued_output_is_shared_out() -> None:
    """What the lost engine sent is its own: the outputs add up to that of the generation."""
    async with two_engines(of_a=BY_IDS, of_b=BY_IDS, dialect=VLLM) as two:
        two.a.script(Text("One"), Text(" two"), Drop())
        two.b.script(Text(" three"), Finish("length"), UsageChunk(), Done())
        recovery = input_pb2.Recovery(max_engine_switch_count=1)
        outcome = await collect(two.server.stream("g", recovery=recovery, max_output_token_count=9))
        found = await two.server.get("g")
        assert told(found) == [("a", 2, "ENGINE_LOST"), ("b", 1, "")]
        assert outcome.messages[-1].usage.output_token_count == 3


async def test_a_running_attempt_has_no_end(server: Served, engine: ScriptedEngine) -> None:
    """A cancelled one has the reason."""
    engine.script(Text("a", " b"), Stall())
    call = server.stream("g")
    await read_until(call, lambda m: m.tokens)
    name = server.tasks[0].generation.engine
    assert told(await server.get("g")) == [(name, 2, "")]
    cancelled = await server.cancel("g")
    assert told(cancelled) == [(name, 2, "CANCELLED")]
    assert (await collect(call)).code is grpc.StatusCode.CANCELLED


async def test_a_server_is_named_after_its_host(engine: ScriptedEngine) -> None:
    """Unless the settings name it: replicas share their settings, and hosts and pods have names."""
    engine.script(Text("a"), Finish(), UsageChunk(), Done())
    async with serving(upstream(engine.base_url)) as server:
        await collect(server.stream("g"))
        assert (await server.get("g")).server == socket.gethostname()
