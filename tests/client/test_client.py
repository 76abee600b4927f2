"""The asyncio client against a real server, over connections that really break."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tokenstreaming.v1 import generation_pb2 as gen
from tokenstreaming.v1 import input_pb2
from tokenstreaming.v1.token_stream_pb2 import StreamTokensRequest

from tests.support.harness import Served, check_gapless, serving, until, upstream
from tests.support.scripted_engine import (
    Call,
    Done,
    Finish,
    Pause,
    Reset,
    ScriptedEngine,
    Stall,
    Step,
    Text,
    ToolCall,
    UsageChunk,
)
from tests.support.tcp_proxy import TcpProxy
from tokengrpc import (
    ConnectionLostError,
    Conversation,
    DeadlineExceededError,
    EngineFailedError,
    GenerationCancelledError,
    GenerationLostError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    ResumePolicy,
    TokenStream,
    TokenStreamClient,
    UnavailableError,
)
from tokengrpc.config import TenantSettings
from tokengrpc.errors import Advice

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

WORDS = tuple(f"word{number} " for number in range(30))
# Breaks are many here, and waiting for them proves nothing.
POLICY = ResumePolicy(attempts=50, initial_backoff=0.001, max_backoff=0.02)
# A subchannel of its own, so that a test's connection is broken for no other.
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100))


@dataclass
class Setup:
    """A client, a proxy that it connects to, the server behind it, and the server's engine."""

    client: TokenStreamClient
    proxy: TcpProxy
    served: Served
    engine: ScriptedEngine

    def script(self, *steps: Step) -> None:
        """What the engine does before it ends well."""
        self.engine.script(*steps, Finish(), UsageChunk(), Done())

    async def stopped(self, call: Call, generation_id: str) -> None:
        """Waits until the engine's connection is closed, and checks that the generation was cancelled."""
        await self.released(call)
        generation = await self.served.get(generation_id)
        assert generation.state == gen.GENERATION_STATE_CANCELLED

    async def released(self, call: Call) -> None:
        """Waits until the engine's connection is closed and nothing runs any more."""
        await asyncio.wait_for(call.disconnected.wait(), 10)
        await until(lambda: self.served.registry.active == 0)


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Setup]:
    async with (
        ScriptedEngine() as engine,
        serving(upstream(engine.base_url), **settings) as served,
        TcpProxy(served.server.port) as proxy,
        TokenStreamClient(proxy.target, options=OPTIONS, policy=POLICY) as client,
    ):
        yield Setup(client, proxy, served, engine)


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    async with running() as made:
        yield made


async def read(stream: TokenStream, at_each: Callable[[], None] | None = None) -> str:
    """Reads to the end, and does something at each token."""
    texts = []
    async for token in stream:
        texts.append(token.text)
        if at_each is not None:
            at_each()
    return "".join(texts)


async def test_a_stream_tells_everything(setup: Setup) -> None:
    """Text, usage, finish, timing, state and cursor are there when the loop ends."""
    setup.script(Text(*WORDS))
    stream = setup.client.stream("hello", labels={"team": "a"})
    assert stream.finish_reason == ""
    assert await read(stream) == "".join(WORDS) == stream.text
    assert stream.finish_reason == "END"
    generation = await setup.client.get(stream.generation_id)
    assert stream.usage == generation.usage
    assert stream.finish == generation.finished
    assert stream.timing == generation.finished.timing
    assert stream.state == generation.state == gen.GENERATION_STATE_SUCCEEDED
    assert stream.sequence == generation.last_sequence
    assert stream.started is not None
    assert stream.started.engine == "scripted"
    assert dict(generation.labels) == {"team": "a"}


