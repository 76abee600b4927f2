"""Faults of an engine over HTTP: what the engine does, and what the caller receives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tokenstreaming.v1 import input_pb2

from tests.support.fault_steps import (
    CaughtUp,
    EmptyEvent,
    Forever,
    HalfEvent,
    HardReset,
    KeepAlive,
    Raw,
    RawHead,
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
from tests.support.wire_dialects import event

TEXT_ONLY = frozenset({"completions"})
"""APIs that have neither reasoning nor tool calls."""

Steps = Callable[[CaughtUp], Sequence[Step]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault and its outcome. If `reason` is empty, the generation succeeds with `finish`."""

    steps: Steps | None = None
    """What an HTTP engine does; None for a fault that they do not have."""
    grpc: Callable[[CaughtUp], Sequence[Any]] | None = None
    """What vLLM's gRPC service does; None for a fault that it does not have."""
    reason: str = ""
    finish: str = "END"
    clock: str = ""
    excluded_apis: frozenset[str] = frozenset()
    other_reasons: Mapping[str, str] = field(default_factory=dict)
    """The reasons of columns whose reason is not `reason`."""
    request: Mapping[str, Any] = field(default_factory=dict)
    listener: str = "open"
    """Or `closed`: connections are refused; or `full`: they are never accepted."""
    retry_after: float | None = None
    """The engine's Retry-After in seconds, which the caller must receive."""


