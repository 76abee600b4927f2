"""Traces over OTLP, as a real receiver gets them: from the caller's span to the request of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.anthropic_dialect import ANTHROPIC
from tests.support.harness import collect, read_until, serving, until, upstream
from tests.support.otlp_receiver import OtlpReceiver, attributes
from tests.support.script_steps import Complaint, Done, Drop, Finish, Pause, Text, UsageChunk
from tests.support.scripted_engine import ScriptedEngine
from tests.support.scripted_vllm import ScriptedVllm
from tests.support.several_engines import two_engines
from tests.support.vllm_steps import End, Say
from tokengrpc.core.model import Capability
from tokengrpc.rpc.servicer import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = (("traceparent", f"00-{TRACE}-{CALLER}-01"), ("tracestate", "vendor=1"))
UNSAMPLED = (("traceparent", f"00-{TRACE}-{CALLER}-00"),)
CALL, RESUME = f"{SERVICE.full_name}/StreamTokens", f"{SERVICE.full_name}/ResumeTokens"
ANSWER = (Text("Well", " said"), Finish(), UsageChunk(), Done())


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        yield receiver


def names(span: Span) -> list[str]:
    return [event.name for event in span.events]


def parent_of(header: str) -> tuple[str, str, str]:
    """Returns the ids of the trace and the span in a `traceparent`, and its flags."""
    _, trace, span, flags = header.split("-")
    return trace, span, flags


async def test_a_trace_continues_from_the_caller_to_the_engine(receiver: OtlpReceiver):
    """The call is below the caller's span, the generation below the call, the attempt below that."""
    async with ScriptedEngine() as engine, serving(upstream(engine.base_url), otlp=True) as server:
        engine.script(*ANSWER)
        await collect(server.stream("g", metadata=SAMPLED, max_output_token_count=9))
        headers = (await engine.called()).headers
    call, generation = receiver.span(CALL), receiver.span("generation scripted")
    attempt = receiver.span("text_completion scripted")
    assert {span.trace_id.hex() for span in receiver.spans} == {TRACE}
    assert call.parent_span_id.hex() == CALLER
    assert generation.parent_span_id == call.span_id
    assert attempt.parent_span_id == generation.span_id
    assert parent_of(headers["traceparent"]) == (TRACE, attempt.span_id.hex(), "01")
    assert headers["tracestate"] == "vendor=1"
    kinds = [span.kind for span in (call, generation, attempt)]
    assert kinds == [Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CLIENT]
    assert attributes(call) | {"rpc.status_code": "OK", "tokengrpc.generation.id": "g"} == attributes(call)
    assert names(attempt) == ["accepted", "first_token"]
    told = attributes(attempt)
    assert told["gen_ai.request.max_tokens"] == 9
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    assert told["gen_ai.response.id"] == "scripted-1"
    assert told["gen_ai.response.model"] == told["gen_ai.request.model"]
    assert (told["gen_ai.provider.name"], told["server.address"]) == ("openai", "127.0.0.1")
    usage = [told[f"gen_ai.usage.{kind}_tokens"] for kind in ("input", "output")]
    assert usage == [attributes(generation)[f"tokengrpc.usage.{kind}_tokens"] for kind in ("input", "output")]


async def test_every_kind_of_engine_gets_the_trace(receiver: OtlpReceiver):
    """Anthropic's API as headers, vLLM's gRPC service as metadata."""
    async with ScriptedEngine(ANTHROPIC) as claude, ScriptedVllm() as vllm:
        claude.script(Text("Hi"), Finish(), Done())
        vllm.script(Say("Hi"), End())
        models = (
            upstream(claude.base_url, name="claude", kind="anthropic", api="auto"),
            upstream(vllm.base_url, name="v", kind="vllm", api="auto"),
        )
        async with serving(*models, otlp=True) as server:
            for model in ("claude", "v"):
                outcome = await collect(server.stream(model=model, metadata=SAMPLED))
                assert outcome.code.name == "OK"
        headers = [(await claude.called()).headers["traceparent"], *vllm.traceparents]
    attempts = [receiver.span(f"text_completion {name}") for name in ("claude", "v")]
    assert [parent_of(header)[:2] for header in headers] == [(TRACE, a.span_id.hex()) for a in attempts]
    providers = [attributes(attempt)["gen_ai.provider.name"] for attempt in attempts]
    assert providers == ["anthropic", "vllm"]


