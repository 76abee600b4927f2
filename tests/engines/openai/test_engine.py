"""The openai engine against a scripted server on a real socket: dialects, failures, connections."""

from __future__ import annotations

import asyncio
import gc
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.engine_runs import answer, run_once
from tests.support.engine_runs import run as run_engine
from tests.support.harness import until
from tests.support.http_peer import Peer, Server
from tests.support.openai_payloads import chat, counts, text
from tests.support.scripted_engine import (
    Bytes,
    Call,
    Chunk,
    Complaint,
    Done,
    Drop,
    Finish,
    Headers,
    Pause,
    Reasoning,
    Refusal,
    Reset,
    ScriptedEngine,
    Split,
    Stall,
    Status,
    Text,
    Together,
    ToolCall,
    UsageChunk,
)
from tests.support.wire_dialects import LITELLM, LLAMA_CPP, OLLAMA, OPENAI, SGLANG, TGI, VLLM, Dialect
from tokengrpc.config import engine_settings
from tokengrpc.core.model import Delta, FinishReason, UsageReport
from tokengrpc.core.ports.engine import Continuation
from tokengrpc.core.request import GenerationRequest, Message, OutputOptions, Role, TextPart
from tokengrpc.engines.openai.chunks.decoder import ChunkDecoder
from tokengrpc.engines.openai.engine import OpenAIEngine, create
from tokengrpc.engines.upstream.response import reader as stream_reader
from tokengrpc.engines.upstream.response.batching import PORTION, portions
from tokengrpc.engines.upstream.response.sse import SSEDecoder
from tokengrpc.errors import (
    ContextLengthExceeded,
    EngineAborted,
    EngineAuthFailed,
    EngineBusy,
    EngineLost,
    EngineProtocolError,
    EngineTruncated,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
    TokenGrpcError,
    UnsupportedFeature,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CHAT = GenerationRequest(messages=(Message(role=Role.USER, parts=(TextPart(text="Hi"),)),))
PROMPT = GenerationRequest(prompt="Once")


@pytest.fixture
async def server() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine() as engine:
        yield engine


@pytest.fixture
async def engine(server: ScriptedEngine) -> AsyncIterator[OpenAIEngine]:
    created = engine_for(server)
    await created.start()
    yield created
    await created.close()


def engine_for(server: ScriptedEngine, **settings: Any) -> OpenAIEngine:
    return create(engine_settings(name="m", kind="openai", base_url=server.base_url, **settings), None)


async def run(
    engine: OpenAIEngine, request: GenerationRequest = CHAT
) -> tuple[list[Delta], TokenGrpcError | None]:
    """Returns all deltas of a generation and the error that ended it."""
    return await run_engine(engine, request)


async def run_on(server: ScriptedEngine, request: GenerationRequest, **settings: Any) -> list[Delta]:
    """Returns all deltas of a generation without errors, on a new engine with these settings."""
    deltas, error = await run_once(engine_for(server, **settings), request)
    assert error is None
    return deltas


class TestDialects:
    """Responses of each kind of server give the same deltas."""

    @pytest.mark.parametrize("request_", [CHAT, PROMPT], ids=["chat", "completions"])
    @pytest.mark.parametrize(
        "dialect", [OPENAI, VLLM, SGLANG, LLAMA_CPP, OLLAMA, TGI, LITELLM], ids=lambda d: type(d).__name__
    )
    async def test_any_server_with_the_generic_dialect(self, dialect: Dialect, request_: GenerationRequest):
        """Without the setting `dialect`, text, finish and usage still equal those in the server's own log."""
        async with ScriptedEngine(dialect) as server:
            server.script(Text("Hel"), Text("lo", " 🦜"), Finish("stop"), UsageChunk(), Done())
            deltas = await run_on(server, request_)
            call = await server.called()
        assert call.chat is (request_ is CHAT)
        assert answer(deltas) == call.text == "Hello 🦜"
        assert deltas[-1].finish is not None
        assert deltas[-1].finish.reason is FinishReason.END
        assert deltas[-1].usage is not None
        assert (deltas[-1].usage.input, deltas[-1].usage.output) == dialect.told(call)

    @pytest.mark.parametrize("dialect", [OPENAI, VLLM, OLLAMA], ids=lambda d: type(d).__name__)
    async def test_reasoning_and_refusal(self, dialect: Dialect):
        """Reasoning and refusals are emitted in their own fields, not as text."""
        async with ScriptedEngine(dialect) as server:
            server.script(Reasoning("h", "m"), Refusal("No"), Finish(), Done())
            deltas = await run_on(server, CHAT)
        assert "".join(delta.reasoning for delta in deltas) == "hm"
        assert "".join(delta.refusal for delta in deltas) == "No"
        assert answer(deltas) == ""

    async def test_tool_calls(self, server: ScriptedEngine, engine: OpenAIEngine):
        """Fragments arrive in order; joined, they are the call."""
        server.script(
            ToolCall(0, "c", "f", ""),
            ToolCall(0, arguments='{"a":'),
            ToolCall(0, arguments="1}"),
            Finish("tool_calls"),
        )
        deltas, error = await run(engine)
        fragments = [fragment for delta in deltas for fragment in delta.fragments]
        assert error is None
        assert (fragments[0].id, fragments[0].function_name) == ("c", "f")
        assert "".join(fragment.arguments for fragment in fragments) == '{"a":1}'

    async def test_one_read_is_one_batch(self, server: ScriptedEngine, engine: OpenAIEngine):
        """Tokens that arrive in one read are emitted in one batch."""
        server.script(Headers(), pause := Pause(), Together(Text(*"abcdef"), Finish(), Done()))
        async with aclosing(engine.generate(CHAT)) as batches:
            assert await anext(batches) == ()
            await pause.reached.wait()
            pause.release()
            assert answer(list(await anext(batches))) == "abcdef"

    @pytest.mark.parametrize("position", range(1, 60, 3))
    async def test_bytes_cut_anywhere(self, server: ScriptedEngine, engine: OpenAIEngine, position: int):
        """The deltas are the same if a write ends inside an event, a field or a character."""
        body = b'data: {"choices":[{"delta":{"content":"\xf0\x9f\xa6\x9c"}}]}\r\n\r\n'
        server.script(Split(Bytes(body), position), Finish())
        deltas, error = await run(engine)
        assert (answer(deltas), error) == ("🦜", None)

    @pytest.mark.parametrize(
        "mark", [b"data: [DONE]\n\n", b"data: [DONE]", b"data:[DONE]\r\n\r\n", b": bye\n\n", b""]
    )
    async def test_end_marks(self, server: ScriptedEngine, engine: OpenAIEngine, mark: bytes):
        """After a finish, the body may end with [DONE], with half of its line end, or without [DONE]."""
        server.script(Bytes(b"\xef\xbb\xbf: hello\n\n"), Text("a"), Finish(), UsageChunk(7, 1), Bytes(mark))
        deltas, error = await run(engine)
        assert error is None
        assert deltas[-1].usage == UsageReport(input=7, output=1)

    async def test_response_that_is_not_streamed(self, server: ScriptedEngine, engine: OpenAIEngine):
        """A JSON response with status 200 becomes one delta."""
        choice = {"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        server.script(
            Status(200, {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})
        )
        deltas, error = await run(engine)
        assert error is None
        assert (answer(deltas), deltas[-1].usage) == ("Hello", UsageReport(input=7, output=2))


def complaint(message: str = "no", **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


CONTEXT = "This model's maximum context length is 8 tokens. However, you requested 9."


class TestRefusals:
    """A rejected request fails before the first batch."""

    @pytest.mark.parametrize(
        ("status", "body", "error"),
        [
            (400, complaint(), InvalidRequest),
            (400, complaint(CONTEXT), ContextLengthExceeded),
            (400, complaint("x", code="context_length_exceeded"), ContextLengthExceeded),
            (400, complaint("x", type="exceed_context_size_error", code=400, n_ctx=8), ContextLengthExceeded),
            (400, {"object": "error", "message": CONTEXT, "code": 400}, ContextLengthExceeded),
            (401, complaint(), EngineAuthFailed),
            (403, complaint(), EngineAuthFailed),
            (404, complaint("model not found"), ModelNotFound),
            (408, None, EngineUnavailable),
            (413, None, InvalidRequest),
            (418, None, EngineProtocolError),
            (302, None, EngineProtocolError),
            (422, {"detail": [{"loc": ["body"], "msg": "bad"}]}, InvalidRequest),
            (429, complaint(), EngineBusy),
            (500, complaint(), EngineUnavailable),
            (500, complaint("the request exceeds the available context size"), ContextLengthExceeded),
            (502, "<html>", EngineUnavailable),
            (503, None, EngineUnavailable),
            (504, None, EngineUnavailable),
            (529, complaint(type="overloaded_error"), EngineBusy),
            (200, complaint("gone"), EngineAborted),
            (200, complaint(CONTEXT), ContextLengthExceeded),
            (200, "hello", EngineProtocolError),
        ],
    )
    async def test_statuses(
        self, server: ScriptedEngine, engine: OpenAIEngine, status: int, body: object, error: type
    ):
        """Each status and error object is mapped to its error class."""
        server.script(Status(status, body))
        deltas, failure = await run(engine)
        assert (deltas, type(failure)) == ([], error)

    async def test_retry_after(self, server: ScriptedEngine, engine: OpenAIEngine):
        """Seconds, or a date relative to the engine's clock, are passed on. Otherwise the default applies."""
        date = "Sun, 06 Nov 1994 08:49:37 GMT"
        for headers, seconds in (
            ({"Retry-After": "3"}, 3.0),
            ({"Retry-After": "Sun, 06 Nov 1994 08:49:42 GMT", "Date": date}, 5.0),
            ({"Retry-After": "Sun, 06 Nov 1994 08:49:12 GMT", "Date": date}, 0.0),
            ({"Retry-After": "soon"}, 1.0),
            ({"Retry-After": "-5"}, 0.0),
            ({"Retry-After": "inf"}, 1.0),
            ({"Retry-After": "nan"}, 1.0),
            ({"Retry-After": "1e300"}, 1.0),
            ({"Retry-After": "9" * 400}, 1.0),
            ({"Retry-After": "Sun, 06 Nov 9999999 08:49:42 GMT", "Date": date}, 1.0),
            ({"Retry-After": f"Sun, {'9' * 30} Nov 1994 08:49:42 GMT", "Date": date}, 1.0),
            ({"Retry-After": "Sun, 06 Nov 1994 08:49:42 +9999999999999999", "Date": date}, 1.0),
            ({"Retry-After": "Sun, 06 Nov 2094 08:49:42 GMT", "Date": date}, 1.0),
            ({}, 1.0),
        ):
            server.script(Status(429, complaint(), headers))
            _, failure = await run(engine)
            assert failure is not None
            assert failure.retry_after == seconds

    async def test_messages_are_cut(self, server: ScriptedEngine, engine: OpenAIEngine):
        """At most 200 characters of the engine's message are quoted."""
        server.script(Status(400, complaint("bad " * 1000)))
        _, failure = await run(engine)
        assert failure is not None
        assert "bad bad" in failure.message
        assert len(failure.message) < 300

    @pytest.mark.parametrize(
        "words",
        ["your key sk-secret is bad", "x" * 190 + " sk-secret", "got 'Authorization: Bearer other-secret'"],
    )
    async def test_the_key_is_redacted(
        self, server: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, words: str
    ):
        """If the engine repeats its key, in an error response or in the stream, the key is redacted."""
        monkeypatch.setenv("UPSTREAM_KEY", "sk-secret")
        engine = engine_for(server, api_key_env="UPSTREAM_KEY")
        await engine.start()
        steps: list[Any] = [Status(status, complaint(words)) for status in (400, 401, 404, 418, 429, 500)]
        steps += [Status(200, complaint(words)), Status(500, {"detail": [words]})]
        steps += [
            Status(200, "", {"Content-Type": f"text/sk-secret; x={words[:9]}"}),
            Complaint(message=words),
        ]
        for step in steps:
            server.script(step)
            _, failure = await run(engine)
            assert failure is not None
            assert "sk-s" not in failure.message
            assert "other-secret" not in failure.message
        server.script(Text("a"), Complaint(message=words, type="sk-secret"))
        _, failure = await run(engine)
        assert isinstance(failure, EngineAborted)
        assert "sk-s" not in failure.message
        assert "other-secret" not in failure.message
        await engine.close()

    async def test_message_with_a_lone_surrogate(self, server: ScriptedEngine, engine: OpenAIEngine):
        """The engine's message becomes valid Unicode."""
        server.script(Status(400, complaint("bad \ud83d")))
        _, failure = await run(engine)
        assert failure is not None
        assert "bad \N{REPLACEMENT CHARACTER}" in failure.message

    async def test_another_content_type(self, server: ScriptedEngine, engine: OpenAIEngine):
        """A response that is not an event stream is a protocol error that names its content type."""
        server.script(Status(200, "<html>", {"Content-Type": "text/html"}))
        _, failure = await run(engine)
        assert isinstance(failure, EngineProtocolError)
        assert "text/html" in failure.message

    async def test_connection_refused(self, server: ScriptedEngine):
        """A refused connection is EngineUnavailable. The message does not contain the address."""
        async with ScriptedEngine() as gone:
            engine = engine_for(gone)
        await engine.start()
        _, failure = await run(engine)
        await engine.close()
        assert isinstance(failure, EngineUnavailable)
        assert "refused" in failure.message
        assert not re.search(r"127\.0\.0\.1|\d{4}|http", failure.message)

    async def test_closed_before_the_headers(self, server: ScriptedEngine, engine: OpenAIEngine):
        """A connection that breaks during prefill is EngineUnavailable, because there has been no token."""
        server.script(Reset())
        _, failure = await run(engine)
        assert isinstance(failure, EngineUnavailable)

    async def test_not_http(self):
        """A server that does not speak HTTP is a protocol error."""

        async def garble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9\r\n")
            writer.close()

        listener = await asyncio.start_server(garble, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        engine = create(engine_settings(name="m", kind="openai", base_url=f"http://127.0.0.1:{port}"), None)
        await engine.start()
        _, failure = await run(engine)
        await engine.close()
        listener.close()
        await listener.wait_closed()
        assert isinstance(failure, EngineProtocolError)

    async def test_continuation_is_rejected(self, engine: OpenAIEngine):
        """The generic dialect rejects a continuation before a request is sent."""
        batches = engine.generate(CHAT, Continuation(token_ids=None, text="a"))
        with pytest.raises(UnsupportedFeature):
            await anext(batches)


class TestFloods:
    """A large amount of data at once does not block other tasks."""

    async def test_many_empty_chunks(self, server: ScriptedEngine, engine: OpenAIEngine):
        """A large read is processed in portions. Other tasks run in between, even if there is no output."""
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        flood = b'data: {"choices":[]}\n\n' * 2000
        events, decoder = SSEDecoder(), ChunkDecoder("m", OutputOptions())
        steps = list(stream_reader.decode(flood, events, decoder))
        assert len(steps) == -(-len(flood) // PORTION) > 1
        server.script(Bytes(flood), Text("a"), Finish(), Done())
        task = asyncio.ensure_future(count_turns())
        deltas, failure = await run(engine)
        task.cancel()
        assert (answer(deltas), failure) == ("a", None)
        assert turns >= len(steps)

    @pytest.mark.parametrize("field", ["content", "reasoning_content", "refusal", "arguments"])
    @pytest.mark.parametrize("small_chunks", [0, 100])
    def test_one_large_chunk(self, field: str, small_chunks: int):
        """A large chunk without a token count is split, in the same way with or without other chunks."""
        long = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000))) * 2
        body: dict[str, Any] = {field: long}
        if field == "arguments":
            body = {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": long}}]}
        decoder = ChunkDecoder("m", OutputOptions())
        payloads = [text("x")] * small_chunks + [chat(body, usage=counts(7, 0))]
        batches = portions(payloads, decoder.feed(payloads))
        deltas = [delta for batch in batches for delta in batch][small_chunks:]
        pieces = [
            (delta.text or "")
            + delta.reasoning
            + delta.refusal
            + "".join(part.arguments for part in delta.fragments)
            for delta in deltas
        ]
        assert "".join(pieces) == long
        assert [len(piece) for piece in pieces] == [PORTION, PORTION, 40_000 - 2 * PORTION]
        assert len(batches) == 3 + small_chunks
        assert [delta.usage for delta in deltas] == [None, None, UsageReport(input=7)]
        names = [part.function_name for delta in deltas for part in delta.fragments]
        assert names == (["f", "", ""] if field == "arguments" else [])

    def test_counted_chunk_is_not_split(self):
        """A large chunk with a token count is not split."""
        payload = text("x" * 40_000, usage=counts(7, 5))
        (batch,) = portions([payload], ChunkDecoder("m", OutputOptions()).feed([payload]))
        assert [delta.count for delta in batch] == [5]


INVALID_UTF_8 = b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n'


class TestBrokenStreams:
    """A broken stream ends with an error. The deltas before it are kept."""

    @pytest.mark.parametrize(
        ("steps", "error"),
        [
            pytest.param((), EngineTruncated, id="no end"),
            pytest.param((Done(),), EngineTruncated, id="done only"),
            pytest.param((Finish("abort"), Done()), EngineAborted, id="abort"),
            pytest.param(
                (Complaint(message="out of memory", code=500), Done()), EngineAborted, id="complaint"
            ),
            pytest.param((Drop(),), EngineLost, id="drop"),
            pytest.param((Bytes(b'data: {"choices":[{"del'),), EngineTruncated, id="half an event"),
            pytest.param((Bytes(b'data: {"choices":[{"del'), Drop()), EngineLost, id="half and drop"),
            pytest.param((Bytes(b"data: nonsense\n\n"), Text("late")), EngineProtocolError, id="no JSON"),
            pytest.param((Bytes(INVALID_UTF_8),), EngineProtocolError, id="invalid UTF-8"),
            pytest.param(
                (Bytes(b"data: " + b"x" * 1_100_000), Stall()), EngineProtocolError, id="endless line"
            ),
            pytest.param((Chunk({"error": None, "unknown": 1}), Drop()), EngineLost, id="unknown fields"),
        ],
    )
    @pytest.mark.parametrize("together", [True, False], ids=["one write", "writes"])
    async def test_deltas_before_the_error_are_kept(
        self,
        server: ScriptedEngine,
        engine: OpenAIEngine,
        steps: tuple[Any, ...],
        error: type,
        together: bool,
    ):
        """All tokens in the server's log are delivered, then the error."""
        server.script(*([Text("a", "b")] if together else [Text("a"), Text("b")]), *steps)
        deltas, failure = await run(engine)
        assert (answer(deltas), type(failure)) == ("ab", error)
        assert all(delta.finish is None for delta in deltas)

    async def test_reset(self, server: ScriptedEngine, engine: OpenAIEngine):
        """A connection that is reset after tokens is EngineLost."""
        server.script(Text("a"), pause := Pause(), Reset())
        async with aclosing(engine.generate(CHAT)) as batches:
            await anext(batches)
            assert answer(list(await anext(batches))) == "a"
            pause.release()
            with pytest.raises(EngineLost):
                await anext(batches)

    @pytest.mark.parametrize("broken", [Drop(), Reset()], ids=["drop", "reset"])
    async def test_broken_after_the_finish(
        self, server: ScriptedEngine, engine: OpenAIEngine, broken: Drop | Reset
    ):
        """After the finish, a broken connection is not an error."""
        server.script(Text("a"), Finish(), UsageChunk(7, 1), pause := Pause(), broken)
        task = asyncio.ensure_future(run(engine))
        await pause.reached.wait()
        await server.until(lambda _: engine.healthy is True)
        pause.release()
        deltas, failure = await task
        assert failure is None
        assert deltas[-1].usage == UsageReport(input=7, output=1)

    @pytest.mark.parametrize(
        "after",
        [
            (Stall(),),
            (Bytes(b": still here\n\n"), Stall()),
            (Bytes(b"data: nonsense\n\n"), Stall()),
            (Bytes(b"data: " + b"x" * 1_100_000), Stall()),
        ],
        ids=["silence", "comment", "nonsense", "endless line"],
    )
    async def test_data_after_the_finish(
        self,
        server: ScriptedEngine,
        after: tuple[Any, ...],
    ):
        """A complete response ends soon and without an error, whatever the server does afterwards."""
        server.script(Text("a"), Finish(), UsageChunk(7, 1), *after)
        deltas = await run_on(server, CHAT, usage_timeout=0.05)
        assert answer(deltas) == "a"
        assert deltas[-1].finish is not None
        assert deltas[-1].usage == UsageReport(input=7, output=1)

    async def test_endless_comments_after_the_finish(self):
        """Keep-alive comments do not extend the wait for the end of the body."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        finish = b'data: {"choices":[{"text":"a","finish_reason":"stop"}]}\n\n'

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.answer(head + finish)
            while True:
                await peer.answer(b": still here\n\n")
                await asyncio.sleep(0.001)

        async with Server(script) as listener:
            url = f"http://127.0.0.1:{listener.port}"
            settings = engine_settings(name="m", kind="openai", base_url=url, usage_timeout=0.05)
            engine = create(settings, None)
            await engine.start()
            deltas, failure = await run(engine, PROMPT)
            await engine.close()
        assert (answer(deltas), failure) == ("a", None)

    async def test_slow_consumer_gets_tokens_before_the_error(
        self, server: ScriptedEngine, engine: OpenAIEngine
    ):
        """Tokens that arrived before the connection broke are delivered before the error."""
        server.script(Text("a"), pause := Pause(), Text("b", "c"), Drop())
        async with aclosing(engine.generate(CHAT)) as batches:
            await anext(batches)
            assert answer(list(await anext(batches))) == "a"
            pause.release()
            await server.until(lambda s: s.open_connections == 0)
            assert answer(list(await anext(batches))) == "bc"
            with pytest.raises(EngineLost):
                await anext(batches)


async def stopped(call: Call, server: ScriptedEngine) -> bool:
    """Waits until the connection is closed. Returns whether that happened before the script's end."""
    async with asyncio.timeout(5):
        await call.disconnected.wait()
        await server.until(lambda s: s.open_connections == 0)
    return not call.finished.is_set()


class TestCancelling:
    """A consumer that stops reading closes the connection, in any state of the request."""

    @pytest.mark.parametrize(
        ("before", "seen"),
        [((), ""), ((Headers(),), ""), ((Text("a"), Text("b")), "ab")],
        ids=["prefill", "accepted", "stall"],
    )
    async def test_cancelled_task(
        self, server: ScriptedEngine, engine: OpenAIEngine, before: tuple[Any, ...], seen: str
    ):
        """Cancelling the consumer's task closes the connection."""
        server.script(*before, stall := Stall())
        task = asyncio.ensure_future(run(engine))
        call = await server.called()
        await stall.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await stopped(call, server)
        assert call.text == seen

    async def test_closed_generator(self, server: ScriptedEngine, engine: OpenAIEngine):
        """Closing the generator in the middle of a stream closes the connection."""
        server.script(Text("a"), Stall())
        batches = engine.generate(CHAT)
        await anext(batches)
        await anext(batches)
        await batches.aclose()
        assert await stopped(await server.called(), server)

    async def test_in_a_flood(self, server: ScriptedEngine, engine: OpenAIEngine):
        """The connection is closed even if the server writes faster than the consumer reads."""
        server.script(*[Text(*["x" * 100] * 100)] * 1000, Stall())
        async with aclosing(engine.generate(CHAT)) as batches:
            await anext(batches)
            await anext(batches)
        assert await stopped(await server.called(), server)

    async def test_before_all_batches_of_a_response_are_taken(
        self, server: ScriptedEngine, engine: OpenAIEngine
    ):
        """If a consumer is cancelled before it has all text, it gets no finish, although that has arrived."""
        server.script(Together(Text("x" * 3 * PORTION), Finish()), stall := Stall())
        batches: list[Any] = []

        async def consume() -> None:
            async with aclosing(engine.generate(CHAT)) as reading:
                batches.append(await anext(reading))
                await stall.reached.wait()
                await until(lambda: engine.connection_stats().unread_bytes > 3 * PORTION)
                async for batch in reading:
                    batches.append(batch)
                    consumer.cancel()

        consumer = asyncio.ensure_future(consume())
        with pytest.raises(asyncio.CancelledError):
            await consumer
        assert not any(delta.finish for batch in batches for delta in batch)

    async def test_with_a_large_request(self, server: ScriptedEngine, engine: OpenAIEngine):
        """A request of several MB arrives completely and can be cancelled."""
        server.script(stall := Stall())
        task = asyncio.ensure_future(run(engine, GenerationRequest(prompt="x" * 3_000_000)))
        call = await server.called()
        await stall.reached.wait()
        assert len(call.body["prompt"]) == 3_000_000
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await stopped(call, server)

    async def test_while_connecting(self):
        """Cancelling a connection attempt closes the socket."""
        listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, start_serving=False)
        port = listener.sockets[0].getsockname()[1]
        engine = create(engine_settings(name="m", kind="openai", base_url=f"http://127.0.0.1:{port}"), None)
        await engine.start()
        task = asyncio.ensure_future(run(engine))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await engine.close()
        listener.close()


class TestConnections:
    """A connection is reused only after a complete response."""

    async def test_reuse(self, server: ScriptedEngine, engine: OpenAIEngine):
        """Ten consecutive generations use one connection."""
        server.script(Text("a"), Finish(), Done())
        for _ in range(10):
            assert (await run(engine))[1] is None
            await server.until(lambda _: engine.connection_stats().lingering_count == 0)
        assert server.open_connections == 1

    async def test_consumer_that_stops_at_the_finish(self, server: ScriptedEngine, engine: OpenAIEngine):
        """The connection is kept even if the consumer does not read past the last delta."""
        server.script(Text("a"), Finish(), Done())
        for _ in range(2):
            async with aclosing(engine.generate(CHAT)) as batches:
                async for batch in batches:
                    if batch and batch[-1].finish is not None:
                        break
            await server.until(lambda _: engine.connection_stats().lingering_count == 0)
        assert server.open_connections == 1

    async def test_body_that_never_ends(self, server: ScriptedEngine, engine: OpenAIEngine):
        """The generation does not wait for the end of the body. The connection is closed after a while."""
        server.script(Text("a"), Finish(), Done(), Stall())
        assert (await run(engine))[1] is None
        assert await stopped(await server.called(), server)

    async def test_closing_the_engine(self, server: ScriptedEngine):
        """Closing the engine closes all connections, even one whose body has not ended."""
        server.script(Text("a"), Finish(), Done(), Stall())
        await run_on(server, CHAT)
        assert await stopped(await server.called(), server)
        gc.collect()  # an unclosed transport emits a ResourceWarning

    async def test_idle_connection_closed_by_the_server(self):
        """A request on a connection that the server is closing is sent again on a new connection."""
        answer = b'data: {"choices":[{"text":"a","finish_reason":"stop"}]}\n\n'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(
            answer
        )
        accepted: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.append(writer)
            await reader.readuntil(b"}")
            writer.write(head + answer)
            await reader.readline()  # the next request, on the first connection only
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            engine = create(
                engine_settings(name="m", kind="openai", base_url=f"http://127.0.0.1:{port}"), None
            )
            await engine.start()
            for _ in range(2):
                assert (await run(engine, PROMPT))[1] is None
            await engine.close()
            for writer in accepted:
                writer.close()
        assert len(accepted) == 2

    async def test_many_at_once(self, server: ScriptedEngine, engine: OpenAIEngine):
        """The engine does not limit the number of connections."""
        server.script(Text("a"), pause := Pause(), Finish(), Done())
        tasks = [asyncio.ensure_future(run(engine)) for _ in range(150)]
        await server.until(lambda s: len(s.calls) == 150)
        pause.release()
        assert all(error is None for _, error in await asyncio.gather(*tasks))


class TestSettings:
    """Effects of the settings."""

    async def test_key_and_path(self, server: ScriptedEngine, monkeypatch: pytest.MonkeyPatch):
        """The key is sent in the Authorization header. The base URL may end with a slash."""
        monkeypatch.setenv("UPSTREAM_KEY", "sk-secret")
        server.script(Finish())
        settings = engine_settings(
            name="m",
            kind="openai",
            base_url=server.base_url + "/",
            upstream_model="big",
            api_key_env="UPSTREAM_KEY",
        )
        engine = create(settings, None)
        await engine.start()
        assert (await run(engine))[1] is None
        await engine.close()
        call = await server.called()
        assert call.path == "/v1/chat/completions"
        assert call.body["model"] == "big"
        assert call.headers["Authorization"] == "Bearer sk-secret"
        assert call.headers["Accept-Encoding"] == "identity"

    @pytest.mark.parametrize(
        ("api", "request_", "path"),
        [
            ("auto", CHAT, "/v1/chat/completions"),
            ("auto", PROMPT, "/v1/completions"),
            ("chat", PROMPT, "/v1/chat/completions"),
            ("completions", PROMPT, "/v1/completions"),
        ],
    )
    async def test_api(self, server: ScriptedEngine, api: str, request_: GenerationRequest, path: str):
        """The setting `api` determines the path."""
        server.script(Text("a"), Finish())
        assert answer(await run_on(server, request_, api=api)) == "a"
        assert (await server.called()).path == path

    async def test_healthy(self, server: ScriptedEngine, engine: OpenAIEngine):
        """`healthy` reflects the last request. A rejected request or a busy server counts as healthy."""
        assert engine.healthy is None
        for step, healthy in (
            (Finish(), True),
            (Status(500), False),
            (Status(400), True),
            (Done(), False),
            (Status(429), True),
            (Status(401), False),
            (Reset(), False),
        ):
            server.script(step)
            await run(engine)
            assert engine.healthy is healthy


async def _complete_response(server: ScriptedEngine, engine: OpenAIEngine) -> None:
    server.script(Text("a", "b"), Finish(), UsageChunk(), Done())
    for _ in range(2):
        deltas, error = await run(engine)
        assert (answer(deltas), error) == ("ab", None)
        await server.until(lambda _: engine.connection_stats().lingering_count == 0)
    assert server.open_connections == 1


async def _broken_connection(server: ScriptedEngine, engine: OpenAIEngine) -> None:
    server.script(Text("a"), Drop())
    deltas, error = await run(engine)
    assert (answer(deltas), type(error)) == ("a", EngineLost)


async def _cancelled_in_prefill(server: ScriptedEngine, engine: OpenAIEngine) -> None:
    server.script(stall := Stall())
    task = asyncio.ensure_future(run(engine))
    call = await server.called()
    await stall.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stopped(call, server)


async def _closed_in_a_stall(server: ScriptedEngine, engine: OpenAIEngine) -> None:
    server.script(Text("a"), Stall())
    async with aclosing(engine.generate(CHAT)) as batches:
        await anext(batches)
        await anext(batches)
    assert await stopped(await server.called(), server)


@pytest.mark.parametrize(
    "scenario",
    [_complete_response, _broken_connection, _cancelled_in_prefill, _closed_in_a_stall],
    ids=lambda f: f.__name__,
)
def test_on_asyncios_own_loop(scenario: Callable[[ScriptedEngine, OpenAIEngine], Awaitable[None]]):
    """The outcomes are the same without uvloop, on which all other tests run."""

    async def main() -> None:
        async with ScriptedEngine() as server:
            engine = engine_for(server)
            await engine.start()
            await scenario(server, engine)
            await engine.close()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(main())
