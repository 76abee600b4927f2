"""The asyncio client against a real server, over connections that are actually cut."""

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
    Cursor,
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
from tokengrpc.client.channel import channel_target
from tokengrpc.config import TenantSettings
from tokengrpc.errors import Advice

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

WORDS = tuple(f"word{number} " for number in range(30))
# Many connections break in these tests, so the backoff is short.
POLICY = ResumePolicy(initial_backoff=0.001, max_backoff=0.02)
# Each client has its own subchannel, so that cutting its connection affects no other client.
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100))


@dataclass
class Setup:
    """Client, the proxy that it connects to, the server behind the proxy, and the server's engine."""

    client: TokenStreamClient
    proxy: TcpProxy
    served: Served
    engine: ScriptedEngine

    def script(self, *steps: Step) -> None:
        """Scripts the engine: these steps, then a normal end."""
        self.engine.script(*steps, Finish(), UsageChunk(), Done())

    async def assert_cancelled(self, call: Call, generation_id: str) -> None:
        """Waits until the engine's connection is closed, and checks that the generation was cancelled."""
        await self.wait_for_release(call)
        generation = await self.served.get(generation_id)
        assert generation.state == gen.GENERATION_STATE_CANCELLED

    async def wait_for_release(self, call: Call) -> None:
        """Waits until the engine's connection is closed and no generation is active."""
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
    async with running() as created:
        yield created


async def read(stream: TokenStream, on_token: Callable[[], None] | None = None) -> str:
    """Reads a stream to its end and returns the text. Calls `on_token` after each token."""
    texts = []
    async for token in stream:
        texts.append(token.text)
        if on_token is not None:
            on_token()
    return "".join(texts)


async def test_a_finished_stream_has_all_attributes(setup: Setup) -> None:
    """Text, usage, finish, timing, state and cursor are set when the loop ends."""
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


async def test_no_token_is_lost_if_each_one_cuts_the_connection(setup: Setup) -> None:
    """The engine runs once and each token arrives once, although the connection is cut after each token."""
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
async def test_no_token_is_lost_at_any_cut_position(setup: Setup, allowed: int) -> None:
    """If the connection is cut inside a frame or message, the stream resumes after the last full message."""
    setup.script(*(Text(word) for word in WORDS))
    setup.proxy.cut_after_bytes(allowed)
    stream = setup.client.stream("hello")
    messages = [message async for message in stream.messages()]
    check_gapless(messages)
    assert stream.text == "".join(WORDS)
    assert len(setup.engine.calls) == 1


async def test_output_generated_during_an_outage_is_read_later(setup: Setup) -> None:
    """The generation continues while its client is disconnected and cannot reconnect for a while."""
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


async def test_a_network_pause_does_not_cause_a_resume(setup: Setup) -> None:
    """If the network delivers nothing for a while, no token is lost and the stream is not resumed."""
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
    """`break` is enough: dropping the loop's iterator cancels the generation, without an explicit close."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    async for _ in stream:
        break
    await setup.assert_cancelled(await setup.engine.called(), stream.generation_id)


async def test_breaking_out_before_the_client_closes_stops_engine(setup: Setup) -> None:
    """The generation is cancelled even if the client is closed directly after the `break`."""
    setup.script(Text(WORDS[0]), Stall())
    async with TokenStreamClient(setup.proxy.target, options=OPTIONS) as client:
        stream = client.stream("hello")
        async for _ in stream:
            break
    generation = await setup.served.get(stream.generation_id)
    assert generation.state == gen.GENERATION_STATE_CANCELLED


async def test_an_error_in_the_loop_stops_the_engine(setup: Setup) -> None:
    """An exception in the loop's body cancels the generation, even while its traceback holds the iterator."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")

    async def fail_while_reading() -> None:
        async for _ in stream:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        await fail_while_reading()
    await setup.assert_cancelled(await setup.engine.called(), stream.generation_id)
    assert caught.tb is not None


