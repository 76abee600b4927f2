"""Faults that do not change the outcome: after the finish reason, or unusual but valid. And all sections."""

from __future__ import annotations

from tests.support.fault_rows import (
    AFTER_TOKENS,
    BEFORE_HEADERS,
    BEFORE_THE_FIRST_TOKEN,
    CALL,
    END,
    GARBAGE,
    IN_A_TOOL_CALL,
    IN_REASONING,
    SHORT_BETWEEN,
    TEXT,
    TEXT_ONLY,
    TOOLS,
    Fault,
)
from tests.support.fault_rows_anthropic import ANTHROPIC
from tests.support.fault_steps import ByteByByte, Forever, HardReset, InUTF8, KeepAlive, Replaced
from tests.support.script_steps import (
    Bytes,
    Complaint,
    Done,
    Drop,
    Finish,
    Split,
    Stall,
    Text,
    Together,
    UsageChunk,
)

AFTER_THE_FINISH_REASON = {
    "connection reset": Fault(steps=lambda caught_up: (TEXT, Finish(), caught_up, HardReset())),
    "connection closed": Fault(steps=lambda _: (TEXT, Finish(), Drop())),
    "body ends without usage and end mark": Fault(steps=lambda _: (TEXT, Finish())),
    "end mark without usage": Fault(steps=lambda _: (TEXT, Finish(), Done())),
    "silence": Fault(steps=lambda _: (TEXT, Finish(), Stall())),
    "keep-alives only": Fault(steps=lambda _: (TEXT, Finish(), Forever(KeepAlive()))),
    "malformed JSON, then usage": Fault(
        steps=lambda _: (TEXT, Finish(), Bytes(GARBAGE), UsageChunk(), Done())
    ),
    "error object, then usage": Fault(
        steps=lambda _: (TEXT, Finish(), Complaint(message="CUDA out of memory"), UsageChunk(), Done())
    ),
    "finish reason abort as a second one": Fault(
        steps=lambda _: (TEXT, Finish(), Finish("abort"), UsageChunk(), Done())
    ),
    "finish reason length, then stop": Fault(
        steps=lambda _: (TEXT, Finish("length"), Finish(), UsageChunk(), Done()), finish="MAX_TOKENS"
    ),
    "output before the end mark": Fault(
        steps=lambda _: (TEXT, Finish(), Text(" more"), UsageChunk(), Done())
    ),
    "output, then another finish reason": Fault(
        steps=lambda _: (TEXT, Finish(), Text(" more"), Finish("length"), UsageChunk(), Done()),
        finish="MAX_TOKENS",
    ),
    "output, then connection reset": Fault(
        steps=lambda caught_up: (TEXT, Finish(), Text(" more"), caught_up, HardReset()), reason="ENGINE_LOST"
    ),
    "output, then connection closed": Fault(
        steps=lambda _: (TEXT, Finish(), Text(" more"), Drop()), reason="ENGINE_LOST"
    ),
    "output, then silence": Fault(
        steps=lambda _: (TEXT, Finish(), Text(" more"), Stall()),
        reason="ENGINE_STALLED",
        clock="inter_token",
        request=SHORT_BETWEEN,
    ),
    "output, then malformed JSON": Fault(
        steps=lambda _: (TEXT, Finish(), Text(" more"), Bytes(GARBAGE), *END), reason="ENGINE_PROTOCOL_ERROR"
    ),
    "output, then finish reason abort": Fault(
        steps=lambda _: (TEXT, Finish(), Text(" more"), Finish("abort"), UsageChunk(), Done()),
        reason="ENGINE_ABORTED",
    ),
    "incomplete end mark": Fault(steps=lambda _: (TEXT, Finish(), UsageChunk(), Bytes(b"data: [DO"))),
    "connection reset after the usage": Fault(
        steps=lambda caught_up: (TEXT, Finish(), UsageChunk(), caught_up, HardReset())
    ),
    "connection closed after the usage": Fault(steps=lambda _: (TEXT, Finish(), UsageChunk(), Drop())),
    "body ends after the usage": Fault(steps=lambda _: (TEXT, Finish(), UsageChunk())),
    "silence after the usage": Fault(steps=lambda _: (TEXT, Finish(), UsageChunk(), Stall())),
    "usage twice": Fault(steps=lambda _: (TEXT, Finish(), UsageChunk(), UsageChunk(), Done())),
    "usage after the end mark": Fault(steps=lambda _: (TEXT, Finish(), Done(), UsageChunk())),
    "usage after the end mark, then silence": Fault(
        steps=lambda _: (TEXT, Finish(), Done(), UsageChunk(), Stall())
    ),
    "end mark, then silence": Fault(steps=lambda _: (TEXT, Finish(), Done(), Stall())),
    "data after the end mark": Fault(steps=lambda _: (TEXT, *END, Bytes(GARBAGE))),
}

