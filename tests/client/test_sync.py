"""The blocking client against a real server: it has the same policy as the asyncio client."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tokenstreaming.v1 import generation_pb2 as gen

from tests.support.harness import Served, serving, until, upstream
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Stall, Step, Text, UsageChunk
from tests.support.tcp_proxy import TcpProxy
from tokengrpc import (
    ConnectionLostError,
    Conversation,
    Cursor,
    DeadlineExceededError,
    GenerationCancelledError,
    NotFoundError,
    ResumePolicy,
    SyncTokenStream,
    SyncTokenStreamClient,
    UnavailableError,
)
from tokengrpc.errors import Advice

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

WORDS = tuple(f"word{number} " for number in range(30))
POLICY = ResumePolicy(initial_backoff=0.001, max_backoff=0.02)
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100))


@dataclass
class Setup:
    """Blocking client, the proxy that it connects to, the server behind it, and the server's engine."""

    client: SyncTokenStreamClient
    proxy: TcpProxy
    served: Served
    engine: ScriptedEngine
    loop: asyncio.AbstractEventLoop

    def script(self, *steps: Step) -> None:
        """Scripts the engine: these steps, then a normal end."""
        self.engine.script(*steps, Finish(), UsageChunk(), Done())

    def in_loop(self, function: Callable[[], None]) -> None:
        """Calls a function in the event loop of the server and the proxy, from another thread."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (function(), done.set()))
        assert done.wait(10)

    async def assert_cancelled(self, generation_id: str) -> None:
        """Waits until the engine's connection is closed, and checks that the generation was cancelled."""
        call = await self.engine.called()
        await asyncio.wait_for(call.disconnected.wait(), 10)
        generation = await self.served.get(generation_id)
        assert generation.state == gen.GENERATION_STATE_CANCELLED


@asynccontextmanager
async def running() -> AsyncIterator[Setup]:
    async with (
        ScriptedEngine() as engine,
        serving(upstream(engine.base_url)) as served,
        TcpProxy(served.server.port) as proxy,
    ):
        client = SyncTokenStreamClient(proxy.target, options=OPTIONS, policy=POLICY)
        try:
            yield Setup(client, proxy, served, engine, asyncio.get_running_loop())
        finally:
            await asyncio.to_thread(client.close)


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    async with running() as created:
        yield created


def read(stream: SyncTokenStream, on_token: Callable[[], object] | None = None) -> str:
    """Reads a stream to its end and returns the text. Calls `on_token` after each token."""
    texts = []
    for token in stream:
        texts.append(token.text)
        if on_token is not None:
            on_token()
    return "".join(texts)


def read_one(stream: SyncTokenStream) -> None:
    for _ in stream:
        break


async def test_a_finished_stream_has_all_attributes(setup: Setup) -> None:
    """Text, usage, finish, state and cursor are set when the loop ends."""
    setup.script(Text(*WORDS))
    stream = setup.client.stream("hello")
    assert stream.finish_reason == ""
    assert await asyncio.to_thread(read, stream) == "".join(WORDS) == stream.text
    assert stream.finish_reason == "END"
    generation = await asyncio.to_thread(setup.client.get, stream.generation_id)
    assert stream.usage == generation.usage
    assert stream.finish == generation.finished
    assert (stream.state, stream.sequence) == (generation.state, generation.last_sequence)


async def test_no_token_is_lost_if_each_one_cuts_the_connection(setup: Setup) -> None:
    """The engine runs once and each token arrives once, although the connection is cut after each token."""
    pauses = [Pause() for _ in WORDS]
    setup.script(*(step for pair in zip(map(Text, WORDS), pauses, strict=True) for step in pair))
    stream = setup.client.stream("hello")
    remaining_pauses = iter(pauses)

    def cut_and_release() -> None:
        setup.in_loop(setup.proxy.cut)
        setup.in_loop(next(remaining_pauses).release)

    text = await asyncio.to_thread(read, stream, cut_and_release)
    assert text == "".join(WORDS) == setup.engine.calls[0].text
    assert len(setup.engine.calls) == 1
    assert setup.proxy.cut_count == len(WORDS)


