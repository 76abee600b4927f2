"""The trace of a caller without a tracer: events name it, and engines receive it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.harness import collect, serving, upstream
from tests.support.script_steps import Done, Finish, Text
from tests.support.scripted_engine import ScriptedEngine
from tokengrpc.core.ports.observer import CallEnded, GenerationEnded

if TYPE_CHECKING:
    from tokengrpc.core.ports.observer import ObserverEvent

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Ends:
    """An observer that keeps the ids of the traces of what has ended."""

    def __init__(self) -> None:
        self.traces: list[tuple[str, str]] = []

    def on_event(self, event: ObserverEvent) -> None:
        if isinstance(event, CallEnded | GenerationEnded):
            self.traces.append((type(event).__name__, event.trace.trace_id))


async def test_ends_name_the_trace_of_the_caller():
    """A generation belongs to the trace of the call that started it; a call without one has no id."""
    ends = Ends()
    async with serving(observers=(ends,)) as server:
        await collect(server.stream("g", metadata=(("traceparent", PARENT),), max_output_token_count=2))
        await collect(server.resume("g"))
    assert ends.traces == [("GenerationEnded", TRACE), ("CallEnded", TRACE), ("CallEnded", "")]


@pytest.mark.parametrize("handed_on", [True, False])
async def test_an_engine_may_be_kept_out_of_the_trace(handed_on: bool):
    """`trace_headers` says whether its requests carry the caller's trace context."""
    async with (
        ScriptedEngine() as engine,
        serving(upstream(engine.base_url, trace_headers=handed_on)) as server,
    ):
        engine.script(Text("x"), Finish(), Done())
        await collect(server.stream(metadata=(("traceparent", PARENT), ("tracestate", "a=1"))))
        headers = (await engine.called()).headers
    sent = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
    assert sent == ({"traceparent": PARENT, "tracestate": "a=1"} if handed_on else {})