async def test_cancelling_the_task_in_the_loop_body_stops_engine(setup: Setup) -> None:
    """The task is cancelled while it processes a token, not while it waits for the stream."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")

    async def process_forever() -> None:
        async for _ in stream:
            await asyncio.Event().wait()

    task = asyncio.create_task(process_forever())
    await until(lambda: stream.text)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await setup.assert_cancelled(await setup.engine.called(), stream.generation_id)


async def test_leaving_the_block_stops_the_engine_at_once(setup: Setup) -> None:
    """When the `async with` block exits, the generation is already cancelled."""
    setup.script(Text(WORDS[0]), Stall())
    async with setup.client.stream("hello") as stream:
        async for _ in stream:
            break
    generation = await setup.served.get(stream.generation_id)
    assert generation.state == gen.GENERATION_STATE_CANCELLED
    assert stream.text == WORDS[0]


async def test_cancelling_the_task_stops_the_engine(setup: Setup) -> None:
    """Cancelling the reading task cancels the generation."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    task = asyncio.create_task(read(stream))
    await until(lambda: stream.text)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await setup.assert_cancelled(await setup.engine.called(), stream.generation_id)


async def test_cancelling_the_task_in_prefill_stops_the_engine(setup: Setup) -> None:
    """Before the first event GetGeneration knows no generation, but the engine must be stopped."""
    setup.script(Stall())
    task = asyncio.create_task(read(setup.client.stream("hello")))
    call = await setup.engine.called()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await setup.wait_for_release(call)


async def test_closing_the_client_stops_its_generations(setup: Setup) -> None:
    """Closing the client closes a stream whose iterator is still open."""
    setup.script(Text(WORDS[0]), Stall())
    async with TokenStreamClient(setup.proxy.target, options=OPTIONS) as client:
        stream = client.stream("hello")
        tokens = aiter(stream)
        await anext(tokens)
    await setup.assert_cancelled(await setup.engine.called(), stream.generation_id)
    with pytest.raises(GenerationCancelledError):
        await anext(tokens)


async def test_closing_a_stream_elsewhere_raises_in_its_reader(setup: Setup) -> None:
    """If another task closes a stream, the reading task gets an error and is not cancelled."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    task = asyncio.create_task(read(stream))
    await until(lambda: stream.text)
    await stream.aclose()
    with pytest.raises(GenerationCancelledError):
        await task


async def test_another_reader_goes_on_where_one_detached(setup: Setup) -> None:
    """`detach` leaves the generation running. Its cursor, as text, is enough for the rest."""
    held = Pause()
    setup.script(Text(*WORDS[:3]), held, Text(*WORDS[3:]))
    texts, cursor = [], None
    async with setup.client.stream("hello") as stream:
        # The loop gets the rest of the message that it has begun, and then ends without an error.
        async for token in stream:
            texts.append(token.text)
            cursor = str(await stream.detach())
    held.release()
    assert cursor is not None
    assert "".join(texts) + await read(setup.client.resume(cursor)) == "".join(WORDS)
    assert len(setup.engine.calls) == 1


async def test_a_stream_can_be_detached_elsewhere(setup: Setup) -> None:
    """If another task detaches, the reader's loop ends normally, and the generation runs on."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    task = asyncio.create_task(read(stream))
    await until(lambda: stream.text)
    cursor = await stream.detach()
    assert await task == WORDS[0]
    async with setup.client.resume(cursor, cancel_on_close=True) as rest:
        async for message in rest.messages():
            assert message.attached.state == gen.GENERATION_STATE_GENERATING
            break
    await setup.assert_cancelled(await setup.engine.called(), stream.generation_id)


@pytest.mark.parametrize("leave", ["detach", "aclose"])
async def test_a_stream_can_be_left_while_it_reconnects(setup: Setup, leave: str) -> None:
    """The reader's loop ends at once, and not when the next attempt is due."""
    policy = ResumePolicy(initial_backoff=1e6, max_backoff=1e6, patience=1e9)
    setup.script(Text(WORDS[0]), Stall())
    async with TokenStreamClient(setup.proxy.target, policy=policy) as client:
        stream = client.stream("hello")
        task = asyncio.create_task(read(stream))
        await until(lambda: stream.text)
        setup.proxy.vanish()
        (generation,) = setup.served.registry
        await until(lambda: not generation.subscribers)
        await getattr(stream, leave)()
        async with asyncio.timeout(30):
            await asyncio.gather(task, return_exceptions=True)