UNUSUAL_BUT_VALID = {
    "one byte at a time": Fault(steps=lambda _: (ByteByByte(Together(TEXT, *END)),)),
    "cuts within characters and fields": Fault(
        steps=lambda _: (Split(InUTF8(Together(TEXT, *END)), *range(3, 900, 7)),)
    ),
    "CRLF as line end": Fault(
        steps=lambda _: (Replaced(Together(TEXT, *END), b"\n", b"\r\n"),),
    ),
    "keep-alives between all events": Fault(
        steps=lambda _: (Replaced(Together(TEXT, *END), b"\n\n", b"\n\n: hm\n\n"),),
    ),
    "events one line end apart": Fault(
        steps=lambda _: (Replaced(Together(TEXT, *END), b"\n\n", b"\n"),),
    ),
    "keep-alives as data between all events": Fault(
        steps=lambda _: (Replaced(Together(TEXT, *END), b"\n\n", b"\n\ndata: : hm\n\ndata: [PING]\n\n"),),
    ),
    "JSON values as keep-alives between all events": Fault(
        steps=lambda _: (Replaced(Together(TEXT, *END), b"\n\n", b"\n\ndata: true\n\ndata: 0\n\n"),),
    ),
    "finish reason in camel case": Fault(
        steps=lambda _: (Replaced(Together(TEXT, *END), b'"finish_reason"', b'"finishReason"'),),
    ),
    "character split across two tokens": Fault(
        steps=lambda _: (TEXT, Text(" \ud83d"), Text("\udc22"), *END),
    ),
    "unknown fields in every event": Fault(
        steps=lambda _: (Replaced(Together(TEXT, *END), b"data: {", b'data: {"new": {"a": [1]}, '),),
    ),
    "unknown events": Fault(
        steps=lambda _: (Bytes(b"event: news\nid: 7\nretry: 5\n\n"), TEXT, *END),
    ),
    "token limit reached within a tool call": Fault(
        steps=lambda _: (CALL, Finish("length"), UsageChunk(), Done()),
        finish="MAX_TOKENS",
        excluded_apis=TEXT_ONLY,
        request=TOOLS,
    ),
    "finish reason before the output": Fault(
        steps=lambda _: (Finish(), TEXT, Text(" more"), Finish(), UsageChunk(), Done()),
    ),
    "finish reason that means a filter": Fault(
        steps=lambda _: (TEXT, Finish("sensitive"), UsageChunk(), Done()), finish="CONTENT_FILTER"
    ),
    "unknown finish reason": Fault(
        steps=lambda _: (TEXT, Finish("bored"), UsageChunk(), Done()), finish="OTHER"
    ),
}

SECTIONS: dict[str, dict[str, Fault]] = {
    "Before the headers": BEFORE_HEADERS,
    "After the headers, before the first token": BEFORE_THE_FIRST_TOKEN,
    "After tokens": AFTER_TOKENS,
    "During reasoning": IN_REASONING,
    "During a tool call": IN_A_TOOL_CALL,
    "After the finish reason": AFTER_THE_FINISH_REASON,
    "Unusual but valid": UNUSUAL_BUT_VALID,
    "Anthropic's API": ANTHROPIC,
}