async def test_nothing_is_lost_when_every_token_breaks_the_connection(setup: Setup) -> None:
    """The engine runs once, and each of its tokens arrives once, over a connection per token."""
    pauses = [Pause() for _ in WORDS]
    setup.script(*(step for pair in zip(map(Text, WORDS), pauses, strict=True) for step in pair))
    stream = setup.client.stream("hello")
    texts = []
    async for token in stream:
        setup.proxy.cut()
        pauses[len(texts)].release()
        texts.append(token.text)
    assert texts == list(WORDS)
    assert stream.text == setup.engine.calls[0].text
    assert len(setup.engine.calls) == 1
    assert setup.proxy.cut_count == len(WORDS)


@pytest.mark.parametrize("allowed", [0, 9, 40, 150, 300, 600, 1_200, 2_000])
async def test_nothing_is_lost_wherever_the_bytes_stop(setup: Setup, allowed: int) -> None:
    """A connection that is cut inside frames and messages resumes after the last whole message."""
    setup.script(*(Text(word) for word in WORDS))
    setup.proxy.cut_after_bytes(allowed)
    stream = setup.client.stream("hello")
    messages = [message async for message in stream.messages()]
    check_gapless(messages)
    assert stream.text == "".join(WORDS)
    assert len(setup.engine.calls) == 1


async def test_what_comes_while_nobody_reads_is_read_later(setup: Setup) -> None:
    """A generation goes on while its reader is cut off and cannot come back for a while."""
    held = Pause()
    setup.script(Text(WORDS[0]), held, *(Text(word) for word in WORDS[1:]))
    stream = setup.client.stream("hello")
    tokens = aiter(stream)
    assert (await anext(tokens)).text == WORDS[0]
    setup.proxy.vanish()
    rest = asyncio.create_task(_collect(tokens))
    held.release()
    call = await setup.engine.called()
    await asyncio.wait_for(call.finished.wait(), 10)
    await setup.proxy.listen()
    assert await rest == "".join(WORDS[1:])


async def _collect(tokens: AsyncIterator[gen.Token]) -> str:
    return "".join([token.text async for token in tokens])


async def test_a_pause_of_the_network_is_no_drop(setup: Setup) -> None:
    """A link that lets nothing through for a while loses nothing and is not resumed."""
    held = Pause()
    setup.script(Text(WORDS[0]), held, Text(*WORDS[1:]))
    stream = setup.client.stream("hello")
    tokens = aiter(stream)
    await anext(tokens)
    setup.proxy.pause()
    held.release()
    call = await setup.engine.called()
    await asyncio.wait_for(call.finished.wait(), 10)
    setup.proxy.resume()
    assert await _collect(tokens) == "".join(WORDS[1:])
    assert setup.proxy.accepted_count == 1


async def test_breaking_out_of_the_loop_stops_the_engine(setup: Setup) -> None:
    """`break` alone: dropping the loop's iterator cancels the generation, with nothing closed by hand."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    async for _ in stream:
        break
    await setup.stopped(await setup.engine.called(), stream.generation_id)


async def test_breaking_out_just_before_the_client_closes_stops_the_engine(setup: Setup) -> None:
    """The end of the program may follow the `break` at once."""
    setup.script(Text(WORDS[0]), Stall())
    async with TokenStreamClient(setup.proxy.target, options=OPTIONS) as client:
        stream = client.stream("hello")
        async for _ in stream:
            break
    generation = await setup.served.get(stream.generation_id)
    assert generation.state == gen.GENERATION_STATE_CANCELLED


async def test_an_error_in_the_loop_stops_the_engine(setup: Setup) -> None:
    """An exception of the reader's own cancels the generation, though its traceback is kept."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")

    async def fail_while_reading() -> None:
        async for _ in stream:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        await fail_while_reading()
    await setup.stopped(await setup.engine.called(), stream.generation_id)
    assert caught.tb is not None