async def test_cancel_ends_the_stream_with_its_partial_text(setup: Setup) -> None:
    """`cancel` returns the ended generation. The reader gets a typed error and keeps the text."""
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
    """A second loop raises an error and does not start another generation."""
    setup.script(Text(WORDS[0]))
    stream = setup.client.stream("hello")
    await read(stream)
    with pytest.raises(RuntimeError, match="read once"):
        await read(stream)


async def test_the_timeout_ends_the_generation_with_partial_text(setup: Setup) -> None:
    """The server ends the generation before the client's deadline. The caller gets an error and the text."""
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
async def test_on_deadline_partial_ends_the_stream_normally(setup: Setup, resumable: bool) -> None:
    """With `on_deadline="partial"`, the loop ends without an error at the deadline."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello", timeout=1.0, on_deadline="partial", resumable=resumable)
    assert await read(stream) == WORDS[0]
    assert stream.finish is not None
    assert stream.finish.finish_reason == gen.FINISH_REASON_DEADLINE


async def test_the_deadline_of_a_non_resumable_stream(setup: Setup) -> None:
    """The server's DEADLINE_EXCEEDED arrives before that of the gRPC library."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello", timeout=1.0, resumable=False)
    with pytest.raises(DeadlineExceededError) as caught:
        await read(stream)
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    assert stream.finish is not None


async def test_the_timeout_holds_when_the_network_is_silent(setup: Setup) -> None:
    """If the server's `finished` does not arrive, the client's own deadline ends the stream.

    The client then cancels the generation.
    """
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello", timeout=1.0)
    with pytest.raises(DeadlineExceededError) as caught:
        await read(stream, on_token=setup.proxy.pause)
    assert not caught.value.ended
    assert caught.value.partial_text == WORDS[0]
    setup.proxy.resume()
    await setup.wait_for_release(await setup.engine.called())


async def test_a_drop_of_a_non_resumable_stream_stops_the_engine(setup: Setup) -> None:
    """With `resumable=False`, the generation ends with its connection, and the reader gets an error."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello", resumable=False)
    with pytest.raises(ConnectionLostError) as caught:
        await read(stream, on_token=setup.proxy.cut)
    assert caught.value.advice is Advice.RETRY
    assert caught.value.partial_text == WORDS[0]
    await setup.assert_cancelled(await setup.engine.called(), stream.generation_id)


async def test_a_lost_stream_keeps_its_cursor(setup: Setup) -> None:
    """When patience has ended, the generation can still be resumed from the stream's cursor."""
    held = Pause()
    setup.script(Text(WORDS[0]), held, Text(WORDS[1]))
    policy = ResumePolicy(patience=0.1, initial_backoff=0.001)
    async with TokenStreamClient(setup.proxy.target, options=OPTIONS, policy=policy) as client:
        stream = client.stream("hello")
        with pytest.raises(ConnectionLostError) as caught:
            await read(stream, on_token=setup.proxy.vanish)
    lost = caught.value
    assert lost.advice is Advice.RESUME
    held.release()
    await setup.proxy.listen()
    assert await read(setup.client.resume(stream.cursor)) == WORDS[1]


async def test_a_missing_server_is_unavailable(setup: Setup) -> None:
    """If nothing listens at the address, the error says what to check."""
    setup.proxy.refuse()
    policy = ResumePolicy(patience=0.1, initial_backoff=0.001)
    async with TokenStreamClient(setup.proxy.target, options=OPTIONS, policy=policy) as client:
        with pytest.raises(UnavailableError, match="check that the server is running") as caught:
            await read(client.stream("hello"))
    assert not isinstance(caught.value, ConnectionLostError)


async def test_another_server_does_not_know_the_generation(setup: Setup) -> None:
    """If the client reconnects to a server without the generation, the caller keeps the partial answer."""
    setup.script(Text(WORDS[0]), Stall())
    async with serving() as other:
        stream = setup.client.stream("hello")
        with pytest.raises(GenerationLostError) as caught:
            await read(stream, on_token=lambda: setup.proxy.lead_to(other.server.port))
    assert caught.value.partial_text == WORDS[0]


async def test_a_failed_engine_is_a_typed_error(setup: Setup) -> None:
    """A failed generation raises the error of `finished`. It is not retried, since its tokens are billed."""
    setup.engine.script(Text(WORDS[0]), Reset())
    stream = setup.client.stream("hello")
    with pytest.raises(EngineFailedError) as caught:
        await read(stream)
    assert caught.value.advice is Advice.RETRY
    assert caught.value.ended
    assert stream.text == WORDS[0]
    assert len(setup.engine.calls) == 1


