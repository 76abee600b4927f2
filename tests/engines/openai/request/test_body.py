"""Encoding requests as JSON bodies: each field of the contract, for each API and dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tokengrpc.config import engine_settings
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
from tokengrpc.engines.openai.dialects.row import Api
from tokengrpc.engines.openai.dialects.table import DIALECTS
from tokengrpc.engines.openai.engine import create
from tokengrpc.engines.openai.request.body import choose_api, encode_request
from tokengrpc.engines.upstream.request_body import whole_numbers
from tokengrpc.errors import InvalidRequest, UnsupportedFeature

HELLO = (Message(role=Role.USER, parts=(TextPart(text="Hi"),)),)


def encode(api: Api = Api.CHAT, dialect: str = "generic", **request: Any) -> dict[str, Any]:
    if not {"prompt", "messages", "prompt_token_ids"} & request.keys():
        request |= {"messages": HELLO} if api is Api.CHAT else {"prompt": "Once"}
    body: dict[str, Any] = json.loads(
        encode_request(GenerationRequest(**request), api=api, dialect=DIALECTS[dialect], model="m")
    )
    return body


def message(role: Role, *parts: Any, dialect: str = "generic") -> dict[str, Any]:
    body = encode(dialect=dialect, messages=(Message(role=role, parts=parts),))
    encoded: dict[str, Any] = body["messages"][0]
    return encoded


MINIMAL = {"model": "m", "stream": True, "stream_options": {"include_usage": True}}


def test_minimal_conversation():
    """Unset fields are not sent."""
    assert encode() == MINIMAL | {"messages": [{"role": "user", "content": "Hi"}]}


def test_minimal_prompt():
    """The completions API takes text or token ids. In the chat API, a prompt is a user message."""
    assert encode(Api.COMPLETIONS) == MINIMAL | {"prompt": "Once"}
    assert encode(Api.COMPLETIONS, prompt_token_ids=(1, 2)) == MINIMAL | {"prompt": [1, 2]}
    assert encode(prompt="Once") == MINIMAL | {"messages": [{"role": "user", "content": "Once"}]}


def test_sampling():
    """Each field is sent under the common name, zeros included. The keys of `logit_bias` are strings."""
    sampling = Sampling(
        temperature=0.0,
        top_p=0.5,
        top_k=3,
        min_p=0.1,
        seed=0,
        presence_penalty=0.0,
        frequency_penalty=1.5,
        repetition_penalty=1.1,
        stop_sequences=("a", "\n"),
        logit_bias={15: -100.0},
    )
    assert (
        encode(sampling=sampling).items()
        >= {
            "temperature": 0.0,
            "top_p": 0.5,
            "top_k": 3,
            "min_p": 0.1,
            "seed": 0,
            "presence_penalty": 0.0,
            "frequency_penalty": 1.5,
            "repetition_penalty": 1.1,
        }.items()
    )
    assert encode(sampling=sampling)["stop"] == ["a", "\n"]
    assert encode(sampling=sampling)["logit_bias"] == {"15": -100.0}


@pytest.mark.parametrize(
    ("api", "dialect", "field"),
    [
        (Api.CHAT, "openai", "max_completion_tokens"),
        (Api.CHAT, "generic", "max_tokens"),
        (Api.CHAT, "vllm", "max_tokens"),
        (Api.COMPLETIONS, "openai", "max_tokens"),
    ],
)
def test_output_token_limit(api: Api, dialect: str, field: str):
    """Only the chat API of OpenAI itself uses the new field name."""
    body = encode(api, dialect, max_output_token_count=5)
    assert {key: body[key] for key in body if key.startswith("max_")} == {field: 5}


def test_vllm():
    """Usage is requested in every chunk, token ids only if the request asks for them."""
    assert encode(dialect="vllm")["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert "return_token_ids" not in encode(dialect="vllm")
    assert encode(dialect="vllm", output=OutputOptions(token_ids=True))["return_token_ids"] is True


def test_logprobs():
    """Chat has a switch and a number, completions only a number. Bytes are requested by chat's logprobs."""
    zero, two = OutputOptions(top_logprob_count=0), OutputOptions(top_logprob_count=2)
    assert encode(output=zero)["logprobs"] is True
    assert "top_logprobs" not in encode(output=zero)
    assert encode(output=two).items() >= {"logprobs": True, "top_logprobs": 2}.items()
    assert encode(Api.COMPLETIONS, output=zero)["logprobs"] == 0
    assert encode(Api.COMPLETIONS, output=two)["logprobs"] == 2
    assert encode(output=OutputOptions(raw_bytes=True))["logprobs"] is True