async def test_cancelling_the_task_in_the_loops_body_stops_the_engine(setup: Setup) -> None:
    """The task may be doing something else with a token when it is cancelled."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")

    async def think_about_it() -> None:
        async for _ in stream:
            await asyncio.Event().wait()

    task = asyncio.create_task(think_about_it())
    await until(lambda: stream.text)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await setup.stopped(await setup.engine.called(), stream.generation_id)


async def test_leaving_the_block_stops_the_engine_at_once(setup: Setup) -> None:
    """`async with` has cancelled the generation when it is left."""
    setup.script(Text(WORDS[0]), Stall())
    async with setup.client.stream("hello") as stream:
        async for _ in stream:
            break
    generation = await setup.served.get(stream.generation_id)
    assert generation.state == gen.GENERATION_STATE_CANCELLED
    assert stream.text == WORDS[0]


async def test_cancelling_the_task_stops_the_engine(setup: Setup) -> None:
    """A cancelled task has cancelled its generation when it ends."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    task = asyncio.create_task(read(stream))
    await until(lambda: stream.text)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await setup.stopped(await setup.engine.called(), stream.generation_id)


async def test_cancelling_the_task_in_prefill_stops_the_engine(setup: Setup) -> None:
    """Before the first event there is no generation to look at, but an engine to stop."""
    setup.script(Stall())
    task = asyncio.create_task(read(setup.client.stream("hello")))
    call = await setup.engine.called()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await setup.released(call)


async def test_closing_the_client_stops_its_generations(setup: Setup) -> None:
    """A stream that was left open, its iterator kept, ends with its client."""
    setup.script(Text(WORDS[0]), Stall())
    async with TokenStreamClient(setup.proxy.target, options=OPTIONS) as client:
        stream = client.stream("hello")
        tokens = aiter(stream)
        await anext(tokens)
    await setup.stopped(await setup.engine.called(), stream.generation_id)
    with pytest.raises(GenerationCancelledError):
        await anext(tokens)


async def test_a_reader_is_told_when_its_stream_is_closed_elsewhere(setup: Setup) -> None:
    """Closing a stream from another task ends its loop with an error, not with a cancelled task."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    task = asyncio.create_task(read(stream))
    await until(lambda: stream.text)
    await stream.aclose()
    with pytest.raises(GenerationCancelledError):
        await task


async def test_cancel_ends_the_stream_with_what_there_is(setup: Setup) -> None:
    """`cancel` answers the generation as it ended; the reader gets a typed error and keeps the text."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    task = asyncio.create_task(read(stream))
    await until(lambda: stream.text)
    generation = await stream.cancel()
    assert generation.state == gen.GENERATION_STATE_CANCELLED
    with pytest.raises(GenerationCancelledError) as caught:
        await task
    assert caught.value.ended
    assert caught.value.partial_text == stream.text == WORDS[0]
    assert stream.usage == generation.usage
    assert stream.finish is not None


async def test_a_stream_is_read_once(setup: Setup) -> None:
    """A second loop is a mistake, not another generation."""
    setup.script(Text(WORDS[0]))
    stream = setup.client.stream("hello")
    await read(stream)
    with pytest.raises(RuntimeError, match="read once"):
        await read(stream)


async def test_the_timeout_ends_the_generation_with_what_there_is(setup: Setup) -> None:
    """The server ends it before the client's deadline; the caller gets an error and keeps the text."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello", timeout=1.0)
    with pytest.raises(DeadlineExceededError) as caught:
        await read(stream)
    assert caught.value.ended
    assert caught.value.usage == stream.usage
    assert stream.text == WORDS[0]
    assert stream.finish is not None
    assert stream.finish.finish_reason == gen.FINISH_REASON_DEADLINE


@pytest.mark.parametrize("resumable", [True, False])
async def test_a_partial_answer_is_an_answer_when_asked_for(setup: Setup, resumable: bool) -> None:
    """`on_deadline="partial"` ends the loop as if all were said."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello", timeout=1.0, on_deadline="partial", resumable=resumable)
    assert await read(stream) == WORDS[0]
    assert stream.finish is not None
    assert stream.finish.finish_reason == gen.FINISH_REASON_DEADLINE


