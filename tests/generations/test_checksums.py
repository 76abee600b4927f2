"""Readers can prove that the events with which they continue belong to those that they have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokenstreaming.v1 import generation_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.checksums import ChecksumReader, checksum_of
from tests.support.harness import Outcome, Served, check_gapless, collect, read_until, serving, upstream
from tests.support.script_steps import ToolCall
from tests.support.scripted_engine import Done, Finish, Pause, Reasoning, ScriptedEngine, Text, UsageChunk

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER = (Text("Well", " said, ", "naïve 🙂"), Finish(), UsageChunk(), Done())


def refusal(outcome: Outcome) -> tuple[str, str, str]:
    advice = generation_pb2.RetryAdvice.Name(outcome.failure.retry_advice)
    return (outcome.code.name, outcome.info.reason, advice.removeprefix("RETRY_ADVICE_"))


def cut(events: Sequence[pb.StreamTokensResponse], after: int) -> int:
    return checksum_of(event for event in events if event.sequence <= after)


async def test_all_kinds_of_output_are_in_the_checksum(server: Served, engine: ScriptedEngine) -> None:
    """Live and in a replay, which joins events. Neither mixes tokens and fragments in one message."""
    engine.script(
        Reasoning("Hm", "m."),
        Text("So"),
        Text(": "),
        ToolCall(id="call-1", name="lookup", arguments='{"q":'),
        ToolCall(arguments=' "é"}'),
        Text("ok"),
        Finish("tool_calls"),
        Done(),
    )
    live = await collect(server.stream("g"))
    replay = await collect(server.resume("g"))
    for outcome in (live, replay):
        assert outcome.code.name == "OK"
        check_gapless(outcome.messages)
        assert outcome.messages[-1].output_checksum == checksum_of(live.events)
    assert any(message.tool_call_fragments for message in live.messages)
    assert any(token.reasoning_text for token in live.tokens)


async def test_a_proof_is_checked_at_every_event(server: Served, engine: ScriptedEngine) -> None:
    """The right one is accepted, before any output too; another one means that the logs differ."""
    engine.script(Text(*(f" w{i}" for i in range(20))), Finish(), UsageChunk(), Done())
    full = await collect(server.stream("g"))
    log = full.messages[0].started.log_incarnation
    for after in range(full.messages[-1].sequence + 1):
        proof = cut(full.events, after)
        rest = await collect(server.resume("g", after, log=log, checksum=proof))
        assert rest.code.name == "OK"
        reader = ChecksumReader(proof, has_output=bool(proof))
        for message in rest.messages:
            reader.take(message)
        assert reader.checksum == full.messages[-1].output_checksum
        wrong = await collect(server.resume("g", after, log=log, checksum=proof ^ 1))
        assert refusal(wrong) == ("DATA_LOSS", "LOG_DIVERGED", "RETRY")
        assert not wrong.messages


async def test_a_log_that_was_made_anew_is_not_found(engine: ScriptedEngine) -> None:
    """The error describes nothing of the other generation, which the caller must not take for its own."""
    engine.script(*ANSWER)
    async with serving(upstream(engine.base_url)) as before:
        first = await collect(before.stream("g"))
    log = first.messages[0].started.log_incarnation
    async with serving(upstream(engine.base_url)) as server:
        second = await collect(server.stream("g"))
        assert second.messages[0].started.log_incarnation != log
        other = await collect(server.resume("g", 2, log=log, checksum=cut(first.events, 2)))
        assert refusal(other) == ("NOT_FOUND", "GENERATION_NOT_FOUND", "NEVER")
        assert other.failure == generation_pb2.GenerationFailure(
            generation_id="g", retry_advice=generation_pb2.RETRY_ADVICE_NEVER
        )
        # Without the incarnation, equal output is accepted.
        assert (await collect(server.resume("g", 2, checksum=cut(first.events, 2)))).code.name == "OK"


async def test_each_log_has_a_name_everywhere(server: Served, engine: ScriptedEngine) -> None:
    """It is the same in `started`, `attached` and lookups. So is what is durable."""
    pause = Pause()
    engine.script(Text("a"), pause, *ANSWER)
    call = server.stream("g")
    (*_, first) = await read_until(call, lambda m: m.HasField("started"))
    log = first.started.log_incarnation
    assert re.fullmatch(r"[A-Za-z0-9_-]{16}", log)
    assert first.started.durability == generation_pb2.DURABILITY_MEMORY
    (*_, attached) = await read_until(server.resume("g"), lambda m: m.HasField("attached"))
    assert attached.attached.log_incarnation == log
    (*_, again) = await read_until(server.stream("g"), lambda m: m.HasField("attached"))
    assert again.attached.log_incarnation == log
    pause.release()
    await collect(call)
    found = await server.get("g")
    assert (found.log_incarnation, found.durability) == (log, generation_pb2.DURABILITY_MEMORY)
    request = pb.GenerateTextRequest(request={"generation_id": "g", "prompt": "hello"})
    whole = await server.stub.GenerateText(request)
    assert whole.generation.log_incarnation == log
    other = await collect(server.stream("other"))
    assert other.messages[0].started.log_incarnation != log


async def test_the_proof_holds_where_kept_events_begin(engine: ScriptedEngine) -> None:
    """The checksum at the last dropped event is kept. Before it, there is nothing left to compare with."""
    async with serving(upstream(engine.base_url), limits={"generation_log_bytes": 6_000}) as server:
        engine.script(*(Text(f" {i:0100d}") for i in range(100)), Finish(), UsageChunk(), Done())
        call = server.stream("g")
        full = await collect(call)
        check_gapless(full.messages)
        edge = (await server.get("g")).first_kept_sequence - 1
        assert edge > 1
        proof = {after: cut(full.events, after) for after in (edge - 1, edge)}
        good = await collect(server.resume("g", edge, checksum=proof[edge]))
        assert good.finished == full.finished
        assert refusal(await collect(server.resume("g", edge, checksum=proof[edge] ^ 1)))[1] == "LOG_DIVERGED"
        for checksum in (proof[edge - 1], 7):
            gone = await collect(server.resume("g", edge - 1, checksum=checksum))
            assert gone.info.reason == "REPLAY_EXPIRED"
