"""What can go wrong between an engine and us: what the engine does, and what the caller is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tokenstreaming.v1 import input_pb2

from tests.support.fault_steps import (
    Empty,
    Forever,
    Half,
    HardReset,
    Raw,
    RawHead,
    Seen,
    SignOfLife,
)
from tests.support.script_steps import (
    Bytes,
    Complaint,
    Content,
    Done,
    Drop,
    Finish,
    Headers,
    Reasoning,
    Stall,
    Status,
    Step,
    Text,
    Together,
    ToolCall,
    UsageChunk,
)

NO_SUCH_FIELD = frozenset({"completions"})
"""APIs that have neither reasoning nor tool calls."""

Steps = Callable[[Seen], Sequence[Step]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault and what must come of it. `reason` empty: the generation ends well, with `finish`."""

    steps: Steps
    reason: str = ""
    finish: str = "END"
    clock: str = ""
    lacks: frozenset[str] = frozenset()
    differs: Mapping[str, str] = field(default_factory=dict)
    """Reasons of the APIs where it is another one."""
    request: Mapping[str, Any] = field(default_factory=dict)
    listener: str = "well"
    """Or `gone`: connections are refused; or `deaf`: they are never made."""
    retry_after: float | None = None
    """Seconds, where the engine's own wish must be passed on."""


TEXT = Together(Text("Once", " upon", " a", " 🦜"))
THOUGHT = Together(Reasoning("Let", " me", " see"))
CALL = Together(ToolCall(0, "call-1", "look", ""), ToolCall(0, arguments='{"a"'), ToolCall(0, arguments=":"))
END = (Finish(), UsageChunk(), Done())
LONG = "This model's maximum context length is 8 tokens. However, your prompt has 9 tokens."
GARBAGE = b"data: {nonsense\n\n"
NOT_UTF8 = b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xfe"},"text":"\xff\xfe"}]}\n\n'
HUGE = b"data: {" + b" " * (1 << 20)
HUGE_EVENT = (b"data: {\n" + b"data: " + b" " * 1000 + b"\n") * 1100 + b"\n"

SHORT_CONNECT = {"limits": input_pb2.Limits()}
SHORT_CONNECT["limits"].connect_timeout.FromMilliseconds(600)
SHORT_FIRST = {"limits": input_pb2.Limits()}
SHORT_FIRST["limits"].first_token_timeout.FromMilliseconds(600)
SHORT_BETWEEN = {"limits": input_pb2.Limits()}
SHORT_BETWEEN["limits"].inter_token_timeout.FromMilliseconds(600)
TOOLS = {"tools": [input_pb2.Tool(name="look")]}


def _error(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, **more}}


def _status(status: int, body: object, headers: Mapping[str, str] | None = None) -> Steps:
    return lambda _: (Status(status, body, headers or {}),)