def test_tools():
    """Schemas are embedded verbatim, so that key order and numbers are preserved."""
    schema = '{"type":"object","properties":{"z":{"maximum":1.0},"a":{"minimum":10000000000000000000000}}}'
    tools = (Tool(name="f", description="d", parameters_json_schema=schema, strict=True), Tool(name="g"))
    request = GenerationRequest(messages=HELLO, tools=tools)
    body = encode_request(request, api=Api.CHAT, dialect=DIALECTS["generic"], model="m")
    assert schema.encode() in body
    first, second = json.loads(body)["tools"]
    assert first["type"] == "function"
    assert (first["function"]["name"], first["function"]["description"], first["function"]["strict"]) == (
        "f",
        "d",
        True,
    )
    assert second == {
        "type": "function",
        "function": {"name": "g", "parameters": {"type": "object", "properties": {}}},
    }


@pytest.mark.parametrize(
    ("choice", "fields"),
    [
        (ToolChoice(), {}),
        (ToolChoice(mode="none"), {"tool_choice": "none"}),
        (ToolChoice(mode="required"), {"tool_choice": "required"}),
        (
            ToolChoice(mode="function", function_name="f", disable_parallel_calls=True),
            {"tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False},
        ),
    ],
)
def test_tool_choice(choice: ToolChoice, fields: dict[str, Any]):
    """Each mode is encoded. The default is not sent."""
    body = encode(tools=(Tool(name="f"),), tool_choice=choice)
    assert {key: body[key] for key in ("tool_choice", "parallel_tool_calls") if key in body} == fields


def test_json_schema():
    """The chat API takes a schema in `response_format`."""
    body = encode(constraint=OutputConstraint(json_schema='{"type":"string"}'))
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "strict": True, "schema": {"type": "string"}},
    }


@pytest.mark.parametrize(
    ("constraint", "field"),
    [
        (OutputConstraint(regex="a+"), {"regex": "a+"}),
        (OutputConstraint(grammar="root ::= x"), {"grammar": "root ::= x"}),
        (OutputConstraint(choices=("a", "b")), {"choice": ["a", "b"]}),
        (OutputConstraint(json_schema="{}"), {"json": {}}),
    ],
)
def test_vllm_constraints(constraint: OutputConstraint, field: dict[str, Any]):
    """Constraints go into vLLM's `structured_outputs`. The generic dialect rejects them for a prompt."""
    assert encode(Api.COMPLETIONS, "vllm", constraint=constraint)["structured_outputs"] == field
    with pytest.raises(UnsupportedFeature):
        encode(Api.COMPLETIONS, constraint=constraint)


def test_reasoning():
    """The effort has a common field. The generic dialect has no field for a budget; vLLM has."""
    assert encode(reasoning=Reasoning(effort="low"))["reasoning_effort"] == "low"
    assert encode(dialect="vllm", reasoning=Reasoning(token_budget=9))["thinking_token_budget"] == 9
    with pytest.raises(UnsupportedFeature, match="token_budget"):
        encode(reasoning=Reasoning(token_budget=9))


@pytest.mark.parametrize(
    "feature",
    [
        {"tools": (Tool(name="f"),)},
        {"output": OutputOptions(raw_bytes=True)},
        {"reasoning": Reasoning(effort="low")},
    ],
    ids=lambda feature: next(iter(feature)),
)
def test_unsupported_by_completions(feature: dict[str, Any]):
    """A feature that the completions API does not support is rejected instead of dropped."""
    with pytest.raises(UnsupportedFeature):
        encode(Api.COMPLETIONS, **feature)