async def test_breaking_out_of_the_loop_stops_the_engine(setup: Setup) -> None:
    """`break` is enough: dropping the loop's iterator cancels the generation before the next statement."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    await asyncio.to_thread(read_one, stream)
    generation = await setup.served.get(stream.generation_id)
    assert generation.state == gen.GENERATION_STATE_CANCELLED


async def test_leaving_the_block_stops_the_engine(setup: Setup) -> None:
    """When the `with` block exits, the generation is cancelled, even if the iterator still exists."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    tokens = iter(stream)

    def leave() -> None:
        with stream:
            next(tokens)

    await asyncio.to_thread(leave)
    await setup.assert_cancelled(stream.generation_id)


async def test_closing_a_stream_elsewhere_raises_in_its_reader(setup: Setup) -> None:
    """If another thread closes a stream, its loop ends with an error."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    reading = asyncio.create_task(asyncio.to_thread(read, stream))
    await until(lambda: stream.text)
    await asyncio.to_thread(stream.close)
    with pytest.raises(GenerationCancelledError):
        await reading


async def test_closing_the_client_stops_its_generations(setup: Setup) -> None:
    """Closing the client closes a stream that is still open."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    tokens = iter(stream)
    await asyncio.to_thread(next, tokens)
    await asyncio.to_thread(setup.client.close)
    await setup.assert_cancelled(stream.generation_id)


async def test_another_reader_goes_on_where_one_detached(setup: Setup) -> None:
    """`detach` leaves the generation running. Its cursor, as text, is enough for the rest."""
    held = Pause()
    setup.script(Text(*WORDS[:3]), held, Text(*WORDS[3:]))
    stream = setup.client.stream("hello")
    text = await asyncio.to_thread(read, stream, stream.detach)
    held.release()
    rest = setup.client.resume(str(stream.cursor))
    assert text + await asyncio.to_thread(read, rest) == "".join(WORDS)
    assert len(setup.engine.calls) == 1


async def test_a_stream_can_be_detached_elsewhere(setup: Setup) -> None:
    """If another thread detaches, the reader's loop ends normally, and the generation runs on."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    reading = asyncio.create_task(asyncio.to_thread(read, stream))
    await until(lambda: stream.text)
    cursor = await asyncio.to_thread(stream.detach)
    assert await reading == WORDS[0]
    rest = setup.client.resume(cursor, cancel_on_close=True)
    messages = rest.messages()
    await asyncio.to_thread(next, messages)
    await asyncio.to_thread(messages.close)
    await setup.assert_cancelled(stream.generation_id)


async def test_cancel_ends_the_stream_with_its_partial_text(setup: Setup) -> None:
    """If another thread cancels, the reader gets a typed error and keeps the text."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello")
    reading = asyncio.create_task(asyncio.to_thread(read, stream))
    await until(lambda: stream.text)
    generation = await asyncio.to_thread(stream.cancel)
    with pytest.raises(GenerationCancelledError) as caught:
        await reading
    assert caught.value.partial_text == WORDS[0]
    assert stream.usage == generation.usage


@pytest.mark.parametrize("on_deadline", ["fail", "partial"])
async def test_the_timeout_ends_the_generation_with_partial_text(setup: Setup, on_deadline: Any) -> None:
    """The stream has the partial text in both cases, with "fail" after an error."""
    setup.script(Text(WORDS[0]), Stall())
    stream = setup.client.stream("hello", timeout=1.0, on_deadline=on_deadline)
    if on_deadline == "partial":
        await asyncio.to_thread(read, stream)
    else:
        with pytest.raises(DeadlineExceededError):
            await asyncio.to_thread(read, stream)
    assert stream.text == WORDS[0]
    assert stream.finish is not None
    assert stream.finish.finish_reason == gen.FINISH_REASON_DEADLINE


