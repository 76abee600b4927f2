"""Faults that change nothing of an output: after its finish, and oddities; and all rows in their order."""

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
    NO_SUCH_FIELD,
    TEXT,
    TOOLS,
    Fault,
)
from tests.support.fault_steps import Forever, HardReset, OneByOne, Rewritten, SignOfLife, Unescaped
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

AFTER_THE_FINISH = {
    "connection reset": Fault(steps=lambda seen: (TEXT, Finish(), seen, HardReset())),
    "connection closed": Fault(steps=lambda _: (TEXT, Finish(), Drop())),
    "a proper end without usage and end mark": Fault(steps=lambda _: (TEXT, Finish())),
    "the end mark without usage": Fault(steps=lambda _: (TEXT, Finish(), Done())),
    "silence": Fault(steps=lambda _: (TEXT, Finish(), Stall())),
    "signs of life only": Fault(steps=lambda _: (TEXT, Finish(), Forever(SignOfLife()))),
    "malformed JSON, then usage": Fault(
        steps=lambda _: (TEXT, Finish(), Bytes(GARBAGE), UsageChunk(), Done())
    ),
    "an error object, then usage": Fault(
        steps=lambda _: (TEXT, Finish(), Complaint(message="CUDA out of memory"), UsageChunk(), Done())
    ),
    "an abort as a second finish": Fault(
        steps=lambda _: (TEXT, Finish(), Finish("abort"), UsageChunk(), Done())
    ),
    "output before the end mark": Fault(
        steps=lambda _: (TEXT, Finish(), Text(" more"), UsageChunk(), Done())
    ),
    "half of the end mark": Fault(steps=lambda _: (TEXT, Finish(), UsageChunk(), Bytes(b"data: [DO"))),
    "reset after the usage": Fault(steps=lambda seen: (TEXT, Finish(), UsageChunk(), seen, HardReset())),
    "closed after the usage": Fault(steps=lambda _: (TEXT, Finish(), UsageChunk(), Drop())),
    "a proper end after the usage": Fault(steps=lambda _: (TEXT, Finish(), UsageChunk())),
    "silence after the usage": Fault(steps=lambda _: (TEXT, Finish(), UsageChunk(), Stall())),
    "usage twice": Fault(steps=lambda _: (TEXT, Finish(), UsageChunk(), UsageChunk(), Done())),
    "output after the end mark": Fault(steps=lambda _: (TEXT, *END, Bytes(GARBAGE))),
}

ODD_BUT_WELL = {
    "one byte at a time": Fault(steps=lambda _: (OneByOne(Together(TEXT, *END)),)),
    "cut within characters and fields": Fault(
        steps=lambda _: (Split(Unescaped(Together(TEXT, *END)), *range(3, 900, 7)),)
    ),
    "CRLF as line ends": Fault(
        steps=lambda _: (Rewritten(Together(TEXT, *END), b"\n", b"\r\n"),),
    ),
    "signs of life between all events": Fault(
        steps=lambda _: (Rewritten(Together(TEXT, *END), b"\n\n", b"\n\n: hm\n\n"),),
    ),
    "a character over two tokens": Fault(
        steps=lambda _: (TEXT, Text(" \ud83d"), Text("\udc22"), *END),
    ),
    "unknown fields in every event": Fault(
        steps=lambda _: (Rewritten(Together(TEXT, *END), b"data: {", b'data: {"new": {"a": [1]}, '),),
    ),
    "unknown events": Fault(
        steps=lambda _: (Bytes(b"event: news\nid: 7\nretry: 5\n\n"), TEXT, *END),
    ),
    "no room left in the middle of a tool call": Fault(
        steps=lambda _: (CALL, Finish("length"), UsageChunk(), Done()),
        finish="MAX_TOKENS",
        lacks=NO_SUCH_FIELD,
        request=TOOLS,
    ),
    "an unknown finish reason": Fault(
        steps=lambda _: (TEXT, Finish("bored"), UsageChunk(), Done()), finish="OTHER"
    ),
}

SECTIONS: dict[str, dict[str, Fault]] = {
    "Before the headers": BEFORE_HEADERS,
    "After the headers, before the first token": BEFORE_THE_FIRST_TOKEN,
    "After tokens": AFTER_TOKENS,
    "In reasoning": IN_REASONING,
    "In a tool call": IN_A_TOOL_CALL,
    "After the finish": AFTER_THE_FINISH,
    "Odd, and well all the same": ODD_BUT_WELL,
}