async def test_a_deadline_without_resuming_fails_with_what_there_is(setup: Setup) -> None:
    """The server's own DEADLINE_EXCEEDED arrives before the library's."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello", timeout=1.0, resumable=False)
    with pytest.raises(DeadlineExceededError) as caught:
        await read(stream)
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    assert stream.finish is not None


async def test_the_timeout_holds_when_the_network_is_silent(setup: Setup) -> None:
    """No end of the server's arrives: the client's own deadline ends the stream, then the generation."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello", timeout=1.0)
    with pytest.raises(DeadlineExceededError) as caught:
        await read(stream, at_each=setup.proxy.pause)
    assert not caught.value.ended
    assert caught.value.partial_text == WORDS[0]
    setup.proxy.resume()
    await setup.released(await setup.engine.called())


async def test_without_resuming_a_drop_stops_the_engine(setup: Setup) -> None:
    """`resumable=False`: the generation ends with its connection, and the reader is told."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello", resumable=False)
    with pytest.raises(ConnectionLostError) as caught:
        await read(stream, at_each=setup.proxy.cut)
    assert caught.value.advice is Advice.RETRY
    assert caught.value.partial_text == WORDS[0]
    await setup.stopped(await setup.engine.called(), stream.generation_id)


async def test_attempts_end_with_a_cursor(setup: Setup) -> None:
    """A server that stays away is given up; the generation can still be resumed from the error's cursor."""
    held = Pause()
    setup.script(Text(WORDS[0]), held, Text(WORDS[1]))
    policy = ResumePolicy(attempts=2, initial_backoff=0.001)
    async with TokenStreamClient(setup.proxy.target, options=OPTIONS, policy=policy) as client:
        stream = client.stream("hello")
        with pytest.raises(ConnectionLostError) as caught:
            await read(stream, at_each=setup.proxy.vanish)
    lost = caught.value
    assert lost.advice is Advice.RESUME
    held.release()
    await setup.proxy.listen()
    assert await read(setup.client.resume(lost.generation_id, lost.last_sequence)) == WORDS[1]


async def test_a_server_that_is_not_there_is_unavailable(setup: Setup) -> None:
    """Nothing listens: told as that, with what to check."""
    setup.proxy.refuse()
    policy = ResumePolicy(attempts=1, initial_backoff=0.001)
    async with TokenStreamClient(setup.proxy.target, options=OPTIONS, policy=policy) as client:
        with pytest.raises(UnavailableError, match="check that the server runs") as caught:
            await read(client.stream("hello"))
    assert not isinstance(caught.value, ConnectionLostError)


async def test_another_server_does_not_know_the_generation(setup: Setup) -> None:
    """When a drop leads to a server that has not the generation, the reader keeps the partial answer."""
    setup.script(Text(WORDS[0]), Stall())
    async with serving() as other:
        stream = setup.client.stream("hello")
        with pytest.raises(GenerationLostError) as caught:
            await read(stream, at_each=lambda: setup.proxy.lead_to(other.server.port))
    assert caught.value.partial_text == WORDS[0]


async def test_a_failed_engine_is_a_typed_error(setup: Setup) -> None:
    """A generation that fails raises what `finished` says, and is not repeated: its tokens are billed."""
    setup.engine.script(Text(WORDS[0]), Reset())
    stream = setup.client.stream("hello")
    with pytest.raises(EngineFailedError) as caught:
        await read(stream)
    assert caught.value.advice is Advice.RETRY
    assert caught.value.ended
    assert stream.text == WORDS[0]
    assert len(setup.engine.calls) == 1


async def test_an_engine_that_refuses_is_tried_again(setup: Setup) -> None:
    """Before `started` nothing was generated and the id is free: two more starts, then the error."""
    setup.engine.script(Reset())
    stream = setup.client.stream("hello")
    generation_id = stream.generation_id
    with pytest.raises(UnavailableError) as caught:
        await read(stream)
    assert caught.value.reason == "ENGINE_UNAVAILABLE"
    assert caught.value.generation_id == stream.generation_id == generation_id
    assert len(setup.engine.calls) == 3


