"""The contract's rules on a real server and socket. The scripted engine's log is the expected output."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tokenstreaming.v1 import generation_pb2, input_pb2, usage_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import (
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
    Chunk,
    Done,
    Drop,
    Finish,
    Pause,
    Reasoning,
    ScriptedEngine,
    Stall,
    Text,
    Together,
    ToolCall,
    UsageChunk,
)
from tokengrpc.config import TenantSettings
from tokengrpc.core.ports.usage_reader import RecordQuery
from tokengrpc.stores.memory_ledger import MemoryLedger

WORDS = ("One", " two", " thr", "ee", " 🙂", " é", ".")
DETACH = input_pb2.Recovery(disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH)


def whole(*words: str) -> tuple:
    return (*(Text(word) for word in words or WORDS), Finish("stop"), UsageChunk(), Done())


async def test_a_complete_generation(server: Served, engine: ScriptedEngine) -> None:
    """`started`, tokens and one `finished`. Text, counts and usage are those of the engine."""
    engine.script(*whole())
    outcome = await collect(server.stream("g"))
    call = await engine.called()
    assert outcome.code is grpc.StatusCode.OK
    assert outcome.messages[0].started.generation_id == "g"
    assert outcome.text == call.text == "".join(WORDS)
    assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_END
    assert outcome.finished.engine_finish_reason == "stop"
    usage = outcome.messages[-1].usage
    assert usage.output_token_count == call.usage["completion_tokens"]
    assert usage.input_token_count == call.usage["prompt_tokens"]
    assert usage.source == usage_pb2.USAGE_SOURCE_ENGINE
    check_gapless(outcome.messages)


async def test_reasoning_counted_by_us_is_at_most_the_engines_output(
    server: Served, engine: ScriptedEngine
) -> None:
    """The engine reports fewer output tokens than we counted, and no reasoning. The source is the weakest."""
    sums = {"prompt_tokens": 5, "completion_tokens": 2}
    engine.script(
        Reasoning("a thought of quite some words"), Text("a"), Finish(), Chunk({"usage": sums}), Done()
    )
    outcome = await collect(server.stream())
    check_gapless(outcome.messages)
    usage = outcome.messages[-1].usage
    assert (usage.output_token_count, usage.source) == (2, usage_pb2.USAGE_SOURCE_ESTIMATED)
    assert usage.reasoning_token_count == 2


# --- Rule 1: ends


async def test_the_final_status_is_in_finished_and_in_the_trailers(
    server: Served, engine: ScriptedEngine
) -> None:
    """`finished` has the same status as the trailers, details included."""
    engine.script(Text("One"), Drop())
    outcome = await collect(server.stream("g"))
    assert outcome.finished.status == outcome.status
    assert outcome.info.reason == "ENGINE_LOST"
    assert outcome.failure.ended
    assert outcome.failure.last_sequence == outcome.messages[-1].sequence
    assert outcome.failure.usage == outcome.messages[-1].usage
    assert outcome.trailers["grpc-retry-pushback-ms"] == "-1"


async def test_resuming_at_the_end_repeats_only_the_status(server: Served, engine: ScriptedEngine) -> None:
    """After `finished`'s own sequence there is no message, and the trailers are the generation's."""
    engine.script(*whole())
    well = await collect(server.stream("well"))
    again = await collect(server.resume("well", well.messages[-1].sequence))
    assert (again.messages, again.code) == ([], grpc.StatusCode.OK)
    engine.script(Text("One"), Drop())
    badly = await collect(server.stream("badly"))
    again = await collect(server.resume("badly", badly.messages[-1].sequence))
    assert (again.messages, again.status) == ([], badly.status)


# --- Rule 2: text, indexes, sequences


@pytest.mark.parametrize("cut", range(1, 12))
async def test_characters_split_over_reads_stay_complete(cut: int) -> None:
    """Wherever the engine's bytes are cut, each text has complete characters, and all output arrives."""
    from tests.support.script_steps import Split  # noqa: PLC0415

    async with ScriptedEngine() as engine, serving(upstream(engine.base_url)) as server:
        engine.script(Split(Text("é🙂ü"), -cut * 3), *whole("x"))
        outcome = await collect(server.stream())
        assert outcome.text == "é🙂üx"
        check_gapless(outcome.messages)


