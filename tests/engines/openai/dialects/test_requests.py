"""Requests and capabilities of each OpenAI-compatible dialect: each row of the table."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.support.harness import collect, serving, upstream
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Text, UsageChunk
from tests.support.wire_dialects import VLLM
from tokengrpc.config import ConfigError, engine_settings
from tokengrpc.core.features import OWNED_ENGINE_PARAMS
from tokengrpc.core.model import Capability
from tokengrpc.core.request import (
    GenerationRequest,
    ImagePart,
    Message,
    OutputConstraint,
    OutputOptions,
    ReasoningPart,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolChoice,
)
from tokengrpc.core.request import Reasoning as Thinking
from tokengrpc.engines.openai.dialects.capabilities import capabilities
from tokengrpc.engines.openai.dialects.row import Api
from tokengrpc.engines.openai.dialects.table import DIALECTS
from tokengrpc.engines.openai.engine import create
from tokengrpc.engines.openai.request.body import encode_request
from tokengrpc.errors import UnsupportedFeature

CHAT = GenerationRequest(messages=(Message(role=Role.USER, parts=(TextPart(text="Hi"),)),))


def encode(dialect: str, api: str = "chat", **request: Any) -> dict[str, Any]:
    if not {"prompt", "messages", "prompt_token_ids"} & request.keys():
        request |= {"messages": CHAT.messages} if api == "chat" else {"prompt": "Once"}
    encoded = encode_request(
        GenerationRequest(**request), api=Api[api.upper()], dialect=DIALECTS[dialect], model="m"
    )
    body: dict[str, Any] = json.loads(encoded)
    return body


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_can_be_set(name):
    """A row of the table is all that a new dialect needs."""
    settings = engine_settings(name="m", kind="openai", base_url="http://x/v1", dialect=name)
    assert create(settings, None).kind == "openai"


@pytest.mark.parametrize(
    ("dialect", "passes", "sent"),
    [("vllm", True, [-1, None, 1]), ("sglang", True, [1, None, -1]), ("vllm", False, [None] * 3)],
)
async def test_the_priority_is_sent_to_servers_that_order_by_it(dialect, passes, sent):
    """Only if the settings say so. The default is not sent."""
    async with ScriptedEngine(VLLM) as engine:
        model = upstream(engine.base_url, dialect=dialect, pass_priority=passes)
        async with serving(model) as server:
            engine.script(Text("x"), Finish(), UsageChunk(), Done())
            for priority in (1, 2, 3):
                assert (await collect(server.stream(priority=priority))).text == "x"
        assert [call.body.get("priority") for call in engine.calls] == sent


def test_a_dialect_without_a_priority_cannot_pass_it():
    """It is an error of the settings."""
    with pytest.raises(ConfigError, match="pass_priority: dialect openai has no field for it"):
        engine_settings(name="m", kind="openai", base_url="http://x/v1", dialect="openai", pass_priority=True)


class TestRequests:
    """Fields sent to each kind of server, and features rejected because the server would ignore them."""

    @pytest.mark.parametrize(
        ("name", "base_fields"),
        [
            ("generic", {"stream_options": {"include_usage": True}}),
            ("openai", {"stream_options": {"include_usage": True}}),
            ("vllm", {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
            ("sglang", {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
            ("llamacpp", {"stream_options": {"include_usage": True}, "timings_per_token": True}),
            ("ollama", {"stream_options": {"include_usage": True}}),
            ("tgi", {"stream_options": {"include_usage": True}}),
            ("litellm", {"stream_options": {"include_usage": True}}),
            ("llamacpp-python", {}),
            ("transformers", {}),
            ("mistral", {}),
        ],
    )
    def test_minimal_request(self, name: str, base_fields: dict[str, Any]):
        """Every request has the dialect's base fields."""
        minimal = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        assert encode(name) == minimal | base_fields

    @pytest.mark.parametrize(
        ("name", "unsupported"),
        [
            ("generic", set()),
            ("openai", {"top_k", "min_p", "repetition_penalty"}),
            ("vllm", set()),
            ("sglang", set()),
            ("llamacpp", set()),
            ("ollama", {"top_k", "min_p", "repetition_penalty", "logit_bias"}),
            ("tgi", {"top_k", "min_p", "presence_penalty", "repetition_penalty", "logit_bias"}),
            ("litellm", set()),
            ("llamacpp-python", set()),
            ("mistral", {"top_k", "min_p", "repetition_penalty", "logit_bias"}),
            (
                "transformers",
                {
                    "top_k",
                    "min_p",
                    "presence_penalty",
                    "frequency_penalty",
                    "repetition_penalty",
                    "logit_bias",
                },
            ),
        ],
    )
    def test_sampling(self, name: str, unsupported: set[str]):
        """Each field is sent under the server's name, or rejected under the contract's name."""
        names = {"stop_sequences": "stop"}
        if name == "mistral":
            names["seed"] = "random_seed"
        if name in {"llamacpp", "llamacpp-python"}:
            names["repetition_penalty"] = "repeat_penalty"
        values = {"temperature": 0.5, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "seed": 1}
        values |= {"presence_penalty": 0.5, "frequency_penalty": 0.5, "repetition_penalty": 1.5}
        for field, value in (values | {"stop_sequences": ("a",), "logit_bias": {5: 1.0}}).items():
            sampling = Sampling(**{field: value})
            if field in unsupported:
                with pytest.raises(UnsupportedFeature, match=rf"sampling\.{field}"):
                    encode(name, sampling=sampling)
            else:
                assert names.get(field, field) in encode(name, sampling=sampling)

    @pytest.mark.parametrize(
        ("name", "api", "constraint", "fields"),
        [
            ("sglang", "chat", {"regex": "a+"}, {"regex": "a+"}),
            ("sglang", "chat", {"grammar": "root ::= x"}, {"ebnf": "root ::= x"}),
            ("sglang", "completions", {"json_schema": '{"a": 1.0}'}, {"json_schema": '{"a": 1.0}'}),
            ("sglang", "chat", {"choices": ("a",)}, None),
            ("llamacpp", "chat", {"grammar": "root ::= x"}, {"grammar": "root ::= x"}),
            ("llamacpp", "completions", {"json_schema": '{"a":1}'}, {"json_schema": {"a": 1}}),
            ("llamacpp", "chat", {"choices": ('a"b', "c\\\n")}, {"grammar": 'root ::= "a\\"b" | "c\\\\\\n"'}),
            ("llamacpp", "chat", {"regex": "a"}, None),
            ("ollama", "chat", {"regex": "a"}, None),
            ("ollama", "completions", {"json_schema": "{}"}, None),
            ("tgi", "chat", {"regex": "a+"}, {"response_format": {"type": "regex", "value": "a+"}}),
            (
                "tgi",
                "chat",
                {"json_schema": "{}"},
                {"response_format": {"type": "json_schema", "value": {"name": "output", "schema": {}}}},
            ),
            ("tgi", "completions", {"regex": "a"}, None),
            ("litellm", "chat", {"grammar": "x"}, None),
            (
                "llamacpp-python",
                "chat",
                {"json_schema": '{"a":1}'},
                {"response_format": {"type": "json_object", "schema": {"a": 1}}},
            ),
            ("llamacpp-python", "completions", {"choices": ("a",)}, {"grammar": 'root ::= "a"'}),
            ("llamacpp-python", "chat", {"regex": "a"}, None),
            ("transformers", "chat", {"json_schema": "{}"}, None),
        ],
    )
    def test_constraints(self, name: str, api: str, constraint: Any, fields: dict[str, Any] | None):
        """Each form of constraint is sent in the server's field, or rejected."""
        output_constraint = OutputConstraint(**constraint)
        if fields is None:
            with pytest.raises(UnsupportedFeature):
                encode(name, api, constraint=output_constraint)
        else:
            assert encode(name, api, constraint=output_constraint).items() >= fields.items()

    @pytest.mark.parametrize("name", ["vllm", "sglang", "llamacpp", "tgi", "litellm", "ollama"])
    def test_json_schema_in_chat(self, name: str):
        """Each dialect sends a `response_format`. TGI has its own form of it."""
        assert "response_format" in encode(name, constraint=OutputConstraint(json_schema="{}"))

    def test_logprobs_of_llama_cpp(self):
        """It gets at least 1 alternative, because 0 turns logprobs off. Logprobs with tools are rejected."""
        output = OutputOptions(top_logprob_count=0)
        assert encode("llamacpp", output=output)["top_logprobs"] == 1
        assert encode("llamacpp", "completions", output=output)["logprobs"] == 1
        assert "top_logprobs" not in encode("vllm", output=output)
        with pytest.raises(UnsupportedFeature, match="together with tools"):
            encode("llamacpp", output=output, tools=(Tool(name="f"),))

    @pytest.mark.parametrize(
        ("name", "mode", "fields"),
        [
            ("ollama", ToolChoice(mode="required"), None),
            ("ollama", ToolChoice(mode="function", function_name="f"), None),
            ("ollama", ToolChoice(disable_parallel_calls=True), None),
            ("ollama", ToolChoice(mode="none"), {}),
            ("tgi", ToolChoice(mode="required"), {"tool_choice": "required"}),
            ("tgi", ToolChoice(disable_parallel_calls=True), None),
            ("vllm", ToolChoice(mode="none"), {"tool_choice": "none"}),
        ],
    )
    def test_tool_choice(self, name: str, mode: ToolChoice, fields: dict[str, Any] | None):
        """Modes the server does not support are rejected, except `none`: then the tools are omitted."""
        if fields is None:
            with pytest.raises(UnsupportedFeature):
                encode(name, tools=(Tool(name="f"),), tool_choice=mode)
            return
        body = encode(name, tools=(Tool(name="f"),), tool_choice=mode)
        assert {key: body[key] for key in ("tool_choice",) if key in body} == fields
        assert ("tools" in body) is (name != "ollama")

    def test_images_of_ollama(self):
        """Ollama does not fetch images, so an http URI is rejected."""
        by_uri, by_data = ImagePart(uri="https://x/a.png"), ImagePart(uri="data:image/png;base64,AP8=")
        encode("ollama", messages=(Message(role=Role.USER, parts=(by_data,)),))
        with pytest.raises(UnsupportedFeature, match="as bytes or as a data URI"):
            encode("ollama", messages=(Message(role=Role.USER, parts=(by_uri,)),))

    def test_reasoning(self):
        """Budgets are sent or rejected. Earlier reasoning goes into the field that the server reads."""
        budget = Thinking(token_budget=2000)
        assert encode("litellm", reasoning=budget)["thinking"] == {"type": "enabled", "budget_tokens": 2000}
        for name in ("sglang", "llamacpp", "ollama"):
            with pytest.raises(UnsupportedFeature, match=r"set reasoning\.effort"):
                encode(name, reasoning=budget)
        with pytest.raises(UnsupportedFeature, match="reasoning"):
            encode("tgi", reasoning=Thinking(effort="low"))
        earlier = Message(role=Role.ASSISTANT, parts=(ReasoningPart(text="hm", opaque=b""),))
        for name, fields in {"sglang": {"reasoning_content"}, "ollama": {"reasoning"}, "tgi": set()}.items():
            sent = encode(name, messages=(*CHAT.messages, earlier))["messages"][1]
            assert sent.keys() - {"role", "content"} == fields