async def test_a_rejection_by_the_engine_is_retried(setup: Setup) -> None:
    """Before `started` nothing is generated and the id stays free: the client retries twice, then fails."""
    setup.engine.script(Reset())
    stream = setup.client.stream("hello")
    generation_id = stream.generation_id
    with pytest.raises(UnavailableError) as caught:
        await read(stream)
    assert caught.value.reason == "ENGINE_UNAVAILABLE"
    assert caught.value.generation_id == stream.generation_id == generation_id
    assert len(setup.engine.calls) == 3


async def test_an_invalid_request_has_violations(setup: Setup) -> None:
    """The violations name the field. The call is not retried."""
    with pytest.raises(InvalidRequestError) as caught:
        await read(setup.client.stream("hello", temperature=9))
    assert [field for field, _ in caught.value.violations] == ["sampling.temperature"]


async def test_a_second_reader_gets_the_same_events(setup: Setup) -> None:
    """`resume` reads a generation that another call started. Closing that stream cancels nothing."""
    held = Pause()
    setup.script(Text(WORDS[0]), held, Text(*WORDS[1:]))
    stream = setup.client.stream("hello")
    first = asyncio.create_task(read(stream))
    await until(lambda: stream.text)
    async with setup.client.resume(Cursor(stream.generation_id)) as closed_early:
        async for _ in closed_early:
            break
    second = setup.client.resume(Cursor(stream.generation_id, 1))
    held.release()
    assert await read(second) == await first == "".join(WORDS)


async def test_resuming_at_the_end_is_a_normal_end(setup: Setup) -> None:
    """If no events remain, the stream ends normally and `get` returns how the generation ended."""
    setup.script(Text(*WORDS))
    stream = setup.client.stream("hello")
    await read(stream)
    again = setup.client.resume(stream.cursor)
    assert await read(again) == ""
    assert again.finish is None
    assert (await setup.client.get(stream.generation_id)).finished == stream.finish


async def test_an_unknown_generation_is_not_found(setup: Setup) -> None:
    """Every call with an unknown generation id raises NotFoundError."""
    with pytest.raises(NotFoundError):
        await read(setup.client.resume(Cursor("nobody")))
    with pytest.raises(NotFoundError):
        await setup.client.get("nobody")
    with pytest.raises(NotFoundError):
        await setup.client.cancel("nobody")