async def test_a_bad_request_says_what_is_wrong(setup: Setup) -> None:
    """Violations name the field; nothing is tried again."""
    with pytest.raises(InvalidRequestError) as caught:
        await read(setup.client.stream("hello", temperature=9))
    assert [field for field, _ in caught.value.violations] == ["sampling.temperature"]


async def test_a_second_reader_gets_the_same_and_leaves_the_generation_alone(setup: Setup) -> None:
    """`resume` reads what another call started; leaving it cancels nothing."""
    held = Pause()
    setup.script(Text(WORDS[0]), held, Text(*WORDS[1:]))
    stream = setup.client.stream("hello")
    first = asyncio.create_task(read(stream))
    await until(lambda: stream.text)
    async with setup.client.resume(stream.generation_id) as left:
        async for _ in left:
            break
    second = setup.client.resume(stream.generation_id, 1)
    held.release()
    assert await read(second) == await first == "".join(WORDS)


async def test_resuming_at_the_end_is_a_normal_end(setup: Setup) -> None:
    """Nothing is left to read; how it ended is the generation's to tell."""
    setup.script(Text(*WORDS))
    stream = setup.client.stream("hello")
    await read(stream)
    again = setup.client.resume(stream.generation_id, stream.sequence)
    assert await read(again) == ""
    assert again.finish is None
    assert (await setup.client.get(stream.generation_id)).finished == stream.finish


async def test_an_unknown_generation_is_not_found(setup: Setup) -> None:
    """For every call that names one."""
    with pytest.raises(NotFoundError):
        await read(setup.client.resume("nobody"))
    with pytest.raises(NotFoundError):
        await setup.client.get("nobody")
    with pytest.raises(NotFoundError):
        await setup.client.cancel("nobody")


async def test_messages_are_raw_and_hold_notices(setup: Setup) -> None:
    """`messages` is what came over the wire, each event once, notices included."""
    setup.script(Text(WORDS[0]), Stall())
    seen = []
    async with setup.client.stream("hello") as stream, asyncio.timeout(20):
        async for message in stream.messages():
            seen.append(message.WhichOneof("event") or message.WhichOneof("notice"))
            if message.tokens:
                setup.proxy.cut()
            if seen[-1] == "attached":
                break
    assert seen == ["started", None, "attached"]


