"""Trace contexts: what is taken from headers, and what is handed on."""

from __future__ import annotations

import pytest

from tokengrpc.core.trace import NO_TRACE, TraceContext, trace_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_a_context_is_taken_and_handed_on() -> None:
    """Its parts can be read; other metadata is ignored."""
    trace = trace_of(
        [("user-agent", "x"), ("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]
    )
    assert (trace.trace_id, trace.span_id, trace.sampled) == (TRACE, SPAN, True)
    assert trace.headers() == {"traceparent": PARENT, "tracestate": "a=1,b=2"}
    assert trace_of([("traceparent", PARENT)]).headers() == {"traceparent": PARENT}
    assert not trace_of([("traceparent", PARENT[:-1] + "0")]).sampled


def test_a_later_version_is_handed_on_as_version_00() -> None:
    """The standard fixes the first fields of all versions."""
    assert trace_of([("traceparent", f"cc-{TRACE}-{SPAN}-03-more")]) == TraceContext(f"00-{TRACE}-{SPAN}-03")


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        PARENT.upper(),
        f"{PARENT}\n",
        f"{PARENT}-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 200}",
    ],
)
def test_an_invalid_context_is_none(parent: str) -> None:
    """It takes its `tracestate` along."""
    assert trace_of([("traceparent", parent), ("tracestate", "a=1")]) is NO_TRACE
    assert (NO_TRACE.trace_id, NO_TRACE.span_id, NO_TRACE.sampled, NO_TRACE.headers()) == ("", "", False, {})


def test_two_contexts_are_none() -> None:
    """It is not known which of them is meant."""
    assert trace_of([("traceparent", PARENT), ("traceparent", PARENT)]) is NO_TRACE


@pytest.mark.parametrize("state", ["a=\r\nHost: evil", "a=\xe9", "a=" + "x" * 600])
def test_a_state_that_cannot_be_a_header_is_discarded(state: str) -> None:
    """The rest of the context stays."""
    assert trace_of([("traceparent", PARENT), ("tracestate", state)]) == TraceContext(PARENT)