async def test_messages_are_raw_and_include_notices(setup: Setup) -> None:
    """`messages` yields the messages of the wire, each event once, notices included."""
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
    """`add` puts the answer of a stream into the conversation in the form that the engine expects."""
    conversation = Conversation("be brief").user("what time is it?")
    setup.script(ToolCall(id="c1", name="clock", arguments='{"zone":'), ToolCall(arguments='"UTC"}'))
    tool = input_pb2.Tool(name="clock", parameters_json_schema='{"type":"object"}')
    stream = setup.client.stream(conversation, tools=[tool])
    await read(stream)
    conversation.add(stream).tool_result("c1", "12:00")
    setup.script(Text("noon"))
    answer = setup.client.stream(conversation, tools=[tool])
    await read(answer)
    conversation.add(answer)
    assert [message["role"] for message in setup.engine.calls[1].body["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]
    assert conversation.messages[2].parts[0].tool_call == input_pb2.ToolCall(
        id="c1", function_name="clock", arguments='{"zone":"UTC"}'
    )
    last = conversation.messages[4]
    assert (last.role, last.text) == (input_pb2.ROLE_ASSISTANT, "noon")


async def test_a_complete_request_is_not_modified(setup: Setup) -> None:
    """A StreamTokensRequest gives access to all fields of the contract. Options are applied to a copy."""
    setup.script(Text(*WORDS))
    request = StreamTokensRequest(prompt="hello", generation_id="mine")
    request.recovery.replay_ttl.FromSeconds(5)
    before = request.SerializeToString(deterministic=True)
    stream = setup.client.stream(request, max_tokens=7)
    await read(stream)
    assert stream.generation_id == "mine"
    assert request.SerializeToString(deterministic=True) == before
    assert 7 in setup.engine.calls[0].body.values()


async def test_generate_returns_the_complete_answer(setup: Setup) -> None:
    """One call returns the text and the generation."""
    setup.script(Text(*WORDS))
    answer = await setup.client.generate("hello")
    assert answer.text == "".join(WORDS)
    assert answer.generation.state == gen.GENERATION_STATE_SUCCEEDED


async def test_generate_survives_a_drop(setup: Setup) -> None:
    """The retry of the gRPC library attaches to the running generation by its id."""
    held = Pause()
    setup.script(Text(WORDS[0]), held, Text(*WORDS[1:]))
    task = asyncio.create_task(setup.client.generate("hello"))
    await asyncio.wait_for(held.reached.wait(), 10)
    setup.proxy.cut()
    held.release()
    assert (await task).text == "".join(WORDS)
    assert len(setup.engine.calls) == 1


async def test_cancelling_generate_stops_the_engine(setup: Setup) -> None:
    """Cancelling the calling task cancels the generation."""
    held = Stall()
    setup.script(Text(WORDS[0]), held)
    task = asyncio.create_task(setup.client.generate("hello", generation_id="g"))
    await asyncio.wait_for(held.reached.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await setup.assert_cancelled(await setup.engine.called(), "g")


@pytest.mark.parametrize("on_deadline", ["fail", "partial"])
async def test_generate_ends_at_its_timeout(setup: Setup, on_deadline: Any) -> None:
    """The call returns the partial text, or fails with an error whose id gives access to that text."""
    setup.script(Text(WORDS[0]), Stall())
    answer = setup.client.generate("hello", timeout=1.0, on_deadline=on_deadline)
    if on_deadline == "partial":
        assert (await answer).text == WORDS[0]
        return
    with pytest.raises(DeadlineExceededError) as caught:
        await answer
    assert caught.value.ended
    rest = setup.client.resume(Cursor(caught.value.generation_id))
    with pytest.raises(DeadlineExceededError):
        await read(rest)
    assert rest.text == WORDS[0]


async def test_counts_and_models(setup: Setup) -> None:
    """`count` returns the input tokens of a request, `models` the models."""
    assert (await setup.client.count("hello world")).input_token_count > 0
    assert [model.name for model in await setup.client.models()] == ["scripted"]


async def test_all_pages_of_models_are_read() -> None:
    """`models` returns more models than fit on one page."""
    models = [upstream("http://127.0.0.1:9/v1", name=f"m{number:03}") for number in range(51)]
    async with serving(*models) as served, TokenStreamClient(served.target, options=OPTIONS) as client:
        assert [model.name for model in await client.models()] == [model.name for model in models]


async def test_the_token_is_sent_with_every_call(tmp_path: Path) -> None:
    """A server with tenants accepts the client with its key and rejects it without."""
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


async def test_the_callers_options_take_precedence(setup: Setup) -> None:
    """A channel option of the caller replaces the client's default."""
    setup.script(Text("x" * 4_000))
    options = (*OPTIONS, ("grpc.max_receive_message_length", 2_000))
    async with TokenStreamClient(setup.proxy.target, options=options) as client:
        with pytest.raises(Exception, match="larger than max") as caught:
            await read(client.stream("hello"))
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("dns:///replicas:50051", "dns:///replicas:50051"),
        (["10.0.0.1:50051", "10.0.0.2:50052"], "ipv4:10.0.0.1:50051,10.0.0.2:50052"),
        (("[fd00::1]:50051",), "ipv6:[fd00::1]:50051"),
    ],
)
def test_a_target_is_a_name_or_addresses(target: Any, expected: str) -> None:
    """Addresses of replicas become one target of gRPC."""
    assert channel_target(target) == expected


@pytest.mark.parametrize(
    "target",
    [
        "http://h:1",
        [],
        ["host:50051"],
        ["10.0.0.1"],
        ["10.0.0.1:0"],
        ["fd00::1:50051"],
        ["[10.0.0.1]:1"],
        ["10.0.0.1:1", "[::1]:1"],
    ],
)
def test_a_wrong_target_is_rejected(target: Any) -> None:
    """In one line, before any call."""
    with pytest.raises(ValueError, match=r"^target: .*") as raised:
        channel_target(target)
    assert "\n" not in str(raised.value)