async def test_halves_of_a_surrogate_pair_become_one_character(
    server: Served, engine: ScriptedEngine
) -> None:
    """Engines that split a character over two chunks write each half as an escape."""
    from tests.support.script_steps import Bytes  # noqa: PLC0415

    halves = [
        b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"\\ude42"}}]}\n\n',
    ]
    engine.script(*(Bytes(half) for half in halves), *whole("!"))
    outcome = await collect(server.stream())
    assert outcome.text == "🙂!"


async def test_tool_calls_arrive_in_fragments(server: Served, engine: ScriptedEngine) -> None:
    """Id and name arrive once, the arguments in pieces, and never in a message with tokens."""
    engine.script(
        Together(Text("Let me see."), ToolCall(0, "c1", "look", '{"a')),
        ToolCall(0, None, None, '":1}'),
        Finish("tool_calls"),
        UsageChunk(),
        Done(),
    )
    tool = input_pb2.Tool(name="look", parameters_json_schema='{"type":"object"}')
    outcome = await collect(server.stream(tools=[tool]))
    fragments = [f for m in outcome.messages for f in m.tool_call_fragments]
    assert [(f.call_index, f.id, f.function_name) for f in fragments] == [(0, "c1", "look"), (0, "", "")]
    assert "".join(f.arguments_fragment for f in fragments) == '{"a":1}'
    assert not any(m.tokens and m.tool_call_fragments for m in outcome.messages)
    assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_TOOL_CALLS


# --- Rule 5: readers


@pytest.mark.parametrize("stage", ["prefill", "mid-stream", "stall"])
async def test_the_last_readers_leaving_stops_the_engine(
    server: Served, engine: ScriptedEngine, stage: str
) -> None:
    """Cancelling closes the engine's connection, and leaves no task, no permit and no reader behind."""
    pause = Pause()
    engine.script(
        *{"prefill": (pause,), "mid-stream": (Text("One"), pause, *whole()), "stall": (Text("One"), pause)}[
            stage
        ]
    )
    before = len(asyncio.all_tasks())
    call = server.stream("g")
    if stage == "prefill":
        reading = asyncio.ensure_future(call.read())
    else:
        await read_until(call, lambda m: m.tokens)
    await pause.reached.wait()
    upstream_call = await engine.called()
    call.cancel()
    await upstream_call.disconnected.wait()
    if stage == "prefill":
        await asyncio.wait({reading})
    await until(lambda: server.registry.active == 0, "no permit is held")
    await until(lambda: engine.open_connections == 0, "no engine connection is open")
    await until(lambda: len(asyncio.all_tasks()) <= before, "no task is left")
    if stage == "prefill":
        assert (await failing(server.get("g"))).info.reason == "GENERATION_NOT_FOUND"
    else:
        assert (await server.get("g")).state == generation_pb2.GENERATION_STATE_CANCELLED


async def test_a_second_reader_keeps_the_generation_running(server: Served, engine: ScriptedEngine) -> None:
    """Readers are equal: after the starter has left, the other one receives everything."""
    pause = Pause()
    engine.script(Text("One"), pause, *whole(" more"))
    first = server.stream("g")
    await read_until(first, lambda m: m.tokens)
    second = asyncio.ensure_future(collect(server.resume("g")))
    await until(lambda: _readers(server, "g") == 2, "the second reader is there")
    first.cancel()
    await until(lambda: _readers(server, "g") == 1, "the first reader has left")
    pause.release()
    outcome = await second
    assert outcome.messages[0].attached.state == generation_pb2.GENERATION_STATE_GENERATING
    assert outcome.text == "One more"
    assert outcome.finished


