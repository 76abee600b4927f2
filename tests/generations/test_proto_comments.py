"""Statements in the comments of protos/ that no other test checks."""

from __future__ import annotations

import grpc
from google.protobuf.struct_pb2 import Struct
from tokenstreaming.v1 import generation_pb2, input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import Served, collect, read_until, serving, upstream
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Stall, Text, UsageChunk
from tokengrpc.config import engine_settings, model_settings

WHOLE = (Text("One"), Finish(), UsageChunk(), Done())
DETACH = input_pb2.Recovery(disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH)


async def test_engines_keep_the_order_of_the_configuration() -> None:
    """`Model.engines`: neither names nor priorities change it."""
    engines = tuple(
        engine_settings(name=name, priority=priority) for name, priority in (("b", 1), ("c", 0), ("a", 2))
    )
    async with serving(model_settings(name="m", engines=engines)) as server:
        await collect(server.stream())
        (model,) = (await server.stub.ListModels(pb.ListModelsRequest())).models
    assert [engine.name for engine in model.engines] == ["b", "c", "a"]


async def test_notices_repeat_the_readers_cursor_and_usage(engine: ScriptedEngine) -> None:
    """`StreamTokensResponse.usage` is unset only on notices with sequence 0."""
    async with serving(upstream(engine.base_url), limits={"heartbeat_interval": 0.05}) as server:
        queued, waiting = Pause(), Pause()
        engine.script(queued, Text("One"), waiting, *WHOLE[1:])
        call = server.stream("g", recovery=DETACH)
        (early,) = await read_until(call, lambda m: m.HasField("heartbeat"))
        assert (early.sequence, early.HasField("usage")) == (0, False)
        queued.release()
        *_, late = await read_until(call, lambda m: m.HasField("heartbeat") and m.sequence)
        assert (late.sequence, late.usage.output_token_count) == (2, 1)
        # The generation has events, but this reader has none of them yet.
        (attached,) = await read_until(server.resume("g"), lambda m: m.HasField("attached"))
        assert (attached.sequence, attached.HasField("usage")) == (0, False)
        (attached,) = await read_until(server.resume("g", 2), lambda m: m.HasField("attached"))
        assert (attached.sequence, attached.usage.output_token_count) == (2, 1)
        waiting.release()
        outcome = await collect(call)
        assert all(message.HasField("usage") for message in outcome.messages)


async def test_engine_params_are_refused_or_passed_on(engine: ScriptedEngine) -> None:
    """Keys that are not allowed, and keys of the contract, are INVALID_ARGUMENT, each with its reason."""
    async with serving(upstream(engine.base_url, allowed_engine_params=("length_penalty",))) as server:
        for key, reason in (("min_length", "UNSUPPORTED_FEATURE"), ("temperature", "INVALID_REQUEST")):
            outcome = await collect(server.stream(engine_params=params(**{key: 1})))
            assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        assert engine.calls == []
        engine.script(*WHOLE)
        assert (await collect(server.stream(engine_params=params(length_penalty=2)))).finished
        # A Struct has no integers, and engines require them.
        assert repr(engine.calls[0].body["length_penalty"]) == "2"


async def test_any_caller_of_the_tenant_may_cancel(server: Served, engine: ScriptedEngine) -> None:
    """`CancelGeneration` returns the ended generation, to a caller that did not start it, and again."""
    engine.script(Text("One"), Stall())
    call = server.stream("g")
    await read_until(call, lambda m: m.tokens)
    async with server.another() as second:
        cancelled = await second.cancel("g")
        assert cancelled.finished.finish_reason == generation_pb2.FINISH_REASON_CANCELLED
        assert cancelled.usage.output_token_count == 1
        again = await second.cancel("g")
        assert (again.finished, again.usage, again.end_time) == (
            cancelled.finished,
            cancelled.usage,
            cancelled.end_time,
        )
    assert (await collect(call)).code is grpc.StatusCode.CANCELLED


def params(**values: float) -> Struct:
    """Returns the values as a Struct."""
    struct = Struct()
    struct.update(values)
    return struct
