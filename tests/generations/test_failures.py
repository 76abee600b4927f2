"""The rows of the contract's error table, provoked for real: code, reason, advice and consequences."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from tokenstreaming.v1 import input_pb2, model_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb
from tokenstreaming.v1.generation_pb2 import RetryAdvice

from tests.support.harness import (
    BUILTIN,
    Served,
    check_gapless,
    collect,
    failing,
    read_until,
    serving,
    until,
    upstream,
)
from tests.support.scripted_engine import (
    Bytes,
    Chunk,
    Complaint,
    Done,
    Drop,
    Finish,
    Pause,
    Reset,
    ScriptedEngine,
    Stall,
    Status,
    Text,
    Together,
    UsageChunk,
)
from tests.support.wire_dialects import VLLM
from tokengrpc.config import TenantSettings, engine_settings, model_settings
from tokengrpc.core.model import Cursor
from tokengrpc.core.tenant import ANYBODY
from tokengrpc.wire.encoding import ProtobufRecorder

if TYPE_CHECKING:
    from collections.abc import Mapping

WELL = (Text("One"), Finish(), UsageChunk(), Done())
LONG = "This model's maximum context length is 8 tokens. However, your prompt has 9 tokens."


@dataclass(frozen=True)
class Row:
    """A request and a script, and the expected error."""

    code: str
    reason: str
    advice: str
    steps: tuple = WELL
    request: Mapping[str, Any] = field(default_factory=dict)
    started: bool = False


ROWS = {
    "no input": Row("INVALID_ARGUMENT", "INVALID_REQUEST", "NEVER", request={"prompt": ""}),
    "bad temperature": Row(
        "INVALID_ARGUMENT",
        "INVALID_REQUEST",
        "NEVER",
        request={"sampling": input_pb2.Sampling(temperature=9)},
    ),
    "input too long": Row(
        "INVALID_ARGUMENT",
        "CONTEXT_LENGTH_EXCEEDED",
        "NEVER",
        (Status(400, {"error": {"message": LONG, "code": "context_length_exceeded"}}),),
    ),
    "unsupported": Row(
        "INVALID_ARGUMENT",
        "UNSUPPORTED_FEATURE",
        "NEVER",
        request={"output_constraint": input_pb2.OutputConstraint(grammar="root ::= x")},
    ),
    "engine_params": Row(
        "INVALID_ARGUMENT", "UNSUPPORTED_FEATURE", "NEVER", request={"engine_params": {"x": 1}}
    ),
    "no such model": Row("NOT_FOUND", "MODEL_NOT_FOUND", "NEVER", request={"model": "none"}),
    "engine refuses": Row("UNAVAILABLE", "ENGINE_UNAVAILABLE", "RETRY", (Status(503, {}),)),
    "engine busy": Row("UNAVAILABLE", "ENGINE_UNAVAILABLE", "RETRY", (Status(429, {}),)),
    "engine resets in prefill": Row("UNAVAILABLE", "ENGINE_UNAVAILABLE", "RETRY", (Reset(),)),
    "engine lost": Row("UNAVAILABLE", "ENGINE_LOST", "RETRY", (Text("One"), Reset()), started=True),
    "engine cut": Row("UNAVAILABLE", "ENGINE_LOST", "RETRY", (Text("One"), Drop()), started=True),
    "engine truncated": Row("UNAVAILABLE", "ENGINE_TRUNCATED", "RETRY", (Text("One"),), started=True),
    "done without an end": Row(
        "UNAVAILABLE", "ENGINE_TRUNCATED", "RETRY", (Text("One"), Done()), started=True
    ),
    "nonsense": Row(
        "INTERNAL",
        "ENGINE_PROTOCOL_ERROR",
        "RETRY",
        (Text("One"), Bytes(b"data: {nonsense\n\n")),
        started=True,
    ),
    "engine aborts": Row(
        "ABORTED", "ENGINE_ABORTED", "RETRY", (Text("One"), Finish("abort"), Done()), started=True
    ),
    "error in the stream": Row(
        "ABORTED",
        "ENGINE_ABORTED",
        "RETRY",
        (Text("One"), Complaint(message="CUDA out of memory", code=500), Done()),
        started=True,
    ),
    "engine's credentials": Row("FAILED_PRECONDITION", "ENGINE_AUTH_FAILED", "NEVER", (Status(401, {}),)),
}


@pytest.mark.parametrize("name", ROWS)
async def test_error_table(server: Served, engine: ScriptedEngine, name: str) -> None:
    """Each row has its code, reason and advice, releases its resources, and repeats its error on resume."""
    row = ROWS[name]
    engine.script(*row.steps)
    outcome = await collect(server.stream("g", **row.request))
    assert outcome.code.name == row.code
    assert (outcome.info.domain, outcome.info.reason) == ("tokengrpc", row.reason)
    assert RetryAdvice.Name(outcome.failure.retry_advice) == f"RETRY_ADVICE_{row.advice}"
    assert outcome.failure.generation_id == "g"
    assert (outcome.finished is not None) == row.started == outcome.failure.ended
    assert outcome.text == ("One" if row.started else "")
    never = outcome.trailers.get("grpc-retry-pushback-ms") == "-1"
    assert never == (row.started or row.advice == "NEVER")
    assert len(outcome.message.encode()) <= 1024
    assert "\n" not in outcome.message
    await until(lambda: server.registry.active == 0)
    if row.started:
        again = await collect(server.resume("g", outcome.messages[-1].sequence))
        assert again.status == outcome.status
        replay = await collect(server.stream("g"))
        assert replay.finished == outcome.finished


async def test_all_invalid_fields_are_named(server: Served) -> None:
    """BadRequest names each invalid field."""
    sampling = input_pb2.Sampling(temperature=9, top_p=0)
    outcome = await collect(server.stream("bad id", sampling=sampling))
    bad = outcome.detail(error_details_pb2.BadRequest)
    fields = {violation.field for violation in bad.field_violations}
    assert fields == {"generation_id", "sampling.temperature", "sampling.top_p"}


async def test_unknown_fields_are_refused(server: Served, engine: ScriptedEngine) -> None:
    """A field of a later contract is named by its number instead of being ignored silently."""
    newer = pb.StreamTokensRequest(prompt="x").SerializeToString() + b"\xf8\x07\x01"
    call = server.channel.unary_stream("/tokenstreaming.v1.TokenStream/StreamTokens")(newer)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "127" in caught.value.details()
    assert engine.calls == []


async def test_malformed_bytes_are_refused(server: Served) -> None:
    """Bytes that are no valid message get a clear status, not UNKNOWN or a hang."""
    for method in ("StreamTokens", "ResumeTokens"):
        call = server.channel.unary_stream(f"/tokenstreaming.v1.TokenStream/{method}")(b"\xff\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    for method in ("GenerateText", "CancelGeneration", "GetGeneration", "CountTokens", "ListModels"):
        unary = server.channel.unary_unary(f"/tokenstreaming.v1.TokenStream/{method}")
        outcome = await failing(unary(b"\xff\xff\xff"))
        assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_requests_are_bounded_in_size(server: Served, engine: ScriptedEngine) -> None:
    """More than 1 MiB is RESOURCE_EXHAUSTED; slightly less is accepted."""
    outcome = await collect(server.stream(prompt="x" * (1 << 20)))
    assert outcome.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    engine.script(*WELL)
    assert (await collect(server.stream(prompt="word " * 200_000))).finished


async def test_quota_and_model_rights(engine: ScriptedEngine, monkeypatch) -> None:
    """A tenant exceeds its limit, and requests a model that it may not use."""
    monkeypatch.setenv("KEY_A", "aaa")
    tenant = TenantSettings(name="a", key_env="KEY_A", models=("scripted",), max_generations=1)
    me = (("authorization", "Bearer aaa"),)
    async with serving(upstream(engine.base_url), BUILTIN, tenants=(tenant,)) as server:
        engine.script(Text("One"), Stall())
        call = server.stream("g", metadata=me)
        await read_until(call, lambda m: m.tokens)
        over = await collect(server.stream(metadata=me))
        assert (over.code, over.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
        assert over.detail(error_details_pb2.QuotaFailure).violations[0].subject == "tenant:a"
        assert over.detail(error_details_pb2.RetryInfo)
        wrong = await collect(server.stream(model="builtin", metadata=me))
        assert (wrong.code, wrong.info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "MODEL_NOT_ALLOWED")
        models = await server.stub.ListModels(pb.ListModelsRequest(), metadata=me)
        assert [model.name for model in models.models] == ["scripted"]
        call.cancel()


async def test_a_full_server_and_too_many_readers(engine: ScriptedEngine) -> None:
    """OVERLOADED advises to retry, READER_LIMIT to resume."""
    limits = {"max_generations": 1, "max_readers": 1}
    async with serving(upstream(engine.base_url), limits=limits) as server:
        pause = Pause()
        engine.script(Text("One"), pause, *WELL)
        call = server.stream("g")
        await read_until(call, lambda m: m.tokens)
        full = await collect(server.stream())
        assert (full.code, full.info.reason) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
        assert int(full.trailers["grpc-retry-pushback-ms"]) > 0
        reader = await collect(server.resume("g"))
        assert (reader.code, reader.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "READER_LIMIT")
        assert RetryAdvice.Name(reader.failure.retry_advice) == "RETRY_ADVICE_RESUME"
        pause.release()
        assert (await collect(call)).finished
        assert (await collect(server.stream())).finished


async def test_a_slow_readers_stream_ends_and_can_be_resumed() -> None:
    """READER_TOO_SLOW ends only its stream. Another reader is not affected. Resuming gives the rest."""
    # More than all buffers between server and client hold. vLLM's dialect reports counts.
    words = [f" {i:02000d}" for i in range(25_000)]
    limits = {"write_stall_timeout": 5.0, "generation_log_bytes": 200 << 20}
    async with (
        ScriptedEngine(VLLM) as engine,
        serving(upstream(engine.base_url, dialect="vllm"), limits=limits) as server,
    ):
        engine.script(*(Text(*words[i : i + 100]) for i in range(0, len(words), 100)), *WELL[1:])
        detach = input_pb2.Recovery(disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH)
        slow = server.stream("g", recovery=detach)
        assert (await slow.read()).HasField("started")
        # On another connection, because streams of one connection share its flow-control window.
        async with server.another() as second:
            other = await collect(second.resume("g"))
            assert other.text == "".join(words)
        await until(lambda: not server.tasks[0].subscribers, "it was let go")
        outcome = await collect(slow)
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "READER_TOO_SLOW")
        assert outcome.finished is None
        rest = await collect(server.resume("g", outcome.messages[-1].sequence))
        assert outcome.text + rest.text == "".join(words)
        check_gapless([*outcome.messages, *rest.messages])


async def test_an_unreachable_engine(engine: ScriptedEngine) -> None:
    """Nothing listens on the port: ENGINE_UNAVAILABLE, and the message says what to check."""
    async with serving(upstream("http://127.0.0.1:9/v1")) as server:
        outcome = await collect(server.stream())
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_UNAVAILABLE")
        models = await server.stub.ListModels(pb.ListModelsRequest())
        assert models.models[0].engines[0].health == 2


async def test_each_engine_reports_its_capabilities(engine: ScriptedEngine) -> None:
    """A model has a capability if at least one of its engines has it."""
    builtin = engine_settings(name="a")
    vllm = engine_settings(name="b", kind="openai", base_url=engine.base_url, dialect="vllm")
    async with serving(model_settings(name="m", engines=(builtin, vllm))) as server:
        (model,) = (await server.stub.ListModels(pb.ListModelsRequest())).models
        first, second = ({*told.capabilities} for told in model.engines)
    assert model_pb2.CAPABILITY_TOOLS in second - first
    assert model_pb2.CAPABILITY_CONTINUE_TOKEN_IDS in first
    assert {*model.capabilities} == first | second


async def test_unknown_methods(server: Served) -> None:
    """Methods of a later version of the contract, or of another one, return UNIMPLEMENTED."""
    call = server.channel.unary_unary("/tokenstreaming.v1.TokenStream/Unknown")
    outcome = await failing(call(b""))
    assert outcome.code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_bug_is_reported_without_internals(
    server: Served, engine: ScriptedEngine, monkeypatch
) -> None:
    """An unexpected exception is INTERNAL without the exception's text, and ends the generation."""
    engine.script(Text("One"), Stall())

    def broken(*args):
        raise ZeroDivisionError("secret internals")

    call = server.stream("g")
    await read_until(call, lambda m: m.tokens)
    (task,) = server.tasks
    monkeypatch.setattr(task.generation, "feed", broken)
    engine_call = await engine.called()
    await engine_call.write(Text("Two").render(engine_call)[0])
    outcome = await collect(call)
    assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in str(outcome.status)
    assert outcome.finished
    assert (await asyncio.wait_for(server.get("g"), 5)).state == 5


