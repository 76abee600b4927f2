"""Switches of engines over real sockets: requests to the next engine, readers' output, and cleanup."""

from __future__ import annotations

import asyncio
from typing import Any

from tokenstreaming.v1 import generation_pb2, input_pb2

from tests.support.harness import check_gapless, collect, read_until, until
from tests.support.scripted_engine import Done, Drop, Finish, Headers, Stall, Text, UsageChunk
from tests.support.several_engines import Two, two_engines
from tests.support.wire_dialects import PROMPT_IDS, VLLM
from tokengrpc.core.model import Capability

CHAT = input_pb2.Conversation(
    messages=[input_pb2.ConversationMessage(role=input_pb2.ROLE_USER, text="Say hello.")]
)
SWITCHES = input_pb2.Recovery(max_engine_switch_count=2)
BY_IDS = {"dialect": "vllm", "api": "auto"}
BY_TEXT = {"extra_capabilities": (Capability.CONTINUE_TEXT,)}
State = generation_pb2.GenerationState


def stream(two: Two, generation_id: str = "g", **more: Any) -> Any:
    return two.server.stream(
        generation_id, **{"conversation": CHAT, "recovery": SWITCHES, "max_output_token_count": 9} | more
    )


async def test_by_ids_the_next_engine_gets_input_and_output():
    """Over completions, with the remaining token limit.

    A reader that joins later receives the same events.
    """
    async with two_engines(of_a=BY_IDS, of_b=BY_IDS, dialect=VLLM) as two:
        two.a.script(Text("One"), Text(" two"), Drop())
        two.b.script(Text(" three"), Finish("length"), UsageChunk(input=len(PROMPT_IDS) + 2), Done())
        outcome = await collect(stream(two))
        assert (outcome.code.name, outcome.text) == ("OK", "One two three")
        check_gapless(outcome.messages)
        (call,) = two.b.calls
        assert call.path == "/v1/completions"
        assert (call.body["prompt"], call.body["max_tokens"]) == ([*PROMPT_IDS, 100, 101], 7)
        usage = outcome.messages[-1].usage
        assert (usage.input_token_count, usage.output_token_count) == (len(PROMPT_IDS), 3)
        assert usage.overhead_token_count == len(PROMPT_IDS) + 2
        generation = await two.server.get("g")
        assert (generation.engine, generation.state) == ("b", State.GENERATION_STATE_SUCCEEDED)
        again = await collect(two.server.resume("g"))
        events = [m for m in again.messages if m.WhichOneof("notice") is None]
        assert [m.engine_switched for m in events if m.HasField("engine_switched")] == [
            m.engine_switched for m in outcome.messages if m.HasField("engine_switched")
        ]
        assert (again.text, again.finished) == (outcome.text, outcome.finished)


async def test_by_text_the_next_engine_gets_the_partial_output():
    """Over chat, if the engine declares that it can continue it."""
    async with two_engines(of_a=BY_TEXT, of_b=BY_TEXT) as two:
        two.a.script(Text("One", " two"), Drop())
        two.b.script(Text(" three"), Finish(), UsageChunk(), Done())
        outcome = await collect(stream(two))
        assert outcome.text == "One two three"
        (call,) = two.b.calls
        assert call.body["messages"][-1] == {"role": "assistant", "content": "One two"}
        (switched,) = [m.engine_switched for m in outcome.messages if m.HasField("engine_switched")]
        assert switched == generation_pb2.EngineSwitched(
            from_engine="a",
            to_engine="b",
            reason="ENGINE_LOST",
            continuation_method=generation_pb2.CONTINUATION_METHOD_TEXT_PREFILL,
        )


async def test_without_permission_to_switch_the_loss_is_reported():
    """As on a single engine: the partial output, and an error."""
    async with two_engines(of_a=BY_IDS, of_b=BY_IDS, dialect=VLLM) as two:
        two.a.script(Text("One"), Drop())
        outcome = await collect(stream(two, recovery=input_pb2.Recovery()))
        assert (outcome.text, outcome.info.reason) == ("One", "ENGINE_LOST")
        assert outcome.failure.ended
        assert not two.b.calls
        assert "return_token_ids" not in two.a.calls[0].body


async def test_a_cancel_reaches_the_engine_that_is_to_continue():
    """Before its first output: both connections are closed, and both slots are free."""
    async with two_engines(of_a=BY_IDS, of_b=BY_IDS, dialect=VLLM) as two:
        two.a.script(Text("One"), Drop())
        two.b.script(Headers(), Stall())
        call = stream(two)
        await read_until(call, lambda message: message.tokens)
        going_on = await two.b.called()
        assert (await two.server.get("g")).state == State.GENERATION_STATE_GENERATING
        ended = await two.server.cancel("g")
        await asyncio.wait_for(going_on.disconnected.wait(), 20)
        assert ended.state == State.GENERATION_STATE_CANCELLED
        assert ended.usage.output_token_count == 1
        await until(lambda: not any(pooled.running for pooled in two.engines.values()))
        call.cancel()


async def test_a_deadline_ends_the_wait_for_another_engine():
    """The generation ends with its partial output."""
    async with two_engines(of_a=BY_IDS, of_b=BY_IDS, dialect=VLLM) as two:
        two.a.script(Text("One"), Drop())
        two.b.script(Headers(), Stall())
        partial = input_pb2.Limits(deadline_action=input_pb2.DEADLINE_ACTION_FINISH_PARTIAL)
        outcome = await collect(stream(two, limits=partial, timeout=2))
        assert (outcome.code.name, outcome.text) == ("OK", "One")
        assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_DEADLINE
        assert not [m for m in outcome.messages if m.HasField("engine_switched")]


async def test_a_complete_output_is_not_continued():
    """An engine that is silent after its finish reason has sent everything."""
    async with two_engines(of_a=BY_TEXT, of_b=BY_TEXT) as two:
        two.a.script(Text("One", " two."), Finish(), Stall())
        limits = input_pb2.Limits()
        limits.inter_token_timeout.FromMilliseconds(50)
        outcome = await collect(stream(two, limits=limits))
        assert (outcome.code.name, outcome.text) == ("OK", "One two.")
        assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_END
        assert not two.b.calls


async def test_an_engine_that_stalls_is_replaced():
    """The inter-token timeout closes its connection, and the next engine continues."""
    async with two_engines(of_a=BY_IDS, of_b=BY_IDS, dialect=VLLM) as two:
        two.a.script(Text("One"), Stall())
        two.b.script(Text(" two"), Finish(), UsageChunk(), Done())
        limits = input_pb2.Limits()
        limits.inter_token_timeout.FromMilliseconds(50)
        outcome = await collect(stream(two, limits=limits))
        assert (outcome.code.name, outcome.text) == ("OK", "One two")
        await asyncio.wait_for(two.a.calls[0].disconnected.wait(), 20)
        (switched,) = [m.engine_switched for m in outcome.messages if m.HasField("engine_switched")]
        assert switched.reason == "ENGINE_STALLED"
