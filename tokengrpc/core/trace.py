"""Trace contexts of W3C Trace Context: the place of a call, a generation or an attempt in a trace."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Of a version after 00, more fields may follow.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_MAX_PARENT = 128
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Place in a trace, as the headers that carry it. Both are empty if there is no trace.

    `traceparent` is of version 00. An implementation of `Tracer` may derive a class of its own.
    """

    traceparent: str = ""
    tracestate: str = ""

    @property
    def trace_id(self) -> str:
        """Id of the trace, 32 hexadecimal digits; empty if there is none."""
        return self.traceparent[3:35]

    @property
    def span_id(self) -> str:
        """Id of the span, 16 hexadecimal digits; empty if there is none."""
        return self.traceparent[36:52]

    @property
    def sampled(self) -> bool:
        """Whether the spans of this trace are recorded."""
        return bool(self.traceparent) and bool(int(self.traceparent[53:], 16) & 1)

    def bare(self) -> TraceContext:
        """Returns the place without what a tracer keeps with it, for what outlives the span."""
        return self if type(self) is TraceContext else TraceContext(self.traceparent, self.tracestate)

    def headers(self) -> dict[str, str]:
        """Returns the headers, or gRPC metadata, for a request that belongs to the trace."""
        if not self.traceparent:
            return {}
        if not self.tracestate:
            return {"traceparent": self.traceparent}
        return {"traceparent": self.traceparent, "tracestate": self.tracestate}


NO_TRACE = TraceContext()
"""No trace."""


def trace_of(headers: Iterable[tuple[str, str | bytes]]) -> TraceContext:
    """Returns the context that headers carry, whose names are in lower case; NO_TRACE if it is invalid.

    As the standard says, a `tracestate` that is invalid is discarded alone.
    """
    parent = ""
    states: list[str] = []
    for name, value in headers:
        if name == "traceparent":
            if parent:
                return NO_TRACE
            parent = str(value)
        elif name == "tracestate":
            states.append(str(value))
    if not parent or len(parent) > _MAX_PARENT:
        return NO_TRACE
    found = _TRACEPARENT.fullmatch(parent)
    if found is None or (found[1] == "00" and found[5]):
        return NO_TRACE
    state = ",".join(filter(None, states))
    return TraceContext(f"00-{found[2]}-{found[3]}-{found[4]}", state if _TRACESTATE.fullmatch(state) else "")