async def test_an_event_that_cannot_be_encoded_fails_the_generation(
    server: Served, engine, monkeypatch
) -> None:
    """Nothing is repeated, no sequence is missing, and the generation fails although the engine finished."""
    records = ProtobufRecorder.records

    def breaking(self, events):
        if any(token.text == "break" for event in events for token in event.tokens):
            raise OverflowError("secret internals")
        return records(self, events)

    monkeypatch.setattr(ProtobufRecorder, "records", breaking)
    pause = Pause()
    engine.script(Text("One"), pause, Together(Text("break"), Finish()), Done())
    call = server.stream("g")
    seen = await read_until(call, lambda m: m.tokens)
    pause.release()
    outcome = await collect(call)
    assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert outcome.messages == [outcome.messages[-1]]
    assert outcome.messages[-1].sequence == seen[-1].sequence + 1
    assert outcome.finished.status == outcome.status
    (entry,) = server.ledger.records.values()
    assert (entry.finish_reason, entry.error_reason) == ("ERROR", "INTERNAL")


ODD = {
    "half a character in a top logprob": {
        "logprobs": {
            "content": [
                {"token": "x", "logprob": -1e300, "top_logprobs": [{"token": "\ud83d", "logprob": -1.5}]}
            ]
        }
    },
    "half a character in a finish reason": {"finish_reason": "\ud83d"},
    "half a character in a stop reason": {"finish_reason": "stop", "stop_reason": "\ud83d"},
}