TEXT = Together(Text("Once", " upon", " a", " 🦜"))
THOUGHT = Together(Reasoning("Let", " me", " see"))
CALL = Together(ToolCall(0, "call-1", "look", ""), ToolCall(0, arguments='{"a"'), ToolCall(0, arguments=":"))
END = (Finish(), UsageChunk(), Done())
LONG = "This model's maximum context length is 8 tokens. However, your prompt has 9 tokens."
OLLAMA = {"model": "m", "message": {"role": "assistant", "content": "Once"}, "done": False}
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
    "connection refused": Fault(steps=lambda _: (), reason="ENGINE_UNAVAILABLE", listener="closed"),
    "connection never accepted": Fault(
        steps=lambda _: (),
        reason="ENGINE_UNAVAILABLE",
        clock="connect",
        request=SHORT_CONNECT,
        listener="full",
    ),
    "connection reset": Fault(steps=lambda _: (HardReset(),), reason="ENGINE_UNAVAILABLE"),
    "connection closed": Fault(steps=lambda _: (Raw(b"", close=True),), reason="ENGINE_UNAVAILABLE"),
    "connection closed within the headers": Fault(
        steps=lambda _: (Raw(b"HTTP/1.1 200 OK\r\nContent-Ty", close=True),), reason="ENGINE_UNAVAILABLE"
    ),
    "silence": Fault(
        steps=lambda _: (Stall(),), reason="ENGINE_STALLED", clock="first_token", request=SHORT_FIRST
    ),
    "response is not HTTP": Fault(
        steps=lambda _: (Raw(b"SSH-2.0-x\r\n\r\n"), Stall()), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "HTTP 302": Fault(steps=_status(302, "", {"Location": "/"}), reason="ENGINE_PROTOCOL_ERROR"),
    "HTTP 400": Fault(steps=_status(400, _error("no")), reason="INVALID_REQUEST"),
    "HTTP 400, context length exceeded": Fault(
        steps=_status(400, _error(LONG)), reason="CONTEXT_LENGTH_EXCEEDED"
    ),
    "HTTP 401": Fault(steps=_status(401, _error("no")), reason="ENGINE_AUTH_FAILED"),
    "HTTP 404": Fault(steps=_status(404, _error("no such model")), reason="MODEL_NOT_FOUND"),
    "HTTP 429 with Retry-After": Fault(
        steps=_status(429, _error("slow down"), {"Retry-After": "7"}),
        reason="ENGINE_UNAVAILABLE",
        retry_after=7.0,
    ),
    "HTTP 429 with retry-after-ms": Fault(
        steps=_status(429, _error("slow down"), {"retry-after-ms": "1500"}),
        reason="ENGINE_UNAVAILABLE",
        retry_after=1.5,
    ),
    "HTTP 429, quota used up": Fault(
        steps=_status(429, _error("no", code="insufficient_quota")), reason="ENGINE_AUTH_FAILED"
    ),
    "HTTP 400, credit used up": Fault(
        steps=_status(400, _error("Your credit balance is too low")), reason="ENGINE_AUTH_FAILED"
    ),
    "HTTP 413, tokens per minute": Fault(
        steps=_status(413, _error("too large on tokens per minute (TPM): Limit 8, Requested 9")),
        reason="ENGINE_UNAVAILABLE",
    ),
    "HTTP 400, unknown model": Fault(
        steps=_status(400, _error("Invalid model name passed in model=x")), reason="MODEL_NOT_FOUND"
    ),
    "HTTP 400, error of the provider within the proxy's": Fault(
        steps=_status(400, _error("Provider returned error", metadata={"raw": LONG})),
        reason="CONTEXT_LENGTH_EXCEEDED",
    ),
    "HTTP 400, errors in a list": Fault(steps=_status(400, [_error(LONG)]), reason="CONTEXT_LENGTH_EXCEEDED"),
    "HTTP 500": Fault(steps=_status(500, _error("CUDA out of memory")), reason="ENGINE_UNAVAILABLE"),
    "HTTP 503, HTML body": Fault(
        steps=_status(503, "<html>", {"Content-Type": "text/html"}), reason="ENGINE_UNAVAILABLE"
    ),
    "HTTP 529": Fault(
        steps=_status(529, _error("Overloaded", type="overloaded_error")), reason="ENGINE_UNAVAILABLE"
    ),
    "HTTP 200, HTML body": Fault(
        steps=_status(200, "<html>", {"Content-Type": "text/html"}), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "HTTP 200, error object in JSON": Fault(
        steps=_status(200, _error("CUDA out of memory")), reason="ENGINE_ABORTED"
    ),
    "HTTP 200, empty body of another type": Fault(
        steps=_status(200, "", {"Content-Type": "application/x-ndjson"}), reason="ENGINE_TRUNCATED"
    ),
    "HTTP 200, compressed": Fault(
        steps=_status(200, "", {"Content-Encoding": "zstd", "Content-Type": "text/event-stream"}),
        reason="ENGINE_PROTOCOL_ERROR",
    ),
}

BEFORE_THE_FIRST_TOKEN = {
    "connection reset": Fault(steps=lambda _: (Headers(), HardReset()), reason="ENGINE_LOST"),
    "connection closed": Fault(steps=lambda _: (Headers(), Drop()), reason="ENGINE_LOST"),
    "empty body": Fault(steps=lambda _: (Headers(),), reason="ENGINE_TRUNCATED"),
    "end mark only": Fault(steps=lambda _: (Done(),), reason="ENGINE_TRUNCATED"),
    "silence": Fault(
        steps=lambda _: (Headers(), Stall()),
        reason="ENGINE_STALLED",
        clock="first_token",
        request=SHORT_FIRST,
    ),
    "keep-alives only": Fault(
        steps=lambda _: (Forever(KeepAlive()),),
        reason="ENGINE_STALLED",
        clock="first_token",
        request=SHORT_FIRST,
    ),
    "empty events only": Fault(
        steps=lambda _: (Forever(EmptyEvent()),),
        reason="ENGINE_STALLED",
        clock="first_token",
        request=SHORT_FIRST,
    ),
    "error object": Fault(
        steps=lambda _: (Complaint(message="CUDA out of memory"), Done()),
        reason="ENGINE_ABORTED",
        # These dialects send the status 500, or a type that means the same.
        other_reasons=dict.fromkeys(
            ("Anthropic", "LiteLLM chat", "LiteLLM completions"), "ENGINE_UNAVAILABLE"
        ),
    ),
    "error object of an overload": Fault(
        steps=lambda _: (Complaint(message="Overloaded", type="overloaded_error"),),
        reason="ENGINE_UNAVAILABLE",
    ),
    "finish reason abort, then the end mark": Fault(
        steps=lambda _: (Finish("abort"), UsageChunk(), Done()), reason="ENGINE_ABORTED"
    ),
    "finish reason that means a failure": Fault(
        steps=lambda _: (Finish("network_error"), UsageChunk(), Done()), reason="ENGINE_ABORTED"
    ),
    "error object in place of events": Fault(
        steps=lambda _: (Bytes(json.dumps(_error("no", code="context_length_exceeded")).encode()),),
        reason="CONTEXT_LENGTH_EXCEEDED",
    ),
    "error objects in a list": Fault(
        steps=lambda _: (Bytes(event([_error(LONG)])), Done()), reason="CONTEXT_LENGTH_EXCEEDED"
    ),
    "events of another API": Fault(
        steps=lambda _: (Bytes(event(OLLAMA)), *END), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "malformed JSON": Fault(steps=lambda _: (Bytes(GARBAGE), *END), reason="ENGINE_PROTOCOL_ERROR"),
    "invalid UTF-8": Fault(steps=lambda _: (Bytes(NOT_UTF8), *END), reason="ENGINE_PROTOCOL_ERROR"),
    "line of more than 1 MiB": Fault(steps=lambda _: (Bytes(HUGE), Stall()), reason="ENGINE_PROTOCOL_ERROR"),
}


def _interrupted(first: Content) -> dict[str, Fault]:
    """Returns the faults that can follow any output: text, reasoning or a tool call."""
    return {
        "connection reset": Fault(
            steps=lambda caught_up: (first, caught_up, HardReset()), reason="ENGINE_LOST"
        ),
        "connection closed": Fault(steps=lambda _: (first, Drop()), reason="ENGINE_LOST"),
        "body ends without the end mark": Fault(steps=lambda _: (first,), reason="ENGINE_TRUNCATED"),
        "end mark without a finish reason": Fault(steps=lambda _: (first, Done()), reason="ENGINE_TRUNCATED"),
        "silence": Fault(
            steps=lambda _: (first, Stall()),
            reason="ENGINE_STALLED",
            clock="inter_token",
            request=SHORT_BETWEEN,
        ),
        "finish reason abort, then the end mark": Fault(
            steps=lambda _: (first, Finish("abort"), UsageChunk(), Done()), reason="ENGINE_ABORTED"
        ),
        "error object": Fault(
            steps=lambda _: (first, Complaint(message="CUDA out of memory", code=500), Done()),
            reason="ENGINE_ABORTED",
        ),
        "malformed JSON": Fault(
            steps=lambda _: (first, Bytes(GARBAGE), *END), reason="ENGINE_PROTOCOL_ERROR"
        ),
    }


AFTER_TOKENS = _interrupted(TEXT) | {
    "keep-alives only": Fault(
        steps=lambda _: (TEXT, Forever(KeepAlive())),
        reason="ENGINE_STALLED",
        clock="inter_token",
        request=SHORT_BETWEEN,
    ),
    "empty events only": Fault(
        steps=lambda _: (TEXT, Forever(EmptyEvent())),
        reason="ENGINE_STALLED",
        clock="inter_token",
        request=SHORT_BETWEEN,
    ),
    "finish reason that means a failure": Fault(
        steps=lambda _: (TEXT, Finish("network_error"), UsageChunk(), Done()), reason="ENGINE_ABORTED"
    ),
    "incomplete end mark": Fault(steps=lambda _: (TEXT, Bytes(b"data: [DO")), reason="ENGINE_TRUNCATED"),
    "body ends within an event": Fault(
        steps=lambda _: (TEXT, Bytes(b'data: {"choices":[{"ind')), reason="ENGINE_TRUNCATED"
    ),
    "error as a plain string": Fault(
        steps=lambda _: (TEXT, Bytes(b'data: {"error": "out of memory"}\n\n'), Done()),
        reason="ENGINE_ABORTED",
    ),
    "error object, then silence": Fault(
        steps=lambda _: (TEXT, Complaint(message="CUDA out of memory"), Stall()), reason="ENGINE_ABORTED"
    ),
    "usage and end mark without a finish reason": Fault(
        steps=lambda _: (TEXT, UsageChunk(), Done()), reason="ENGINE_TRUNCATED"
    ),
    "JSON that is not an object": Fault(
        steps=lambda _: (TEXT, Bytes(b"data: 123\n\n"), *END), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "invalid UTF-8": Fault(steps=lambda _: (TEXT, Bytes(NOT_UTF8), *END), reason="ENGINE_PROTOCOL_ERROR"),
    "line of more than 1 MiB": Fault(
        steps=lambda _: (TEXT, Bytes(HUGE), Stall()), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "event of many lines, more than 1 MiB": Fault(
        steps=lambda _: (TEXT, Bytes(HUGE_EVENT), Stall()), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "connection reset within a character": Fault(
        steps=lambda caught_up: (TEXT, HalfEvent(Text(" 🐢")), caught_up, HardReset()), reason="ENGINE_LOST"
    ),
    "connection closed within a character": Fault(
        steps=lambda _: (TEXT, HalfEvent(Text(" 🐢")), Drop()), reason="ENGINE_LOST"
    ),
    "body ends within a character": Fault(
        steps=lambda _: (TEXT, HalfEvent(Text(" 🐢"))), reason="ENGINE_TRUNCATED"
    ),
    "finish reason abort between the tokens of a character": Fault(
        steps=lambda _: (TEXT, Text("\ud83d"), Finish("abort"), Done()), reason="ENGINE_ABORTED"
    ),
    "invalid size of an HTTP chunk": Fault(
        steps=lambda _: (TEXT, Raw(b"what?\r\n"), Stall()), reason="ENGINE_LOST"
    ),
    "body shorter than Content-Length": Fault(
        steps=lambda _: (RawHead("Content-Length: 99999"), TEXT), reason="ENGINE_LOST"
    ),
    "connection closed, body of unknown length": Fault(
        steps=lambda _: (RawHead(version="1.0"), TEXT), reason="ENGINE_TRUNCATED"
    ),
}

IN_REASONING = {
    name: replace(fault, excluded_apis=TEXT_ONLY) for name, fault in _interrupted(THOUGHT).items()
}
IN_A_TOOL_CALL = {
    name: replace(fault, excluded_apis=TEXT_ONLY, request={**fault.request, **TOOLS})
    for name, fault in _interrupted(CALL).items()
}