async def test_a_lost_stream_keeps_its_cursor(setup: Setup) -> None:
    """When patience has ended, the generation can still be resumed from the stream's cursor."""
    held = Pause()
    setup.script(Text(WORDS[0]), held, Text(WORDS[1]))
    policy = ResumePolicy(patience=0.1, initial_backoff=0.001)

    def lose() -> tuple[ConnectionLostError, Cursor]:
        with SyncTokenStreamClient(setup.proxy.target, options=OPTIONS, policy=policy) as client:
            stream = client.stream("hello")
            with pytest.raises(ConnectionLostError) as caught:
                read(stream, on_token=lambda: setup.in_loop(setup.proxy.vanish))
        return caught.value, stream.cursor

    lost, cursor = await asyncio.to_thread(lose)
    assert lost.advice is Advice.RESUME
    held.release()
    await setup.proxy.listen()
    rest = setup.client.resume(cursor)
    assert await asyncio.to_thread(read, rest) == WORDS[1]


async def test_resuming_at_the_end_is_a_normal_end(setup: Setup) -> None:
    """If no events remain, the stream ends normally and `get` returns how the generation ended."""
    setup.script(Text(*WORDS))
    stream = setup.client.stream("hello")
    await asyncio.to_thread(read, stream)
    again = setup.client.resume(stream.cursor)
    assert await asyncio.to_thread(read, again) == ""
    assert again.finish is None
    assert (await asyncio.to_thread(setup.client.get, stream.generation_id)).finished == stream.finish


async def test_a_conversation_grows_by_answers(setup: Setup) -> None:
    """`Conversation` works with both clients."""
    conversation = Conversation().user("hello")
    setup.script(Text("hi"))
    stream = setup.client.stream(conversation)
    await asyncio.to_thread(read, stream)
    assert [message.text for message in conversation.add(stream).messages] == ["hello", "hi"]


async def test_threads_share_a_client(setup: Setup) -> None:
    """Streams in several threads do not affect each other."""
    setup.script(Text(*WORDS))
    streams = [setup.client.stream("hello") for _ in range(8)]
    texts = await asyncio.gather(*(asyncio.to_thread(read, stream) for stream in streams))
    assert set(texts) == {"".join(WORDS)}


async def test_the_unary_calls(setup: Setup) -> None:
    """`generate`, `count`, `models`, `cancel` and `get` return messages and raise typed errors."""
    setup.script(Text(*WORDS))
    assert (await asyncio.to_thread(setup.client.generate, "hello")).text == "".join(WORDS)
    assert (await asyncio.to_thread(setup.client.count, "hello")).input_token_count > 0
    assert [model.name for model in await asyncio.to_thread(setup.client.models)] == ["scripted"]
    with pytest.raises(NotFoundError):
        await asyncio.to_thread(setup.client.get, "nobody")
    with pytest.raises(NotFoundError):
        await asyncio.to_thread(setup.client.cancel, "nobody")
    setup.proxy.vanish()
    with pytest.raises(UnavailableError):
        await asyncio.to_thread(setup.client.models)


async def test_a_deadline_is_reported_although_the_server_is_silent(setup: Setup) -> None:
    """The error does not wait for the cancellation of the generation; closing the client does."""
    policy = ResumePolicy(cancel_timeout=100)
    setup.script(Text(WORDS[0]), Stall())
    client = SyncTokenStreamClient(setup.proxy.target, options=OPTIONS, policy=policy)
    stream = client.stream("hello", timeout=2)
    reading = asyncio.create_task(asyncio.to_thread(read, stream))
    await until(lambda: stream.text)
    setup.proxy.pause()
    with pytest.raises(DeadlineExceededError):
        await asyncio.wait_for(asyncio.shield(reading), 12)
    setup.proxy.resume()
    await asyncio.to_thread(client.close)
