"""Late usage: the caller has all text at once, and `finished` waits for the usage within a limit."""

from __future__ import annotations

import pytest
from tokenstreaming.v1 import usage_pb2

from tests.support.harness import collect, read_until, serving, upstream
from tests.support.scripted_engine import Done, Finish, Pause, ScriptedEngine, Stall, Text, UsageChunk
from tests.support.wire_dialects import OLLAMA, OPENAI, Dialect

DIALECTS = pytest.mark.parametrize("dialect", [OPENAI, OLLAMA], ids=lambda d: type(d).__name__)


@DIALECTS
@pytest.mark.parametrize("order", ["before the end mark", "after the end mark"])
async def test_late_usage_is_the_bill(dialect: Dialect, order: str):
    """The text is there before the usage is sent, and `finished` has the engine's own counts."""
    async with ScriptedEngine(dialect) as engine:
        pause = Pause()
        usage = (pause, UsageChunk(7, 2))
        late = (*usage, Done()) if order == "before the end mark" else (Done(), *usage)
        engine.script(Text("Hello", " world"), Finish(), *late)
        async with serving(upstream(engine.base_url)) as server:
            call = server.stream()
            await read_until(call, lambda message: any(t.text.endswith("world") for t in message.tokens))
            await pause.reached.wait()
            pause.release()
            outcome = await collect(call)
            usage = outcome.messages[-1].usage
            assert outcome.finished is not None
            assert usage.source == usage_pb2.USAGE_SOURCE_ENGINE
            assert (usage.input_token_count, usage.output_token_count) == (7, 2)


@DIALECTS
@pytest.mark.parametrize("ends", [(Finish(),), (Finish(), Done())], ids=["finish", "end mark"])
async def test_the_wait_is_bounded(dialect: Dialect, ends: tuple):
    """Usage that does not come within the limit is counted here, and the answer is none the worse."""
    async with ScriptedEngine(dialect) as engine:
        engine.script(Text("Hello"), *ends, Stall())
        async with serving(upstream(engine.base_url, usage_timeout=0.05)) as server:
            outcome = await collect(server.stream())
            assert outcome.finished is not None
            assert outcome.text == "Hello"
            assert outcome.messages[-1].usage.source != usage_pb2.USAGE_SOURCE_ENGINE


async def test_no_wait_at_all():
    """With 0, usage that arrives together with the finish reason still counts."""
    async with ScriptedEngine() as engine:
        extra = {"usage": {"prompt_tokens": 7, "completion_tokens": 1}}
        engine.script(Text("Hello"), Finish(extra=extra), Stall())
        async with serving(upstream(engine.base_url, usage_timeout=0)) as server:
            outcome = await collect(server.stream())
            assert outcome.messages[-1].usage.source == usage_pb2.USAGE_SOURCE_ENGINE
