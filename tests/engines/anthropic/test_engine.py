"""The anthropic engine against a scripted server on a real socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.anthropic_dialect import ANTHROPIC
from tests.support.engine_runs import answer, run_once
from tests.support.scripted_engine import (
    Bytes,
    Complaint,
    Done,
    Drop,
    Finish,
    Reasoning,
    ScriptedEngine,
    Stall,
    Status,
    Text,
    ToolCall,
    UsageChunk,
)
from tokengrpc.config import engine_settings
from tokengrpc.core.model import Capability, Delta, FinishReason, UsageReport
from tokengrpc.core.ports.engine import Continuation
from tokengrpc.core.request import GenerationRequest, Message, Role, TextPart
from tokengrpc.core.request import Reasoning as Thinking
from tokengrpc.engines.anthropic.engine import create
from tokengrpc.errors import (
    EngineAborted,
    EngineAuthFailed,
    EngineBusy,
    EngineLost,
    EngineTruncated,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
    TokenGrpcError,
    UnsupportedFeature,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHAT = GenerationRequest(messages=(Message(role=Role.USER, parts=(TextPart(text="Hi"),)),))


@pytest.fixture
async def server() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine(ANTHROPIC) as engine:
        yield engine


async def run(
    server: ScriptedEngine,
    request: GenerationRequest = CHAT,
    continuation: Continuation | None = None,
    **settings: Any,
) -> tuple[list[Delta], TokenGrpcError | None]:
    """Returns all deltas of a generation and the error that ended it."""
    model = engine_settings(name="m", kind="anthropic", base_url=server.base_url, **settings)
    return await run_once(create(model, None), request, continuation)


async def test_complete_response(server: ScriptedEngine):
    """Thinking, text, tool call, finish and usage equal those in the server's own log."""
    server.script(
        Reasoning("h", "m"),
        Text("Hel"),
        Text("lo", " 🦜"),
        ToolCall(0, "c", "f"),
        ToolCall(0, arguments='{"a":1}'),
        Finish("tool_calls"),
        Done(),
    )
    deltas, error = await run(server)
    call = await server.called()
    assert error is None
    assert "".join(delta.reasoning for delta in deltas) == "hm"
    assert answer(deltas) == "Hello 🦜"
    fragments = [fragment for delta in deltas for fragment in delta.fragments]
    assert (fragments[0].id, fragments[0].function_name) == ("c", "f")
    assert "".join(fragment.arguments for fragment in fragments) == '{"a":1}'
    assert deltas[-1].finish is not None
    assert deltas[-1].finish.reason is FinishReason.TOOL_CALLS
    counts = ANTHROPIC.told(call)
    assert counts is not None
    assert deltas[-1].usage == UsageReport(input=counts[0], output=counts[1], cached_input=2)


async def test_path_and_headers(server: ScriptedEngine, monkeypatch: pytest.MonkeyPatch):
    """Path, key and version follow the API. The key is not sent as Authorization."""
    monkeypatch.setenv("CLAUDE_KEY", "sk-secret")
    server.script(Text("a"), Finish(), Done())
    options = {"version": "2099-01-01", "beta": "x-2099"}
    _, error = await run(server, api_key_env="CLAUDE_KEY", upstream_model="big", options=options)
    call = await server.called()
    assert error is None
    assert (call.path, call.body["model"]) == ("/v1/messages", "big")
    assert call.headers["x-api-key"] == "sk-secret"
    assert call.headers["anthropic-version"] == "2099-01-01"
    assert call.headers["anthropic-beta"] == "x-2099"
    assert "Authorization" not in call.headers


