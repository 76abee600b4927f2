"""vLLM reads exactly the tokens that the model's own template and tokenizer give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import aiohttp
from smg_vllm import vllm_engine_pb2
from tokenstreaming.v1 import input_pb2

from tests.real_engines.bench import PROMPT, Bench
from tests.real_engines.vllm import VLLM_GRPC, VLLM_HTTP

if TYPE_CHECKING:
    from tests.real_engines.kind import Kind
    from tests.support.harness import Outcome

ROLES: Final = {
    "system": input_pb2.ROLE_SYSTEM,
    "user": input_pb2.ROLE_USER,
    "assistant": input_pb2.ROLE_ASSISTANT,
}
WITH_IDS: Final = input_pb2.OutputOptions(include_token_ids=True)

# Texts that a template and a tokenizer may change: spaces at the ends, marks of the template, several lines.
TALKS: Final = (
    [("user", "hello")],
    [
        ("system", "Be brief."),
        ("user", "  What is 日本 🦜? \n"),
        ("assistant", "A token."),
        ("user", "<|end|>\nNo."),
    ],
    [("user", "a\n\n b"), ("assistant", "?"), ("user", "<|start|>user\n<|begin|>x")],
)
ARGUMENTS: Final = '{"city":"Köln",  "days":[1, 2.50, null], "html":"<b>\'&\'</b>"}'


def runs_on(kind: Kind) -> bool:
    """Returns whether these cases are for this engine."""
    return kind is VLLM_HTTP or kind is VLLM_GRPC


def ids_of(outcome: Outcome) -> list[int]:
    return [token.id for token in outcome.tokens]


def ids_read(bench: Bench) -> list[int]:
    """Returns the input of the last request, as the bytes between tokengrpc and the engine have it."""
    if bench.kind is VLLM_GRPC:
        *_, last = (
            request
            for request in map(
                vllm_engine_pb2.GenerateRequest.FromString, bench.recorder.grpc_messages_sent()
            )
            if request.HasField("tokenized")
        )
        return list(last.tokenized.input_ids)
    told = [
        payload.get("prompt_token_ids") or payload["choices"][0].get("prompt_token_ids")
        for payload in bench.recorder.payloads()
        if payload["choices"]
    ]
    return [ids for ids in told if ids][-1]


async def tokenized(bench: Bench, **fields: Any) -> list[int]:
    """Returns the tokens that vLLM itself makes of a prompt or of messages."""
    url = bench.engine.direct_url.removesuffix("/v1") + "/tokenize"
    body = {"model": bench.kind.model, **fields}
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
        return list((await answer.json())["tokens"])


async def test_a_prompt_is_read_with_its_first_token(bench: Bench):
    for prompt in (PROMPT, "x", "  two  spaces \n", "<|start|>user\nhello<|end|>", "e\u0301\u200d👩🏽‍🚀"):
        await bench.stream(prompt=prompt, max_output_token_count=1, output=WITH_IDS)
        read = ids_read(bench)
        assert read == await tokenized(bench, prompt=prompt, add_special_tokens=True), prompt
        assert read.count(read[0]) == 1


async def test_a_conversation_is_read_as_its_template(bench: Bench):
    for talk in TALKS:
        messages = [input_pb2.ConversationMessage(role=ROLES[role], text=text) for role, text in talk]
        outcome = await bench.stream(
            conversation=input_pb2.Conversation(messages=messages), max_output_token_count=1, output=WITH_IDS
        )
        assert outcome.code.name == "OK", outcome.message
        expected = await tokenized(bench, messages=[{"role": role, "content": text} for role, text in talk])
        assert ids_read(bench) == expected, talk


async def test_earlier_tool_calls_are_read_as_its_template(bench: Bench):
    call = input_pb2.ToolCall(id="call-1", function_name="weather", arguments=ARGUMENTS)
    result = input_pb2.ToolResult(tool_call_id="call-1", text="12° ☔")
    parts = (
        (input_pb2.ROLE_USER, input_pb2.MessagePart(text="The weather?")),
        (input_pb2.ROLE_ASSISTANT, input_pb2.MessagePart(tool_call=call)),
        (input_pb2.ROLE_TOOL, input_pb2.MessagePart(tool_result=result)),
    )
    messages = [input_pb2.ConversationMessage(role=role, parts=[part]) for role, part in parts]
    outcome = await bench.stream(
        conversation=input_pb2.Conversation(messages=messages), max_output_token_count=1, output=WITH_IDS
    )
    assert outcome.code.name == "OK", outcome.message
    function = {"name": "weather", "arguments": ARGUMENTS}
    expected = await tokenized(
        bench,
        messages=[
            {"role": "user", "content": "The weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call-1", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "call-1", "content": "12° ☔"},
        ],
    )
    assert ids_read(bench) == expected


async def test_the_token_ids_equal_the_engines_own(bench: Bench):
    own = await bench.ask(return_token_ids=True, max_tokens=64)
    outcome = await bench.stream(max_output_token_count=64, output=WITH_IDS)
    assert ids_of(outcome) == own.body["choices"][0]["token_ids"]
    assert all(token.count == 1 for token in outcome.tokens)