@pytest.mark.parametrize("name", ODD)
async def test_engine_data_that_no_message_can_hold(server: Served, engine, name) -> None:
    """The data is repaired on arrival: the stream succeeds with the complete text."""
    chunk = {"choices": [{"index": 0, "delta": {"content": "x"}} | ODD[name]]}
    engine.script(Text("One"), Chunk(chunk, ("x",)), *WELL[1:])
    asked = {"output": input_pb2.OutputOptions(top_logprob_count=1)} if "logprobs" in ODD[name] else {}
    outcome = await collect(server.stream("g", **asked))
    assert outcome.code is grpc.StatusCode.OK
    assert outcome.text == "Onex"
    assert outcome.finished


async def test_numbers_that_are_not_valid_json(server: Served) -> None:
    """NaN in engine_params is INVALID_REQUEST, at any depth."""
    message = pb.StreamTokensRequest(prompt="x")
    message.engine_params.update({"a": [1.0, {"b": 2.0}]})
    message.engine_params["a"][1]["b"] = float("nan")
    call = server.stub.StreamTokens(message)
    outcome = await collect(call)
    assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")


async def test_too_many_empty_messages_are_refused_at_once(server: Served) -> None:
    """A limit on the number of messages bounds the time that checking them takes."""
    message = pb.StreamTokensRequest()
    message.conversation.messages.extend([input_pb2.ConversationMessage()] * 400_000)
    outcome = await collect(server.stub.StreamTokens(message))
    bad = outcome.detail(error_details_pb2.BadRequest)
    assert [violation.field for violation in bad.field_violations] == ["conversation.messages"]