class TestCapabilities:
    """Capabilities by dialect, API and settings."""

    @pytest.mark.parametrize("api", ["auto", "chat", "completions"])
    @pytest.mark.parametrize("name", DIALECTS)
    def test_what_both_apis_must_support(self, name: str, api: str):
        """The core may need ids and continuations for any request, so every API in use must support them."""
        result = capabilities(DIALECTS[name], api)
        rows = [DIALECTS[name].chat, DIALECTS[name].completions]
        used = {"auto": rows, "chat": rows[:1], "completions": rows[1:]}[api]
        if api == "auto" and DIALECTS[name].prompt_api is Api.CHAT:
            used = rows[:1]
        for capability in (Capability.TOKEN_IDS, Capability.CONTINUE_TEXT):
            assert (capability in result) is all(capability in row.capabilities for row in used)

    def test_settings_change_the_capabilities(self):
        """Settings add and remove capabilities. The encoder accepts the added ones."""
        settings = engine_settings(
            name="m",
            kind="openai",
            base_url="http://x/v1",
            dialect="ollama",
            extra_capabilities=(Capability.CONTINUE_TEXT,),
            missing_capabilities=(Capability.TOOLS, Capability.IMAGES),
        )
        result = create(settings, None).capabilities
        assert Capability.CONTINUE_TEXT in result
        assert not {Capability.TOOLS, Capability.IMAGES} & result
        body = encode_request(
            GenerationRequest(prompt="a", output=OutputOptions(top_logprob_count=1)),
            api=Api.COMPLETIONS,
            dialect=DIALECTS["ollama"],
            model="m",
            extra_capabilities=frozenset({Capability.LOGPROBS}),
        )
        assert json.loads(body)["logprobs"] == 1
        with pytest.raises(UnsupportedFeature):
            encode("ollama", "completions", output=OutputOptions(top_logprob_count=1))

    @pytest.mark.parametrize(
        ("dialect", "api", "output", "field"),
        [
            ("sglang", Api.CHAT, OutputOptions(token_ids=True), "return_token_ids"),
            ("generic", Api.COMPLETIONS, OutputOptions(token_ids=True), "return_token_ids"),
            ("tgi", Api.CHAT, OutputOptions(raw_bytes=True), "logprobs"),
        ],
    )
    def test_extra_capabilities_are_sent(self, dialect: str, api: Api, output: OutputOptions, field: str):
        """What an extra capability allows is also requested from the server."""
        request = GenerationRequest(prompt="a", output=output)
        extra = frozenset({Capability.TOKEN_IDS, Capability.RAW_BYTES})
        body = encode_request(
            request, api=api, dialect=DIALECTS[dialect], model="m", extra_capabilities=extra
        )
        assert json.loads(body)[field] is True

    @pytest.mark.parametrize(
        ("capability", "settings"),
        [
            (Capability.REGEX, {}),
            (Capability.CHOICES, {"dialect": "sglang"}),
            (Capability.GRAMMAR, {"dialect": "tgi"}),
            (Capability.TOOLS, {"api": "completions"}),
            (Capability.RAW_BYTES, {"api": "completions"}),
            (Capability.JSON_SCHEMA, {"dialect": "openai", "api": "completions"}),
            (Capability.PROMPT_TOKEN_IDS, {"api": "chat"}),
        ],
    )
    def test_capabilities_without_a_field(self, capability: Capability, settings: dict[str, Any]):
        """A capability for which nothing could be sent is refused by the settings."""
        with pytest.raises(ConfigError, match=f"no field for {capability}"):
            engine_settings(
                name="m", kind="openai", base_url="http://x/v1", extra_capabilities=(capability,), **settings
            )

    @pytest.mark.parametrize("capability", [Capability.TOOLS, Capability.RAW_BYTES])
    def test_capabilities_of_the_other_api(self, capability: Capability):
        """A request is rejected if its own API has no field for an extra capability."""
        requests: dict[Capability, dict[str, Any]] = {
            Capability.TOOLS: {"tools": (Tool(name="f"),)},
            Capability.RAW_BYTES: {"output": OutputOptions(raw_bytes=True)},
        }
        with pytest.raises(UnsupportedFeature):
            encode_request(
                GenerationRequest(prompt="a", **requests[capability]),
                api=Api.COMPLETIONS,
                dialect=DIALECTS["generic"],
                model="m",
                extra_capabilities=frozenset({capability}),
            )

    @pytest.mark.parametrize("name", DIALECTS)
    def test_every_field_is_owned(self, name: str):
        """No field that the encoder sends can be set through engine_params."""
        dialect = DIALECTS[name]
        fields = set(dialect.base_fields) | set(dialect.prefill_fields) | set(dialect.budget_fields or ())
        for api in Api:
            row = dialect.row(api)
            fields |= {row.max_tokens, *row.sampling.values(), *row.token_id_fields}
            for form, encoder in row.constraints.items():
                fields |= set(encoder(["a"] if form == "choices" else msgspec.Raw(b"{}")))
        fields |= set(encode(name, tools=(Tool(name="f"),)))
        if Capability.LOGPROBS in dialect.chat.capabilities:
            fields |= set(encode(name, output=OutputOptions(top_logprob_count=2)))
        assert fields <= OWNED_ENGINE_PARAMS
