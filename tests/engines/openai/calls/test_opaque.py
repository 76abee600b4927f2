"""What an engine requires back with a tool call: opaque bytes to callers and back to the engine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenstreaming.v1 import input_pb2

from tests.support.harness import serving
from tests.support.openai_payloads import STOP, chat, choices, decode, finished, piece
from tests.support.scripted_engine import Chunk, Done, Finish, ScriptedEngine, Text
from tokengrpc import Conversation, TokenStreamClient
from tokengrpc.config import model_settings
from tokengrpc.core.request import GenerationRequest, Message, Role, TextPart, ToolCallPart
from tokengrpc.engines.openai.dialects.row import Api
from tokengrpc.engines.openai.dialects.table import DIALECTS
from tokengrpc.engines.openai.request.body import encode_request
from tokengrpc.errors import EngineProtocolError, InvalidRequest

GOOGLE = {"google": {"thought_signature": "CiQB+/=="}}
OPAQUE = b'call:{"extra_content":{"google":{"thought_signature":"CiQB+/=="}}}'


def opaques(*chunks: dict[str, Any] | list[dict[str, Any]], tools: tuple[str, ...] = ()) -> dict[int, bytes]:
    """Returns the opaque bytes of each call, of which the last ones count."""
    payloads = [chat({"tool_calls": chunk if isinstance(chunk, list) else [chunk]}) for chunk in chunks]
    deltas = finished(*payloads, STOP, tools=tools)
    return {part.call_index: part.opaque for delta in deltas for part in delta.fragments if part.opaque}


class TestOpaque:
    """What the engine requires back with a call."""

    @pytest.mark.parametrize("tools", [(), ("f", "g")])
    def test_extra_content(self, tools: tuple[str, ...]):
        """Gemini's thought signature is the opaque bytes of its call, whichever piece it comes with."""
        signed = {"extra_content": GOOGLE}
        whole = piece("f", '{"a":1}', "c") | signed
        assert opaques(whole, tools=tools) == {0: OPAQUE}
        assert opaques([whole, piece("g", "{}", "d")], tools=tools) == {0: OPAQUE}
        assert opaques([piece("g", "{}", "d"), whole], tools=tools) == {1: OPAQUE}
        assert opaques(piece("f", "", "c", 0) | signed, piece(None, "{}", None, 0), tools=tools) == {
            0: OPAQUE
        }
        assert opaques(piece("f", "{}", "c", 0), piece(None, "", None, 0) | signed, tools=tools) == {
            0: OPAQUE
        }
        assert opaques(piece("f", "[1]", "c", 0), piece(None, "", None, 0) | signed, tools=tools) == {
            0: OPAQUE
        }

    def test_other_fields(self):
        """LiteLLM has a field of its own. Empty and unknown fields are not kept."""
        extra = {"provider_specific_fields": {"thought_signature": "x"}, "extra_content": None, "type": "f"}
        assert opaques(piece("f", "{}", "c") | extra) == {
            0: b'call:{"provider_specific_fields":{"thought_signature":"x"}}'
        }
        assert opaques(piece("f", "{}", "c") | {"extra_content": {}}) == {}

    def test_in_a_whole_message(self):
        """A call that is not streamed has it, too."""
        call = piece("f", "{}", "c") | {"extra_content": GOOGLE}
        deltas = finished(choices({"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}))
        assert [part.opaque for delta in deltas for part in delta.fragments] == [OPAQUE]

    def test_too_much(self):
        """More than 256 KiB are a protocol error."""
        call = piece("f", "{}", "c") | {"extra_content": {"x": "y" * 300_000}}
        assert isinstance(decode(chat({"tool_calls": [call]}), STOP)[1], EngineProtocolError)

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_sent_back(self, dialect: str):
        """The call is sent back with the fields, to servers that may have sent them."""
        calls_ = [
            ToolCallPart(id=id_, function_name="f", arguments="{}", opaque=opaque)
            for id_, opaque in (("a", OPAQUE), ("b", b""), ("c", b"signature:xyz"))
        ]
        body = body_of(dialect, *calls_)
        first, second, third = body["messages"][1]["tool_calls"]
        assert first.get("extra_content") == (GOOGLE if dialect in {"generic", "litellm"} else None)
        plain = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
        assert (second, third) == ({"id": "b", **plain}, {"id": "c", **plain})

    @pytest.mark.parametrize("opaque", [b"call:", b"call:{", b"call:[]", b'call:{"function":{"name":"g"}}'])
    def test_malformed_bytes(self, opaque: bytes):
        """Bytes that no engine sent are rejected, and can set no other field."""
        call = ToolCallPart(id="a", function_name="f", arguments="{}", opaque=opaque)
        with pytest.raises(InvalidRequest, match=r"messages\[1\]\.parts\[0\]\.tool_call\.opaque"):
            body_of("generic", call)


def body_of(dialect: str, *parts: ToolCallPart) -> dict[str, Any]:
    question = Message(role=Role.USER, parts=(TextPart(text="Hi"),))
    request = GenerationRequest(messages=(question, Message(role=Role.ASSISTANT, parts=parts)))
    body: dict[str, Any] = json.loads(
        encode_request(request, api=Api.CHAT, dialect=DIALECTS[dialect], model="m")
    )
    return body


async def test_it_returns_with_the_conversation() -> None:
    """The next request has the signature with the call, after a way through the server and a client."""
    tool = input_pb2.Tool(name="clock")
    payload = {"choices": [{"index": 0, "delta": {"tool_calls": [piece("clock", "{}", "c1", 0)]}}]}
    payload["choices"][0]["delta"]["tool_calls"][0]["extra_content"] = GOOGLE
    async with (
        ScriptedEngine() as engine,
        serving(model_settings(name="m", kind="openai", base_url=engine.base_url, api="chat")) as server,
        TokenStreamClient(server.target) as client,
    ):
        engine.script(Chunk(payload), Finish("tool_calls"), Done())
        talk = Conversation().user("what time is it?")
        async with client.stream(talk, tools=[tool]) as stream:
            async for _ in stream:
                pass
        talk.add(stream).tool_result("c1", "noon")
        engine.script(Text("Noon."), Finish(), Done())
        async with client.stream(talk, tools=[tool]) as stream:
            async for _ in stream:
                pass
        (called,) = engine.calls[1].body["messages"][1]["tool_calls"]
    assert (called["id"], called["extra_content"]) == ("c1", GOOGLE)
