"""Opaque bytes of tool calls: from an engine to callers, and back to the server with the conversation."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from tokenstreaming.v1 import input_pb2
from tokenstreaming.v1 import token_stream_pb2 as pb

from tests.support.harness import Served, serving
from tokengrpc import Conversation, TokenStreamClient
from tokengrpc.config import ModelSettings
from tokengrpc.core.request import ToolCallPart
from tokengrpc.engines.replay.settings import ReplaySettings
from tokengrpc.wire.request import generation_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

OPAQUE = b"thought signature \xff"
TOOL = input_pb2.Tool(name="clock", parameters_json_schema='{"type":"object"}')
# The first call has its bytes on its last fragment, which is otherwise empty. The second call has none.
FRAGMENTS = (
    {"call_index": 0, "id": "a", "function_name": "clock", "arguments_fragment": "{"},
    {"call_index": 1, "id": "b", "function_name": "clock", "arguments_fragment": "{}"},
    {"call_index": 0, "arguments_fragment": "}"},
    {"call_index": 0, "opaque": b64encode(OPAQUE).decode()},
)
CALLS = (
    input_pb2.ToolCall(id="a", function_name="clock", arguments="{}", opaque=OPAQUE),
    input_pb2.ToolCall(id="b", function_name="clock", arguments="{}"),
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    finished = {"finish_reason": "FINISH_REASON_TOOL_CALLS", "engine_finish_reason": "tool_calls"}
    messages = (
        {"started": {}},
        *({"tool_call_fragments": [fragment]} for fragment in FRAGMENTS),
        {"finished": finished},
    )
    lines = [{"transcript": 1, "model": "m"}, *({"at": 0.1, "message": message} for message in messages)]
    file = tmp_path / "stream.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    engine = ReplaySettings(name="r", kind="replay", options={"file": str(file), "speed": 0})
    async with serving(ModelSettings(name="m", engines=(engine,))) as served:
        yield served


async def test_it_returns_with_the_conversation(server: Served) -> None:
    """The client keeps each call's bytes, and the server's request has them again."""
    talk = Conversation().user("what time is it?")
    async with TokenStreamClient(server.target) as client, client.stream(talk, tools=[TOOL]) as stream:
        async for _ in stream:
            pass
    assert stream.tool_calls == CALLS
    talk.add(stream).tool_result("a", "noon").tool_result("b", "noon")
    request = generation_request(pb.StreamTokensRequest(conversation=talk.to_proto(), tools=[TOOL]))
    assert request.messages is not None
    assert request.messages[1].parts == (
        ToolCallPart(id="a", function_name="clock", arguments="{}", opaque=OPAQUE),
        ToolCallPart(id="b", function_name="clock", arguments="{}"),
    )


async def test_generate_text_has_it(server: Served) -> None:
    """GenerateText returns each call with its bytes."""
    request = pb.GenerateTextRequest(request=pb.StreamTokensRequest(prompt="a", tools=[TOOL]))
    assert tuple((await server.stub.GenerateText(request)).tool_calls) == CALLS