BEFORE_HEADERS = {
    "nobody listens": Fault(steps=lambda _: (), reason="ENGINE_UNAVAILABLE", listener="gone"),
    "nobody accepts": Fault(
        steps=lambda _: (),
        reason="ENGINE_UNAVAILABLE",
        clock="connect",
        request=SHORT_CONNECT,
        listener="deaf",
    ),
    "connection reset": Fault(steps=lambda _: (HardReset(),), reason="ENGINE_UNAVAILABLE"),
    "connection closed": Fault(steps=lambda _: (Raw(b"", close=True),), reason="ENGINE_UNAVAILABLE"),
    "closed in the middle of the head": Fault(
        steps=lambda _: (Raw(b"HTTP/1.1 200 OK\r\nContent-Ty", close=True),), reason="ENGINE_UNAVAILABLE"
    ),
    "silence": Fault(
        steps=lambda _: (Stall(),), reason="ENGINE_STALLED", clock="first_token", request=SHORT_FIRST
    ),
    "not HTTP": Fault(steps=lambda _: (Raw(b"SSH-2.0-x\r\n\r\n"), Stall()), reason="ENGINE_PROTOCOL_ERROR"),
    "HTTP 302": Fault(steps=_status(302, "", {"Location": "/"}), reason="ENGINE_PROTOCOL_ERROR"),
    "HTTP 400": Fault(steps=_status(400, _error("no")), reason="INVALID_REQUEST"),
    "HTTP 400 about the context's length": Fault(
        steps=_status(400, _error(LONG)), reason="CONTEXT_LENGTH_EXCEEDED"
    ),
    "HTTP 401": Fault(steps=_status(401, _error("no")), reason="ENGINE_AUTH_FAILED"),
    "HTTP 404": Fault(steps=_status(404, _error("no such model")), reason="MODEL_NOT_FOUND"),
    "HTTP 429 with Retry-After": Fault(
        steps=_status(429, _error("slow down"), {"Retry-After": "7"}),
        reason="ENGINE_UNAVAILABLE",
        retry_after=7.0,
    ),
    "HTTP 500": Fault(steps=_status(500, _error("CUDA out of memory")), reason="ENGINE_UNAVAILABLE"),
    "HTTP 503 in HTML": Fault(
        steps=_status(503, "<html>", {"Content-Type": "text/html"}), reason="ENGINE_UNAVAILABLE"
    ),
    "HTTP 529": Fault(
        steps=_status(529, _error("Overloaded", type="overloaded_error")), reason="ENGINE_UNAVAILABLE"
    ),
    "HTTP 200 in HTML": Fault(
        steps=_status(200, "<html>", {"Content-Type": "text/html"}), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "HTTP 200 with an error in JSON": Fault(
        steps=_status(200, _error("CUDA out of memory")), reason="ENGINE_ABORTED"
    ),
    "HTTP 200, compressed": Fault(
        steps=_status(200, "", {"Content-Encoding": "zstd", "Content-Type": "text/event-stream"}),
        reason="ENGINE_PROTOCOL_ERROR",
    ),
}

BEFORE_THE_FIRST_TOKEN = {
    "connection reset": Fault(steps=lambda _: (Headers(), HardReset()), reason="ENGINE_LOST"),
    "connection closed": Fault(steps=lambda _: (Headers(), Drop()), reason="ENGINE_LOST"),
    "a proper end of an empty body": Fault(steps=lambda _: (Headers(),), reason="ENGINE_TRUNCATED"),
    "the end mark alone": Fault(steps=lambda _: (Done(),), reason="ENGINE_TRUNCATED"),
    "silence": Fault(
        steps=lambda _: (Headers(), Stall()),
        reason="ENGINE_STALLED",
        clock="first_token",
        request=SHORT_FIRST,
    ),
    "signs of life only": Fault(
        steps=lambda _: (Forever(SignOfLife()),),
        reason="ENGINE_STALLED",
        clock="first_token",
        request=SHORT_FIRST,
    ),
    "empty events only": Fault(
        steps=lambda _: (Forever(Empty()),), reason="ENGINE_STALLED", clock="first_token", request=SHORT_FIRST
    ),
    "an error object": Fault(
        steps=lambda _: (Complaint(message="CUDA out of memory"), Done()),
        reason="ENGINE_ABORTED",
        # Those name the status, 500 or what means the same.
        differs=dict.fromkeys(("Anthropic", "LiteLLM chat", "LiteLLM completions"), "ENGINE_UNAVAILABLE"),
    ),
    "an error object that says it is busy": Fault(
        steps=lambda _: (Complaint(message="Overloaded", type="overloaded_error"),),
        reason="ENGINE_UNAVAILABLE",
    ),
    "an abort and the end mark": Fault(
        steps=lambda _: (Finish("abort"), UsageChunk(), Done()), reason="ENGINE_ABORTED"
    ),
    "malformed JSON": Fault(steps=lambda _: (Bytes(GARBAGE), *END), reason="ENGINE_PROTOCOL_ERROR"),
    "invalid UTF-8": Fault(steps=lambda _: (Bytes(NOT_UTF8), *END), reason="ENGINE_PROTOCOL_ERROR"),
    "a line of more than 1 MiB": Fault(
        steps=lambda _: (Bytes(HUGE), Stall()), reason="ENGINE_PROTOCOL_ERROR"
    ),
}


def _torn(first: Content) -> dict[str, Fault]:
    """The ways to break off that any output has: an answer, its reasoning, a call of a tool."""
    return {
        "connection reset": Fault(steps=lambda seen: (first, seen, HardReset()), reason="ENGINE_LOST"),
        "connection closed": Fault(steps=lambda _: (first, Drop()), reason="ENGINE_LOST"),
        "a proper end without the end mark": Fault(steps=lambda _: (first,), reason="ENGINE_TRUNCATED"),
        "the end mark without a finish": Fault(steps=lambda _: (first, Done()), reason="ENGINE_TRUNCATED"),
        "silence": Fault(
            steps=lambda _: (first, Stall()),
            reason="ENGINE_STALLED",
            clock="inter_token",
            request=SHORT_BETWEEN,
        ),
        "an abort and the end mark": Fault(
            steps=lambda _: (first, Finish("abort"), UsageChunk(), Done()), reason="ENGINE_ABORTED"
        ),
        "an error object": Fault(
            steps=lambda _: (first, Complaint(message="CUDA out of memory", code=500), Done()),
            reason="ENGINE_ABORTED",
        ),
        "malformed JSON": Fault(
            steps=lambda _: (first, Bytes(GARBAGE), *END), reason="ENGINE_PROTOCOL_ERROR"
        ),
    }


AFTER_TOKENS = _torn(TEXT) | {
    "signs of life only": Fault(
        steps=lambda _: (TEXT, Forever(SignOfLife())),
        reason="ENGINE_STALLED",
        clock="inter_token",
        request=SHORT_BETWEEN,
    ),
    "empty events only": Fault(
        steps=lambda _: (TEXT, Forever(Empty())),
        reason="ENGINE_STALLED",
        clock="inter_token",
        request=SHORT_BETWEEN,
    ),
    "half of the end mark": Fault(steps=lambda _: (TEXT, Bytes(b"data: [DO")), reason="ENGINE_TRUNCATED"),
    "half of an event, then a proper end": Fault(
        steps=lambda _: (TEXT, Bytes(b'data: {"choices":[{"ind')), reason="ENGINE_TRUNCATED"
    ),
    "an error that is a text": Fault(
        steps=lambda _: (TEXT, Bytes(b'data: {"error": "out of memory"}\n\n'), Done()),
        reason="ENGINE_ABORTED",
    ),
    "an error object, then silence": Fault(
        steps=lambda _: (TEXT, Complaint(message="CUDA out of memory"), Stall()), reason="ENGINE_ABORTED"
    ),
    "usage and the end mark without a finish": Fault(
        steps=lambda _: (TEXT, UsageChunk(), Done()), reason="ENGINE_TRUNCATED"
    ),
    "JSON that is no object": Fault(
        steps=lambda _: (TEXT, Bytes(b"data: 123\n\n"), *END), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "invalid UTF-8": Fault(steps=lambda _: (TEXT, Bytes(NOT_UTF8), *END), reason="ENGINE_PROTOCOL_ERROR"),
    "a line of more than 1 MiB": Fault(
        steps=lambda _: (TEXT, Bytes(HUGE), Stall()), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "an event of many lines, more than 1 MiB": Fault(
        steps=lambda _: (TEXT, Bytes(HUGE_EVENT), Stall()), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "reset in the middle of a character": Fault(
        steps=lambda seen: (TEXT, Half(Text(" 🐢")), seen, HardReset()), reason="ENGINE_LOST"
    ),
    "closed in the middle of a character": Fault(
        steps=lambda _: (TEXT, Half(Text(" 🐢")), Drop()), reason="ENGINE_LOST"
    ),
    "a proper end in the middle of a character": Fault(
        steps=lambda _: (TEXT, Half(Text(" 🐢"))), reason="ENGINE_TRUNCATED"
    ),
    "an abort between the tokens of a character": Fault(
        steps=lambda _: (TEXT, Text("\ud83d"), Finish("abort"), Done()), reason="ENGINE_ABORTED"
    ),
    "a chunk of HTTP with no size": Fault(
        steps=lambda _: (TEXT, Raw(b"what?\r\n"), Stall()), reason="ENGINE_LOST"
    ),
    "closed before Content-Length": Fault(
        steps=lambda _: (RawHead("Content-Length: 99999"), TEXT), reason="ENGINE_LOST"
    ),
    "closed, where only that ends the body": Fault(
        steps=lambda _: (RawHead(version="1.0"), TEXT), reason="ENGINE_TRUNCATED"
    ),
}

IN_REASONING = {name: replace(fault, lacks=NO_SUCH_FIELD) for name, fault in _torn(THOUGHT).items()}
IN_A_TOOL_CALL = {
    name: replace(fault, lacks=NO_SUCH_FIELD, request={**fault.request, **TOOLS})
    for name, fault in _torn(CALL).items()
}