@pytest.mark.parametrize("text", ["", "{", "{}}", "[1,]", "\ud800", "[" * 100_000])
def test_schema_that_is_not_json(text: str):
    """The error names the field."""
    with pytest.raises(InvalidRequest, match=r"output_constraint\.json_schema"):
        encode(constraint=OutputConstraint(json_schema=text))
    if text:
        with pytest.raises(InvalidRequest, match=r"tools\[0\]\.parameters_json_schema"):
            encode(tools=(Tool(name="f", parameters_json_schema=text),))


class TestMessages:
    """Encoding the parts of messages."""

    def test_text(self):
        """Text parts are joined into one string."""
        assert message(Role.SYSTEM, TextPart(text="a"), TextPart(text="b")) == {
            "role": "system",
            "content": "ab",
        }

    def test_images(self):
        """With an image, the content is a list. Image bytes become a data URI."""
        parts = (
            TextPart(text="see"),
            ImagePart(uri="https://example.org/a.png"),
            ImagePart(data=b"\x00\xff", media_type="image/png"),
        )
        assert message(Role.USER, *parts)["content"] == [
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AP8="}},
        ]

    def test_tool_calls(self):
        """A message with only tool calls has null content. The arguments stay a string."""
        call = ToolCallPart(id="c", function_name="f", arguments='{"a": 1')
        piece = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1'}}
        assert message(Role.ASSISTANT, call) == {"role": "assistant", "content": None, "tool_calls": [piece]}
        assert message(Role.ASSISTANT, TextPart(text="ok"), call)["content"] == "ok"

    def test_tool_results(self):
        """A tool result refers to its call by id."""
        result = ToolResultPart(tool_call_id="c", text="42", is_error=False)
        assert message(Role.TOOL, result) == {"role": "tool", "tool_call_id": "c", "content": "42"}

    def test_reasoning(self):
        """Earlier reasoning is sent under both names, except to OpenAI."""
        parts = (ReasoningPart(text="hm", opaque=b""), TextPart(text="ok"))
        assert message(Role.ASSISTANT, *parts) == {
            "role": "assistant",
            "content": "ok",
            "reasoning_content": "hm",
            "reasoning": "hm",
        }
        assert message(Role.ASSISTANT, *parts, dialect="openai") == {"role": "assistant", "content": "ok"}


def test_engine_params():
    """Parameters are merged into the body. Whole numbers of a protobuf Struct become integers."""
    params = {"n_keep": 5.0, "ratio": 0.5, "nested": {"list": [1.0, "1.0", True, None]}, "huge": 1e300}
    assert encode(engine_params=params).items() >= {"n_keep": 5, "ratio": 0.5, "huge": 1e300}.items()
    assert repr(whole_numbers(params["nested"])) == "{'list': [1, '1.0', True, None]}"


@pytest.mark.parametrize(
    ("setting", "request_", "api"),
    [
        ("auto", GenerationRequest(messages=HELLO), Api.CHAT),
        ("auto", GenerationRequest(prompt="a"), Api.COMPLETIONS),
        ("auto", GenerationRequest(prompt_token_ids=(1,)), Api.COMPLETIONS),
        ("chat", GenerationRequest(messages=HELLO), Api.CHAT),
        ("chat", GenerationRequest(prompt="a"), Api.CHAT),
        ("chat", GenerationRequest(prompt_token_ids=(1,)), None),
        ("completions", GenerationRequest(messages=HELLO), None),
        ("completions", GenerationRequest(prompt="a"), Api.COMPLETIONS),
    ],
)
def test_choosing_the_api(setting: str, request_: GenerationRequest, api: Api | None):
    """Setting and input determine the API. The engine's capabilities agree with the choice."""
    engine = create(engine_settings(name="m", kind="openai", base_url="http://x/v1", api=setting), None)
    if request_.messages is not None:
        needed = Capability.CONVERSATION
    else:
        needed = Capability.PROMPT if request_.prompt is not None else Capability.PROMPT_TOKEN_IDS
    assert (needed in engine.capabilities) is (api is not None)
    if api is None:
        with pytest.raises(UnsupportedFeature):
            choose_api(setting, request_, DIALECTS["generic"])
    else:
        assert choose_api(setting, request_, DIALECTS["generic"]) is api