async def test_a_switch_gives_two_attempts(receiver: OtlpReceiver):
    """Each has its own usage and outcome; the switch is an event of the generation."""
    text = {"extra_capabilities": (Capability.CONTINUE_TEXT,)}
    async with two_engines(of_a=text, of_b=text, otlp=True) as two:
        two.a.script(Text("One", " two"), Drop())
        outcome = await collect(
            two.server.stream(
                metadata=SAMPLED,
                conversation={"messages": [{"role": "ROLE_USER", "text": "hello"}]},
                recovery={"max_engine_switch_count": 1},
            )
        )
        assert outcome.code.name == "OK"
        headers = [(await engine.called()).headers["traceparent"] for engine in (two.a, two.b)]
        (task,) = two.server.tasks
        model = task.model.name
    lost, other = receiver.named(f"chat {model}")
    assert [parent_of(header)[1] for header in headers] == [lost.span_id.hex(), other.span_id.hex()]
    generation = receiver.span(f"generation {model}")
    assert {lost.parent_span_id, other.parent_span_id} == {generation.span_id}
    assert attributes(lost)["error.type"] == "ENGINE_LOST"
    assert lost.status.code == Status.STATUS_CODE_ERROR
    assert [attributes(span)["tokengrpc.attempt.cause"] for span in (lost, other)] == ["first", "failover"]
    (switch,) = [event for event in generation.events if event.name == "switch"]
    assert attributes(switch)["tokengrpc.switch.to_engine"] == "b"
    outputs = [attributes(span)["gen_ai.usage.output_tokens"] for span in (lost, other)]
    assert outputs[0] == 2
    assert sum(outputs) == attributes(generation)["tokengrpc.usage.output_tokens"]


async def test_a_wait_for_an_engine_is_an_event(receiver: OtlpReceiver):
    """Of the generation, since no engine is known yet; the attempt begins after it."""
    async with (
        ScriptedEngine() as engine,
        serving(upstream(engine.base_url, max_connections=1), otlp=True) as server,
    ):
        pause = Pause()
        engine.script(Text("x"), pause, Finish(), UsageChunk(), Done())
        first = server.stream("first")
        await read_until(first, lambda message: message.tokens)
        second = server.stream("second")
        await until(lambda: len(server.tasks) == 2)
        pause.release()
        for call in (first, second):
            assert (await collect(call)).code.name == "OK"
    alone, queued = receiver.named("generation scripted")
    assert (names(alone)[0], names(queued)[0]) == ("accepted", "queued")
    _, attempt = receiver.named("text_completion scripted")
    assert attempt.parent_span_id == queued.span_id
    assert attempt.start_time_unix_nano > queued.events[0].time_unix_nano >= queued.start_time_unix_nano


async def test_other_readers_link_to_the_generation(receiver: OtlpReceiver):
    """A resumed call and an attached one begin traces of their own."""
    async with ScriptedEngine() as engine, serving(upstream(engine.base_url), otlp=True) as server:
        engine.script(*ANSWER)
        first = await collect(server.stream("g", metadata=SAMPLED))
        await collect(server.stream("g"))
        await collect(server.resume("g", first.messages[-1].sequence - 1))
    generation = receiver.span("generation scripted")
    _, attached = receiver.named(CALL)
    resumed = receiver.span(RESUME)
    for span in (attached, resumed):
        assert span.trace_id.hex() != TRACE
        assert [link.span_id for link in span.links] == [generation.span_id]
    openings = [attributes(span)["tokengrpc.stream.opening"] for span in (attached, resumed)]
    assert openings == ["attach", "resume"]