@pytest.mark.parametrize(
    ("status", "kind", "error", "wait"),
    [
        (400, "invalid_request_error", InvalidRequest, None),
        (401, "authentication_error", EngineAuthFailed, None),
        (402, "billing_error", EngineAuthFailed, None),
        (403, "permission_error", EngineAuthFailed, None),
        (404, "not_found_error", ModelNotFound, None),
        (413, "request_too_large", InvalidRequest, None),
        (429, "rate_limit_error", EngineBusy, 7.0),
        (500, "api_error", EngineUnavailable, 7.0),
        (504, "timeout_error", EngineUnavailable, 7.0),
        (529, "overloaded_error", EngineBusy, 7.0),
    ],
)
async def test_statuses(server: ScriptedEngine, status: int, kind: str, error: type, wait: float | None):
    """Each documented status is mapped to its error. `retry-after` is passed on if waiting can help."""
    body = {"type": "error", "error": {"type": kind, "message": "sk-secret no"}, "request_id": "req_1"}
    server.script(Status(status, body, {"retry-after": "7"}))
    deltas, failure = await run(server)
    assert (deltas, type(failure)) == ([], error)
    assert failure is not None
    assert failure.retry_after == wait


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ((Complaint(type="overloaded_error", message="Overloaded"),), EngineAborted),
        ((Drop(),), EngineLost),
        ((), EngineTruncated),
        ((Done(),), EngineTruncated),
        ((Finish(),), None),
        ((Finish(), Drop()), None),
        ((Finish(), UsageChunk(7, 9), Done()), None),
    ],
    ids=[
        "error event",
        "drop",
        "end",
        "end mark alone",
        "no end mark",
        "drop after the finish",
        "late usage",
    ],
)
async def test_ends(server: ScriptedEngine, steps: tuple[Any, ...], error: type | None):
    """All text is delivered. With a stop reason the response is complete, whatever follows."""
    server.script(Text("a"), Bytes(ANTHROPIC.keep_alive), Text("b"), *steps)
    deltas, failure = await run(server)
    assert answer(deltas) == "ab"
    assert failure is None if error is None else type(failure) is error


async def test_overloaded_before_the_first_token(server: ScriptedEngine):
    """An overloaded server before the first token is EngineUnavailable, so that failover is possible."""
    server.script(Complaint(type="overloaded_error", message="Overloaded"))
    assert isinstance((await run(server))[1], EngineUnavailable)


async def test_cancellation(server: ScriptedEngine):
    """Cancelling the consumer's task closes the connection."""
    server.script(Text("a"), stall := Stall())
    task = asyncio.ensure_future(run(server))
    call = await server.called()
    await stall.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await call.disconnected.wait()


PREFILL = {"extra_capabilities": (Capability.CONTINUE_TEXT,)}


class TestContinuation:
    """Continuing another engine's output, for models that support a prefill."""

    async def test_by_prefill(self, server: ScriptedEngine):
        """The text so far is the final assistant message. The limit is sent unchanged, without thinking."""
        server.script(Text(" time"), Finish(), Done())
        request = GenerationRequest(
            messages=CHAT.messages, max_output_token_count=10, reasoning=Thinking(effort="low")
        )
        continuation = Continuation(token_ids=None, text="Once upon a")
        deltas, error = await run(server, request, continuation, **PREFILL)
        call = await server.called()
        assert (answer(deltas), error) == (" time", None)
        assert call.body["messages"][-1] == {
            "role": "assistant",
            "content": [{"type": "text", "text": "Once upon a"}],
        }
        assert call.body["max_tokens"] == 10
        assert "thinking" not in call.body

    @pytest.mark.parametrize(
        ("text", "settings"),
        [("Once upon a", {}), ("Once ", PREFILL), ("", PREFILL), ("\n", PREFILL)],
        ids=["undeclared", "white space", "empty", "only white space"],
    )
    async def test_rejected_continuations(self, server: ScriptedEngine, text: str, settings: dict[str, Any]):
        """An unsupported continuation is rejected before a request is sent."""
        continuation = Continuation(token_ids=None, text=text)
        assert isinstance((await run(server, CHAT, continuation, **settings))[1], UnsupportedFeature)
        assert server.calls == []