async def test_two_readers_receive_the_same(server: Served, engine: ScriptedEngine) -> None:
    """Tokens, times and usage are the same, whenever a reader joined."""
    pause = Pause()
    engine.script(Text("One"), Text(" two"), pause, *whole(" three", " four"))
    first = asyncio.ensure_future(collect(server.stream("g")))
    await pause.reached.wait()
    second = asyncio.ensure_future(collect(server.stream("g")))
    await until(lambda: _readers(server, "g") == 2, "both readers are there")
    pause.release()
    one, two = await first, await second
    assert one.tokens == two.tokens
    assert one.messages[-1] == two.messages[-1]
    assert len(engine.calls) == 1


async def test_a_detached_generation_continues_and_can_be_resumed(
    server: Served, engine: ScriptedEngine
) -> None:
    """With DETACH it survives the loss of its reader. The rest is read after the last sequence."""
    pause = Pause()
    engine.script(Text("One"), pause, *whole(" two", " three"))
    call = server.stream("g", recovery=DETACH)
    seen = await read_until(call, lambda m: m.tokens)
    call.cancel()
    await until(lambda: _readers(server, "g") == 0, "the reader has left")
    pause.release()
    rest = await collect(server.resume("g", seen[-1].sequence))
    assert rest.text == " two three"
    check_gapless(rest.messages, after=seen[-1].sequence)
    assert rest.finished


async def test_a_detached_generation_ends_without_a_reader(server: Served, engine: ScriptedEngine) -> None:
    """After `detach_ttl` it ends, and its engine's connection is closed."""
    engine.script(Text("One"), Stall())
    recovery = input_pb2.Recovery(
        disconnect_action=input_pb2.DISCONNECT_ACTION_DETACH, detach_ttl=Duration(nanos=20_000_000)
    )
    call = server.stream("g", recovery=recovery)
    await read_until(call, lambda m: m.tokens)
    call.cancel()
    await (await engine.called()).disconnected.wait()
    outcome = await collect(server.resume("g"))
    assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.CANCELLED, "DETACH_EXPIRED")
    assert outcome.text == "One"


async def test_cancel_generation_ends_it_for_all_readers(server: Served, engine: ScriptedEngine) -> None:
    """Every reader gets CANCELLED with usage, and the engine's connection is closed.

    A second cancel is no error.
    """
    engine.script(Text("One", " two"), Stall())
    readers = [server.stream("g", recovery=DETACH)]
    await read_until(readers[0], lambda m: m.tokens)
    readers.append(server.resume("g"))
    await read_until(readers[1], lambda m: m.tokens)
    generation = await server.cancel("g")
    assert generation.state == generation_pb2.GENERATION_STATE_CANCELLED
    assert generation.finished.finish_reason == generation_pb2.FINISH_REASON_CANCELLED
    assert generation.usage.output_token_count == 2
    await (await engine.called()).disconnected.wait()
    for reader in readers:
        outcome = await collect(reader)
        assert outcome.info.reason == "CANCELLED"
        assert outcome.finished.finish_reason == generation_pb2.FINISH_REASON_CANCELLED
    again = await server.cancel("g")
    assert again.finished == generation.finished


# --- Rule 6: ids


async def test_an_equal_request_attaches(server: Served, engine: ScriptedEngine) -> None:
    """StreamTokens is idempotent by id, even after the end. The engine is called once."""
    engine.script(*whole())
    one = await collect(server.stream("g"))
    two = await collect(server.stream("g"))
    assert two.messages[0].HasField("attached")
    assert two.tokens == one.tokens
    assert two.finished == one.finished
    assert len(engine.calls) == 1


async def test_a_different_request_under_the_same_id_is_refused(
    server: Served, engine: ScriptedEngine
) -> None:
    """The status is ALREADY_EXISTS, and the running generation is not affected."""
    engine.script(*whole())
    await collect(server.stream("g"))
    outcome = await collect(server.stream("g", prompt="something else"))
    assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "GENERATION_ID_REUSED")


