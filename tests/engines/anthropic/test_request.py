"""Encoding requests as bodies of Anthropic's Messages API: each field of the contract."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tokengrpc.config import ConfigError, engine_settings
from tokengrpc.core.features import OWNED_ENGINE_PARAMS
from tokengrpc.core.model import Capability
from tokengrpc.core.request import (
    GenerationRequest,
    ImagePart,
    Message,
    OutputConstraint,
    OutputOptions,
    Reasoning,
    ReasoningPart,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from tokengrpc.engines.anthropic.engine import create
from tokengrpc.engines.anthropic.request import Options, encode_request
from tokengrpc.errors import InvalidRequest, UnsupportedFeature

MINIMAL = {"model": "m", "stream": True, "max_tokens": 4096}
HELLO = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}


def message(role: Role, *parts: Any) -> Message:
    return Message(role=role, parts=tuple(TextPart(text=p) if isinstance(p, str) else p for p in parts))


def encode(*messages: Message, options: Options | None = None, **request: Any) -> dict[str, Any]:
    if "prompt" not in request:
        request["messages"] = messages or (message(Role.USER, "Hi"),)
    encoded = encode_request(GenerationRequest(**request), model="m", options=options or Options())
    body: dict[str, Any] = json.loads(encoded)
    return body


def test_minimal_request():
    """Unset fields are not sent, except `max_tokens`, which the API requires."""
    assert encode() == MINIMAL | {"messages": [HELLO]}
    assert encode(prompt="Hi") == MINIMAL | {"messages": [HELLO]}
    assert encode(max_output_token_count=5)["max_tokens"] == 5
    assert encode(options=Options(max_tokens=9))["max_tokens"] == 9


class TestMessages:
    """Encoding a conversation."""

    def test_system(self):
        """System messages are joined into the field `system`, wherever they are in the conversation."""
        body = encode(
            message(Role.SYSTEM, "Be", " kind."), message(Role.USER, "Hi"), message(Role.SYSTEM, "Be brief.")
        )
        assert body["system"] == "Be kind.\n\nBe brief."
        assert body["messages"] == [HELLO]

    def test_alternating_roles(self):
        """Consecutive messages of one role are merged. Tool results are user messages."""
        call = ToolCallPart(id="c", function_name="f", arguments='{"a": 1.0}')
        result = ToolResultPart(tool_call_id="c", text="42", is_error=False)
        failed = ToolResultPart(tool_call_id="d", text="no", is_error=True)
        body = encode(
            message(Role.USER, "a"),
            message(Role.USER, "b", ""),
            message(Role.ASSISTANT, "ok", call, ToolCallPart(id="d", function_name="g", arguments="")),
            message(Role.TOOL, result),
            message(Role.TOOL, failed),
            message(Role.USER, "go on"),
        )
        user, assistant, last = body["messages"]
        assert [block["text"] for block in user["content"]] == ["a", "b"]
        assert assistant["content"] == [
            {"type": "text", "text": "ok"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1.0}},
            {"type": "tool_use", "id": "d", "name": "g", "input": {}},
        ]
        assert last["content"] == [
            {"type": "tool_result", "tool_use_id": "c", "content": "42"},
            {"type": "tool_result", "tool_use_id": "d", "content": "no", "is_error": True},
            {"type": "text", "text": "go on"},
        ]
        assert [encoded["role"] for encoded in body["messages"]] == ["user", "assistant", "user"]

    @pytest.mark.parametrize("arguments", ["[1]", "{", "17", "null", "[" * 100_000])
    def test_arguments_that_are_not_an_object(self, arguments: str):
        """The API requires an object. The error names the field."""
        call = ToolCallPart(id="c", function_name="f", arguments=arguments)
        with pytest.raises(InvalidRequest, match=r"conversation\.messages\[1\]\.parts\[0\]\.tool_call"):
            encode(message(Role.USER, "a"), message(Role.ASSISTANT, call))

    def test_reasoning(self):
        """Reasoning is sent back with its signature. Reasoning of other engines has none and is omitted."""
        signed = ReasoningPart(text="hm", opaque=b"signature:EqQB==")
        redacted = ReasoningPart(text="", opaque=b"redacted:xyz")
        unsigned = ReasoningPart(text="eh", opaque=b"")
        body = encode(message(Role.USER, "a"), message(Role.ASSISTANT, signed, redacted, unsigned, "ok"))
        assert body["messages"][1]["content"] == [
            {"type": "thinking", "thinking": "hm", "signature": "EqQB=="},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "text", "text": "ok"},
        ]

    def test_images(self):
        """Images are sent by URL or as base64 data."""
        images = (
            ImagePart(uri="https://example.org/a.png"),
            ImagePart(data=b"\x00\xff", media_type="image/png"),
            ImagePart(uri="data:image/gif;base64,AP8="),
        )
        sources = [block["source"] for block in encode(message(Role.USER, *images))["messages"][0]["content"]]
        assert sources == [
            {"type": "url", "url": "https://example.org/a.png"},
            {"type": "base64", "media_type": "image/png", "data": "AP8="},
            {"type": "base64", "media_type": "image/gif", "data": "AP8="},
        ]

    @pytest.mark.parametrize(
        "uri",
        [
            "data:image/png;charset=x;base64,AP8=",
            "data:image/png;a=1;b=2;base64,AP8=",
            "data:IMAGE/PNG;BASE64,AP8=",
            "DATA:image/png ; base64,AP8%3D",
            "data:image/png;base64,AP\n8=\n",
            "data:image/png,%00%FF",
            "data:image/png;charset=x,%00%FF",
        ],
    )
    def test_data_uris(self, uri: str):
        """A data URI may have parameters, line ends, upper case and percent-encoding."""
        (user,) = encode(message(Role.USER, ImagePart(uri=uri)))["messages"]
        assert user["content"][0]["source"] == {
            "type": "base64",
            "media_type": "image/png",
            "data": "AP8=",
        }


def test_sampling():
    """Fields that the API supports are sent, zeros included. Others are rejected instead of dropped."""
    supported = Sampling(temperature=0.0, top_p=0.5, top_k=3, stop_sequences=("a", "\n"))
    fields = {"temperature": 0.0, "top_p": 0.5, "top_k": 3, "stop_sequences": ["a", "\n"]}
    assert encode(sampling=supported).items() >= fields.items()
    for name, value in {
        "min_p": 0.1,
        "seed": 0,
        "presence_penalty": 0.0,
        "frequency_penalty": 1.5,
        "repetition_penalty": 1.1,
        "logit_bias": {15: -1.0},
    }.items():
        with pytest.raises(UnsupportedFeature, match=rf"sampling\.{name}"):
            encode(sampling=Sampling(**{name: value}))


def test_tools():
    """Schemas are embedded verbatim."""
    schema = '{"type":"object","properties":{"z":{"maximum":1.0},"a":{"minimum":10000000000000000000000}}}'
    tools = (Tool(name="f", description="d", parameters_json_schema=schema, strict=True), Tool(name="g"))
    request = GenerationRequest(prompt="Hi", tools=tools)
    body = encode_request(request, model="m", options=Options())
    assert schema.encode() in body
    first, second = json.loads(body)["tools"]
    assert (first["name"], first["description"], first["strict"]) == ("f", "d", True)
    assert second == {"name": "g", "input_schema": {"type": "object", "properties": {}}}
    with pytest.raises(InvalidRequest, match=r"tools\[0\]\.parameters_json_schema"):
        encode(tools=(Tool(name="f", parameters_json_schema="{"),))


@pytest.mark.parametrize(
    ("choice", "field"),
    [
        (ToolChoice(), None),
        (ToolChoice(disable_parallel_calls=True), {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="none", disable_parallel_calls=True), {"type": "none"}),
        (ToolChoice(mode="required"), {"type": "any"}),
        (
            ToolChoice(mode="function", function_name="f", disable_parallel_calls=True),
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_tool_choice(choice: ToolChoice, field: dict[str, Any] | None):
    """Each mode is encoded. The default is not sent."""
    assert encode(tools=(Tool(name="f"),), tool_choice=choice).get("tool_choice") == field


class TestReasoning:
    """Limits of thinking, in the form that the model supports."""

    def test_effort(self):
        """An effort enables adaptive thinking. Its text is summarized, or omitted with `omit_reasoning`."""
        body = encode(reasoning=Reasoning(effort="low"))
        assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
        assert body["output_config"] == {"effort": "low"}
        without_text = encode(reasoning=Reasoning(effort="high"), output=OutputOptions(omit_reasoning=True))
        assert without_text["thinking"] == {"type": "adaptive", "display": "omitted"}

    def test_none(self):
        """Effort `none` turns thinking off in either form."""
        for thinking in ("adaptive", "budget"):
            body = encode(reasoning=Reasoning(effort="none"), options=Options(thinking=thinking))
            assert body["thinking"] == {"type": "disabled"}

    def test_budget(self):
        """Older models take a number of tokens within the bounds of the API."""
        older = Options(thinking="budget")
        body = encode(reasoning=Reasoning(token_budget=1024), options=older)
        assert body["thinking"] == {"type": "enabled", "budget_tokens": 1024}
        for budget in (1023, 4096):
            with pytest.raises(InvalidRequest, match=r"reasoning\.token_budget"):
                encode(reasoning=Reasoning(token_budget=budget), options=older)

    def test_unsupported_form(self):
        """A model supports only one form. The error names the other one."""
        with pytest.raises(UnsupportedFeature, match=r"token_budget.*set reasoning\.effort"):
            encode(reasoning=Reasoning(token_budget=2000))
        with pytest.raises(UnsupportedFeature, match=r"effort.*set reasoning\.token_budget"):
            encode(reasoning=Reasoning(effort="low"), options=Options(thinking="budget"))


def test_json_schema():
    """The schema and the effort share `output_config`. Other constraints are rejected."""
    constraint = OutputConstraint(json_schema='{"type":"object"}')
    body = encode(constraint=constraint, reasoning=Reasoning(effort="low"))
    output_format = {"type": "json_schema", "schema": {"type": "object"}}
    assert body["output_config"] == {"effort": "low", "format": output_format}
    with pytest.raises(UnsupportedFeature):
        encode(constraint=OutputConstraint(regex="a+"))


def test_engine_params():
    """Parameters are merged into the body. Whole numbers become integers."""
    params = {"metadata": {"user_id": "u"}, "x": 5.0}
    assert encode(engine_params=params).items() >= {"metadata": {"user_id": "u"}, "x": 5}.items()


class TestSettings:
    """Options and capabilities."""

    def test_options_are_checked(self):
        """The error is one line with the engine, the key and the allowed values."""
        invalid: dict[str, tuple[dict[str, Any], str]] = {
            "max_token": ({"max_token": 5}, "unknown key; did you mean `max_tokens`?"),
            "thinking": ({"thinking": "much"}, "must be one of adaptive, budget"),
            "max_tokens": ({"max_tokens": "many"}, "must be a whole number of at least 1"),
        }
        for key, (options, problem) in invalid.items():
            settings = engine_settings(name="claude", kind="anthropic", options=options)
            with pytest.raises(ConfigError, match=re.escape(f"engine claude: options.{key}: {problem}")):
                create(settings, None)

    def test_capabilities(self):
        """The capabilities are those of the API, changed by the settings."""
        settings = engine_settings(
            name="claude",
            kind="anthropic",
            extra_capabilities=(Capability.CONTINUE_TEXT,),
            missing_capabilities=(Capability.IMAGES,),
        )
        engine = create(settings, None)
        assert Capability.CONTINUE_TEXT in engine.capabilities
        assert Capability.TOOLS in engine.capabilities
        assert not {Capability.IMAGES, Capability.LOGPROBS} & engine.capabilities

    @pytest.mark.parametrize(
        "capability",
        [
            *(Capability.LOGPROBS, Capability.TOKEN_IDS, Capability.RAW_BYTES, Capability.PROMPT_TOKEN_IDS),
            *(Capability.REGEX, Capability.GRAMMAR, Capability.CHOICES, Capability.CONTINUE_TOKEN_IDS),
        ],
    )
    def test_capabilities_without_a_field(self, capability: Capability):
        """A capability for which nothing could be sent is refused."""
        with pytest.raises(ConfigError, match=f"no field for {capability}"):
            engine_settings(name="claude", kind="anthropic", extra_capabilities=(capability,))

    def test_every_field_is_owned(self):
        """No field that the encoder sends can be set through engine_params."""
        body = encode(
            message(Role.SYSTEM, "a"),
            message(Role.USER, "b"),
            sampling=Sampling(temperature=0.0, top_p=0.5, top_k=3, stop_sequences=("a",)),
            tools=(Tool(name="f"),),
            tool_choice=ToolChoice(mode="required"),
            reasoning=Reasoning(effort="low"),
            constraint=OutputConstraint(json_schema="{}"),
        )
        assert body.keys() <= OWNED_ENGINE_PARAMS
