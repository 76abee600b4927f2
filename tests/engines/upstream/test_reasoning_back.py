"""Reasoning with opaque bytes: sent to callers, and returned to the engine with their conversation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tokenstreaming.v1 import input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.anthropic_dialect import ANTHROPIC
from tests.support.harness import Served, collect, serving
from tests.support.scripted_engine import Bytes, Done, Finish, Reasoning, ScriptedEngine, Text, ToolCall
from tokengrpc import Conversation, TokenStreamClient
from tokengrpc.config import model_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOOL = input_pb2.Tool(name="clock", parameters_json_schema='{"type":"object"}')
PART = input_pb2.ReasoningPart(text="hm, well", opaque=b"signature:c2ln")


def signed(text: str) -> Bytes:
    """Returns an event with the signature of the first block."""
    delta = {"type": "signature_delta", "signature": text}
    payload = {"type": "content_block_delta", "index": 0, "delta": delta}
    return Bytes(f"event: content_block_delta\ndata: {json.dumps(payload)}\n\n".encode())


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine(ANTHROPIC) as scripted:
        thought = (Reasoning("hm", ", well"), signed("c2ln"))
        scripted.script(*thought, ToolCall(0, "c1", "clock"), Finish("tool_calls"), Done())
        yield scripted


@pytest.fixture
async def server(engine: ScriptedEngine) -> AsyncIterator[Served]:
    async with serving(model_settings(name="m", kind="anthropic", base_url=engine.base_url)) as served:
        yield served


async def test_it_returns_with_the_conversation(server: Served, engine: ScriptedEngine) -> None:
    """The next request has the thinking, signature and tool call that the engine sent."""
    talk = Conversation().user("what time is it?")
    async with TokenStreamClient(server.target) as client:
        async with client.stream(talk, tools=[TOOL]) as stream:
            async for _ in stream:
                pass
        assert stream.reasoning_parts == (PART,)
        talk.add(stream).tool_result("c1", "noon")
        engine.script(Text("Noon."), Finish(), Done())
        async with client.stream(talk, tools=[TOOL]) as stream:
            async for _ in stream:
                pass
    thinking, called = engine.calls[1].body["messages"][1]["content"]
    assert thinking == {"type": "thinking", "thinking": "hm, well", "signature": "c2ln"}
    assert (called["type"], called["id"]) == ("tool_use", "c1")


async def test_generate_text_has_it_in_parts(server: Served) -> None:
    """GenerateText returns the same reasoning parts."""
    request = pb.GenerateTextRequest(request=pb.StreamTokensRequest(prompt="a", tools=[TOOL]))
    answer = await server.stub.GenerateText(request)
    assert list(answer.reasoning_parts) == [PART]
    assert answer.reasoning_text == PART.text


async def test_it_is_omitted_with_the_reasoning(server: Served) -> None:
    """`omit_reasoning` omits the reasoning and its opaque bytes."""
    outcome = await collect(server.stream(tools=[TOOL], output=input_pb2.OutputOptions(omit_reasoning=True)))
    assert outcome.finished is not None
    assert all(not (token.reasoning_text or token.reasoning_opaque) for token in outcome.tokens)