async def test_nothing_is_kept_of_unaccepted_generations(engine: ScriptedEngine) -> None:
    """Neither the generation nor its log, which would otherwise count as memory that can be freed."""
    limits = {"generation_log_bytes": 1 << 20, "total_log_bytes": 1 << 20, "write_stall_timeout": 0.4}
    async with serving(upstream(engine.base_url), limits=limits) as server:
        runs = []
        for _ in range(5):
            engine.script(pause := Pause(), Status(503, {}))
            call = server.stream("g")
            await pause.reached.wait()
            runs.append(weakref.ref(server.registry.get(ANYBODY.tenant, "g")))
            pause.release()
            assert (await collect(call)).info.reason == "ENGINE_UNAVAILABLE"
        await until(lambda: not any(run() for run in runs), "they are forgotten")
        server.server.buffers.grown(1 << 20)  # running generations use all memory
        assert not server.server.buffers.has_room


async def test_nothing_starts_while_running_logs_fill_memory(engine: ScriptedEngine) -> None:
    """Until one of them has ended, so that its log can go. What runs goes on, and callers may attach."""
    limits = {"generation_log_bytes": 1 << 20, "total_log_bytes": 1 << 20}
    async with serving(upstream(engine.base_url), limits=limits) as server:
        running = []
        for name in ("first", "second"):
            words = [Text(f" {i:01000d}") for i in range(480)]
            engine.script(*words, pause := Pause(), *WELL[1:])
            running.append((server.stream(name), pause))
            await pause.reached.wait()
        await until(lambda: not server.server.buffers.has_room, "memory is full")
        refused = await collect(server.stream("third"))
        assert (refused.code.name, refused.info.reason) == ("UNAVAILABLE", "OVERLOADED")
        assert refused.info.metadata["cause"] == "log_bytes"
        assert refused.detail(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
        attached = server.stream("first")
        for call, pause in running:
            pause.release()
            assert (await collect(call)).finished
        assert (await collect(attached)).finished
        engine.script(*WELL)
        assert (await collect(server.stream("third"))).finished


async def test_logs_that_are_being_read_are_not_dropped(engine: ScriptedEngine) -> None:
    """If memory runs short while a reader is behind, it still receives the end of its generation."""
    limits = {"generation_log_bytes": 1 << 20, "total_log_bytes": 1 << 20}
    async with serving(upstream(engine.base_url), limits=limits) as server:
        words = [f" {i:01000d}" for i in range(100)]
        engine.script(*(Text(word) for word in words), *WELL[1:])
        await collect(server.stream("first"))
        _, behind = server.registry.resume(ANYBODY.tenant, "first", Cursor(0), None)
        messages = []
        with behind:
            for i in range(12):
                await collect(server.stream(f"more{i}"))
            while (data := await behind.next()) is not None:
                messages.append(pb.StreamTokensResponse.FromString(data))
        assert "".join(t.text for m in messages for t in m.tokens) == "".join(words)
        assert messages[-1].HasField("finished")