async def test_an_id_is_free_after_its_replay_time(server: Served, engine: ScriptedEngine) -> None:
    """Then the events are deleted, and the same id starts a new generation. The ledger knows the old one."""
    engine.script(*whole())
    recovery = input_pb2.Recovery(replay_ttl=Duration(nanos=1_000_000))
    await collect(server.stream("g", recovery=recovery))
    await until(lambda: server.server.buffers.used_bytes == 0, "the log is forgotten")
    assert (await server.get("g")).last_sequence == 0
    assert (await collect(server.resume("g"))).info.reason == "GENERATION_NOT_FOUND"
    assert (await collect(server.stream("g", prompt="another"))).finished


async def test_an_unaccepted_generation_frees_its_id(server: Served, engine: ScriptedEngine) -> None:
    """It has no events. Readers that attached get the same status, and the id can be used at once."""
    from tests.support.script_steps import Status  # noqa: PLC0415

    pause = Pause()
    engine.script(pause, Status(503, {"error": {"message": "busy"}}))
    first = asyncio.ensure_future(collect(server.stream("g")))
    await pause.reached.wait()
    second = asyncio.ensure_future(collect(server.resume("g")))
    await until(lambda: _readers(server, "g") == 2, "both readers are there")
    pause.release()
    one, two = await first, await second
    assert (one.messages, two.messages) == ([], [])
    assert one.info.reason == "ENGINE_UNAVAILABLE"
    assert one.status == two.status
    assert not one.failure.ended
    engine.script(*whole())
    assert (await collect(server.stream("g", prompt="different"))).finished


async def test_tenants_do_not_see_each_other(engine: ScriptedEngine, monkeypatch) -> None:
    """Another tenant's generation is NOT_FOUND in every RPC, and its id is free to use."""
    monkeypatch.setenv("KEY_A", "aaa")
    monkeypatch.setenv("KEY_B", "bbb")
    tenants = (TenantSettings(name="a", key_env="KEY_A"), TenantSettings(name="b", key_env="KEY_B"))
    a, b = (("authorization", "Bearer aaa"),), (("authorization", "Bearer bbb"),)
    async with serving(upstream(engine.base_url), tenants=tenants) as server:
        engine.script(*whole())
        assert (await collect(server.stream("g", metadata=a))).finished
        ask = {"generation_id": "g"}
        for attempt in (
            failing(server.stub.GetGeneration(pb.GetGenerationRequest(**ask), metadata=b)),
            failing(server.stub.CancelGeneration(pb.CancelGenerationRequest(**ask), metadata=b)),
            collect(server.resume("g", metadata=b)),
        ):
            outcome = await attempt
            assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.NOT_FOUND, "GENERATION_NOT_FOUND")
        other = await collect(server.stream("g", prompt="mine", metadata=b))
        assert other.messages[0].HasField("started")
        for metadata in ((), (("authorization", "Bearer ccc"),)):
            outcome = await collect(server.stream("g", metadata=metadata))
            assert outcome.code is grpc.StatusCode.UNAUTHENTICATED


# --- Rule 7: the ledger first


async def test_record_ids_sort_by_time(engine: ScriptedEngine) -> None:
    """So that a database adds them at the end of its indexes."""
    ledger = MemoryLedger()
    async with serving(upstream(engine.base_url), ledger=ledger) as server:
        for n in range(5):
            engine.script(*whole())
            await collect(server.stream(f"g{n}"))
    newest_first = await ledger.list_records(RecordQuery(), None, 10)
    assert [record.generation_id for record in newest_first] == ["g4", "g3", "g2", "g1", "g0"]
    ids = [record.record_id for record in newest_first]
    assert ids == sorted(ids, reverse=True)