async def test_a_detached_generation_outlives_its_call(receiver: OtlpReceiver):
    """Its span ends after that of the call that started it, and stays below it."""
    async with ScriptedEngine() as engine, serving(upstream(engine.base_url), otlp=True) as server:
        pause = Pause()
        engine.script(Text("Well"), pause, Text(" said"), Finish(), UsageChunk(), Done())
        call = server.stream(
            "g", metadata=SAMPLED, recovery={"disconnect_action": "DISCONNECT_ACTION_DETACH"}
        )
        await read_until(call, lambda message: message.tokens)
        call.cancel()
        (task,) = server.tasks
        await until(lambda: not task.subscribers)
        pause.release()
        await task.wait_ended()
    started, generation = receiver.span(CALL), receiver.span("generation scripted")
    assert attributes(started)["rpc.status_code"] == "CANCELLED"
    assert started.status.code == Status.STATUS_CODE_UNSET
    assert generation.parent_span_id == started.span_id
    assert generation.end_time_unix_nano > started.end_time_unix_nano
    assert attributes(generation)["tokengrpc.finish_reason"] == "END"


async def test_what_a_caller_does_not_sample_is_not_exported(receiver: OtlpReceiver):
    """The engine is told the same; a call without a trace is sampled."""
    async with ScriptedEngine() as engine, serving(upstream(engine.base_url), otlp=True) as server:
        engine.script(*ANSWER)
        await collect(server.stream("g", metadata=UNSAMPLED))
        header = (await engine.called()).headers["traceparent"]
        await collect(server.resume("g", metadata=UNSAMPLED))
        await collect(server.resume("g"))
    assert parent_of(header)[0] == TRACE
    assert parent_of(header)[2] == "00"
    assert [span.name for span in receiver.spans] == [RESUME]


async def test_the_sampler_of_the_variables_decides(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch):
    """Without a parent, nothing is sampled; below one that is, everything."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    async with serving(otlp=True) as server:
        await collect(server.stream(max_output_token_count=2))
        assert not receiver.spans
        await collect(server.stream(max_output_token_count=2, metadata=SAMPLED))
    assert {span.trace_id.hex() for span in receiver.spans} == {TRACE}
    assert len(receiver.spans) == 3


async def test_errors_have_the_reason_and_the_status(receiver: OtlpReceiver):
    """What the server or an engine failed at is an error; what a caller did wrong is not."""
    async with ScriptedEngine() as engine, serving(upstream(engine.base_url), otlp=True) as server:
        engine.script(Text("One"), Drop())
        await collect(server.stream("lost"))
        await collect(server.resume("unknown"))
    failed, generation = receiver.span(CALL), receiver.span("generation scripted")
    attempt, refused = receiver.span("text_completion scripted"), receiver.span(RESUME)
    for span in (failed, generation, attempt):
        assert (attributes(span)["error.type"], span.status.code) == ("ENGINE_LOST", Status.STATUS_CODE_ERROR)
    assert attributes(failed)["rpc.status_code"] == "UNAVAILABLE"
    assert attributes(refused)["tokengrpc.error.reason"] == "GENERATION_NOT_FOUND"
    assert "error.type" not in attributes(refused)
    assert refused.status.code == Status.STATUS_CODE_UNSET


async def test_no_text_of_callers_or_engines_is_exported(receiver: OtlpReceiver):
    """Neither prompts, answers, labels, stop sequences, metadata, nor what an engine says when it fails."""
    secret = "canary"
    request: dict[str, Any] = {
        "prompt": f"{secret} prompt",
        "labels": {"team": f"{secret}-label"},
        "session_id": f"{secret}-session",
        "sampling": {"stop_sequences": [f"{secret} stop"]},
        "metadata": (*SAMPLED, ("x-own", f"{secret}-metadata")),
    }
    async with ScriptedEngine() as engine, serving(upstream(engine.base_url), otlp=True) as server:
        engine.script(Text(f"{secret} output"), Finish(), UsageChunk(), Done())
        await collect(server.stream("g", **request))
        engine.script(Text("x"), Finish(f"{secret}-word"), Done())
        await collect(server.stream("odd", **request))
        engine.script(Text("x"), Complaint(message=f"{secret} complaint"))
        outcome = await collect(server.stream("failed", **request))
    assert secret in outcome.message  # the caller is told
    assert len(receiver.named("generation scripted")) == 3
    assert secret.encode() not in receiver.bytes