async def test_a_conversation_grows_by_answers_and_tool_calls(setup: Setup) -> None:
    """What a stream brought is put into the conversation as the engine wants it back."""
    talk = Conversation("be brief").user("what time is it?")
    setup.script(ToolCall(id="c1", name="clock", arguments='{"zone":'), ToolCall(arguments='"UTC"}'))
    tool = input_pb2.Tool(name="clock", parameters_json_schema='{"type":"object"}')
    stream = setup.client.stream(talk, tools=[tool])
    await read(stream)
    talk.add(stream).tool_result("c1", "12:00")
    setup.script(Text("noon"))
    answer = setup.client.stream(talk, tools=[tool])
    await read(answer)
    talk.add(answer)
    assert [message["role"] for message in setup.engine.calls[1].body["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]
    assert talk.messages[2].parts[0].tool_call == input_pb2.ToolCall(
        id="c1", function_name="clock", arguments='{"zone":"UTC"}'
    )
    assert (talk.messages[4].role, talk.messages[4].text) == (input_pb2.ROLE_ASSISTANT, "noon")


async def test_a_whole_request_is_taken_and_not_changed(setup: Setup) -> None:
    """Anything that the contract has can be asked for; options are put on top."""
    setup.script(Text(*WORDS))
    request = StreamTokensRequest(prompt="hello", generation_id="mine")
    request.recovery.replay_ttl.FromSeconds(5)
    untouched = request.SerializeToString(deterministic=True)
    stream = setup.client.stream(request, max_tokens=7)
    await read(stream)
    assert stream.generation_id == "mine"
    assert request.SerializeToString(deterministic=True) == untouched
    assert 7 in setup.engine.calls[0].body.values()


async def test_generate_answers_whole(setup: Setup) -> None:
    """One call, one answer with its generation."""
    setup.script(Text(*WORDS))
    answer = await setup.client.generate("hello")
    assert answer.text == "".join(WORDS)
    assert answer.generation.state == gen.GENERATION_STATE_SUCCEEDED


async def test_generate_survives_a_drop(setup: Setup) -> None:
    """The library's own retry attaches to the generation under its id."""
    held = Pause()
    setup.script(Text(WORDS[0]), held, Text(*WORDS[1:]))
    task = asyncio.create_task(setup.client.generate("hello"))
    await asyncio.wait_for(held.reached.wait(), 10)
    setup.proxy.cut()
    held.release()
    assert (await task).text == "".join(WORDS)
    assert len(setup.engine.calls) == 1


async def test_generate_that_is_cancelled_stops_the_engine(setup: Setup) -> None:
    """A cancelled task cancels its generation."""
    held = Stall()
    setup.script(Text(WORDS[0]), held)
    task = asyncio.create_task(setup.client.generate("hello", generation_id="g"))
    await asyncio.wait_for(held.reached.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await setup.stopped(await setup.engine.called(), "g")


@pytest.mark.parametrize("on_deadline", ["fail", "partial"])
async def test_generate_ends_at_its_timeout(setup: Setup, on_deadline: Any) -> None:
    """With the text, or with an error: what there is can be read by its id."""
    setup.script(Text(WORDS[0]), Stall())
    answer = setup.client.generate("hello", timeout=1.0, on_deadline=on_deadline)
    if on_deadline == "partial":
        assert (await answer).text == WORDS[0]
        return
    with pytest.raises(DeadlineExceededError) as caught:
        await answer
    assert caught.value.ended
    rest = setup.client.resume(caught.value.generation_id)
    with pytest.raises(DeadlineExceededError):
        await read(rest)
    assert rest.text == WORDS[0]


async def test_counts_and_models(setup: Setup) -> None:
    """What a request would cost, and what there is to ask."""
    assert (await setup.client.count("hello world")).input_token_count > 0
    assert [model.name for model in await setup.client.models()] == ["scripted"]


async def test_all_pages_of_models_are_read() -> None:
    """More models than a page holds."""
    models = [upstream("http://127.0.0.1:9/v1", name=f"m{number:03}") for number in range(51)]
    async with serving(*models) as served, TokenStreamClient(served.target, options=OPTIONS) as client:
        assert [model.name for model in await client.models()] == [model.name for model in models]


async def test_the_token_is_sent_with_every_call(tmp_path: Path) -> None:
    """A server that knows tenants lets the client in with its key and nobody without."""
    key = tmp_path / "key"
    key.write_text("secret\n")
    tenant = TenantSettings(name="team", key_file=str(key))
    async with serving(tenants=(tenant,)) as served:
        async with TokenStreamClient(served.target, token="secret", options=OPTIONS) as client:
            assert await read(client.stream("hello", max_tokens=3, seed=1))
            assert await client.models()
        async with TokenStreamClient(served.target, options=OPTIONS) as client:
            with pytest.raises(NotAllowedError):
                await read(client.stream("hello"))


async def test_the_callers_options_win(setup: Setup) -> None:
    """A channel option of the caller's replaces the client's own."""
    setup.script(Text("x" * 4_000))
    options = (*OPTIONS, ("grpc.max_receive_message_length", 2_000))
    async with TokenStreamClient(setup.proxy.target, options=options) as client:
        with pytest.raises(Exception, match="larger than max") as caught:
            await read(client.stream("hello"))
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