class SlowLedger(MemoryLedger):
    """A ledger that holds each `finish` until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.finishing, self.go = asyncio.Event(), asyncio.Event()

    async def finish(self, record) -> None:
        self.finishing.set()
        await self.go.wait()
        await super().finish(record)


async def test_usage_is_recorded_before_the_end_is_sent(engine: ScriptedEngine) -> None:
    """No reader receives `finished` or trailers before the ledger has the final usage."""
    ledger = SlowLedger()
    async with serving(upstream(engine.base_url), ledger=ledger) as server:
        engine.script(*whole("One"))
        call = server.stream("g")
        await read_until(call, lambda m: m.tokens)
        rest = asyncio.ensure_future(collect(call))
        await ledger.finishing.wait()
        # Other calls are served meanwhile. This call has no messages to send.
        for _ in range(3):
            assert (await server.get("g")).reader_count == 1
            assert not rest.done()
        ledger.go.set()
        outcome = await rest
        (record,) = ledger.records.values()
        assert record.usage.output == outcome.messages[-1].usage.output_token_count
        assert record.finish_reason == "END"


# --- Rules 8 and 9: silence


async def test_silence_is_bounded(engine: ScriptedEngine) -> None:
    """Heartbeats report the state while there are no other messages, and repeat the cursor."""
    async with serving(upstream(engine.base_url), limits={"heartbeat_interval": 0.05}) as server:
        pause = Pause()
        engine.script(Text("One"), pause, *whole(" two"))
        call = server.stream("g")
        (*_, last) = await read_until(call, lambda m: m.tokens)
        beats = await read_until(call, lambda m: m.HasField("heartbeat"))
        assert beats[-1].sequence == last.sequence
        assert beats[-1].usage == last.usage
        assert beats[-1].heartbeat.state == generation_pb2.GENERATION_STATE_GENERATING
        pause.release()
        rest = await collect(call)
        assert rest.text == " two"


async def test_nothing_is_sent_before_an_engine_has_accepted(server: Served, engine: ScriptedEngine) -> None:
    """No headers either, so that the client library may still repeat the call transparently."""
    pause = Pause()
    engine.script(pause, *whole())
    call = server.stream("g")
    headers = asyncio.ensure_future(call.initial_metadata())
    await pause.reached.wait()
    for _ in range(3):
        assert (await server.get("g")).state == generation_pb2.GENERATION_STATE_QUEUED
        assert not headers.done()
    pause.release()
    await headers
    assert (await collect(call)).finished


async def test_the_first_heartbeat_may_precede_acceptance(engine: ScriptedEngine) -> None:
    """A generation that stays queued sends heartbeats with cursor 0."""
    async with serving(upstream(engine.base_url), limits={"heartbeat_interval": 0.05}) as server:
        pause = Pause()
        engine.script(pause, *whole())
        call = server.stream("g")
        (beat,) = await read_until(call, lambda m: m.HasField("heartbeat"))
        assert (beat.sequence, beat.heartbeat.state) == (0, generation_pb2.GENERATION_STATE_QUEUED)
        pause.release()
        assert (await collect(call)).text == "".join(WORDS)


# --- Resume


async def test_resume_at_every_event_gives_exactly_the_rest(server: Served, engine: ScriptedEngine) -> None:
    """After any sequence, the events after it follow, once, in order, to the same end."""
    engine.script(*whole(*(f" w{i}" for i in range(40))))
    full = await collect(server.stream("g"))
    last = full.messages[-1].sequence
    tokens_after = {m.sequence: None for m in full.messages}
    for after in range(last + 1):
        rest = await collect(server.resume("g", after))
        if after < last:
            assert rest.messages[0].HasField("attached")
            assert rest.finished == full.finished
        check_gapless(rest.messages, after=after)
        if after in tokens_after:
            expected = [t for m in full.messages if m.sequence > after for t in m.tokens]
            assert rest.tokens == expected
    beyond = await collect(server.resume("g", last + 1))
    assert (beyond.code, beyond.info.reason) == (grpc.StatusCode.OUT_OF_RANGE, "SEQUENCE_OUT_OF_RANGE")


async def test_a_reader_that_pauses_loses_nothing(engine: ScriptedEngine) -> None:
    """It receives everything it missed, joined into few messages. The engine was not delayed."""
    async with serving(upstream(engine.base_url)) as server:
        words = [f" {i:0200d}" for i in range(30_000)]
        step = 500
        engine.script(
            *(Text(*words[i : i + step]) for i in range(0, len(words), step)), Finish(), UsageChunk(), Done()
        )
        call = server.stream("g")
        first = await read_until(call, lambda m: m.tokens)
        upstream_call = await engine.called()
        await upstream_call.finished.wait()
        await until(lambda: server.registry.active == 0, "the producer is done")
        rest = await collect(call)
        assert "".join(t.text for m in first for t in m.tokens) + rest.text == "".join(words)
        check_gapless([*first, *rest.messages])
        assert all(m.ByteSize() <= 256 * 1024 for m in rest.messages)
        assert len(rest.messages) < len(words) / 10


async def test_events_that_are_no_longer_kept_are_a_clear_error(engine: ScriptedEngine) -> None:
    """Beyond the generation's byte limit, the oldest events are dropped.

    Resuming there fails; resuming later works.
    """
    async with serving(upstream(engine.base_url), limits={"generation_log_bytes": 90_000}) as server:
        words = [f" {i:01000d}" for i in range(120)]
        pause = Pause()
        engine.script(Text(*words[:60]), pause, *whole(*words[60:]))
        call = server.stream("g")
        await read_until(call, lambda m: m.tokens and m.tokens[-1].text == words[59])
        pause.release()
        full = await collect(call)
        kept = await server.get("g")
        assert 1 < kept.first_kept_sequence <= kept.last_sequence
        lost = await collect(server.resume("g", 0))
        assert (lost.code, lost.info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REPLAY_EXPIRED")
        rest = await collect(server.resume("g", kept.first_kept_sequence - 1))
        assert rest.events[0].sequence >= kept.first_kept_sequence
        assert rest.finished == full.finished


async def test_the_total_of_kept_bytes_is_bounded(engine: ScriptedEngine) -> None:
    """The events of ended generations are dropped, oldest first. Their final state stays available."""
    limits = {"generation_log_bytes": 20_000, "total_log_bytes": 40_000}
    async with serving(upstream(engine.base_url), limits=limits) as server:
        engine.script(*whole(*(f" {i:0100d}" for i in range(40))))
        for i in range(8):
            assert (await collect(server.stream(f"g{i}"))).finished
        assert server.server.buffers.used_bytes <= 40_000
        assert (await server.get("g0")).first_kept_sequence == 0
        assert (await server.get("g7")).first_kept_sequence == 1
        expired = await collect(server.resume("g0"))
        assert expired.info.reason == "REPLAY_EXPIRED"


def _readers(server: Served, generation_id: str) -> int:
    from tokengrpc.core.tenant import ANYBODY  # noqa: PLC0415

    return len(server.registry.get(ANYBODY.tenant, generation_id).subscribers)


async def test_running_generations_obey_the_total_limit_too(engine: ScriptedEngine) -> None:
    """If no ended generation is left, a growing log drops its own oldest events.

    Live readers lose nothing.
    """
    limits = {"generation_log_bytes": 50_000, "total_log_bytes": 50_000}
    async with serving(upstream(engine.base_url), limits=limits) as server:
        words = [f" {i:01000d}" for i in range(50)]
        pauses = [Pause() for _ in words]
        engine.script(
            *(step for pair in zip(map(Text, words), pauses, strict=True) for step in pair), *whole("")
        )
        held = server.stream("held")
        await read_until(held, lambda m: m.tokens)
        call = server.stream("g", prompt="another")
        texts = []
        for pause in pauses:
            texts += [t.text for m in await read_until(call, lambda m: m.tokens) for t in m.tokens]
            pause.release()
        rest = await collect(call)
        assert "".join(texts) + rest.text == "".join(words)
        assert server.server.buffers.used_bytes <= 50_000
        held.cancel()
