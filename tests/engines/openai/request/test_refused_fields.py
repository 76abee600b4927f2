"""Servers that refuse optional request fields: settings omit them, and the dialect generic learns them."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from aiohttp import web

from tests.support.engine_runs import answer, run
from tests.support.scripted_engine import Call, Done, Finish, ScriptedEngine, Text
from tokengrpc.config import ConfigError, engine_settings
from tokengrpc.core.request import (
    GenerationRequest,
    Message,
    ReasoningPart,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from tokengrpc.engines.openai.engine import OpenAIEngine, create
from tokengrpc.engines.openai.request.optional_fields import OptionalField, omit_fields, refused_fields
from tokengrpc.errors import ContextLengthExceeded, EngineBusy, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PROMPT = GenerationRequest(prompt="Once", max_output_token_count=5)


def message(role: Role, *parts: Any) -> Message:
    return Message(
        role=role, parts=tuple(TextPart(text=part) if isinstance(part, str) else part for part in parts)
    )


OPAQUE = b'call:{"extra_content":{"google":{"thought_signature":"x"}}}'
TALK = GenerationRequest(
    messages=(
        message(Role.USER, "Hi"),
        message(
            Role.ASSISTANT,
            ReasoningPart(text="Hm", opaque=b""),
            ToolCallPart(id="c", function_name="f", arguments="{}", opaque=OPAQUE),
        ),
        message(Role.TOOL, ToolResultPart(tool_call_id="c", text="1", is_error=False)),
    ),
    max_output_token_count=5,
    tools=(Tool(name="f"),),
    tool_choice=ToolChoice(disable_parallel_calls=True),
)


def pydantic(*places: list[Any]) -> dict[str, Any]:
    """FastAPI's refusal of unknown fields."""
    return {
        "detail": [
            {"type": "extra_forbidden", "loc": place, "msg": "Extra inputs are not permitted", "input": {}}
            for place in places
        ]
    }


def openai(text: str, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": text, "type": "invalid_request_error", "param": param, "code": None}}


def has(body: dict[str, Any], field: str) -> bool:
    """Whether a body has a field, at the top, in a message or in a tool call."""
    parts = [body, *body.get("messages", ())]
    parts += [call for part in parts for call in part.get("tool_calls") or ()]
    return any(field in part for part in parts)


@dataclass
class Refuses:
    """A step that refuses each call that has one of the fields. `refusals` has status and body by field."""

    refusals: dict[str, tuple[int, object]]

    async def run(self, call: Call) -> web.StreamResponse | None:
        for field, (status, body) in self.refusals.items():
            if has(call.body, field):
                call.finished.set()
                text = body if isinstance(body, str) else json.dumps(body)
                return web.Response(status=status, text=text, content_type="application/json")
        return None


ANSWER = (Text("a"), Finish(), Done())


@asynccontextmanager
async def picky(**settings: Any) -> AsyncIterator[tuple[Callable[..., None], OpenAIEngine, ScriptedEngine]]:
    async with ScriptedEngine() as server:
        engine = create(engine_settings(name="m", kind="openai", base_url=server.base_url, **settings), None)
        await engine.start()

        def refuse(**refusals: tuple[int, object]) -> None:
            server.script(Refuses(refusals), *ANSWER)

        try:
            yield refuse, engine, server
        finally:
            await engine.close()


class TestLearning:
    """The dialect generic repeats a refused call without the field, and remembers it."""

    @pytest.mark.parametrize(
        ("field", "status", "refusal"),
        [
            ("stream_options", 422, pydantic(["body", "stream_options"])),
            ("stream_options", 422, ""),
            ("stream_options", 422, {"detail": "Extra inputs are not permitted"}),
            ("stream_options", 400, openai("Unrecognized request argument supplied: stream_options")),
            ("stream_options", 400, openai("no", param="stream_options")),
            ("stream_options", 400, {"message": "json: unknown field \"stream_options\""}),
            ("stream_options", 400, "stream_options is not supported"),
            ("stream_options", 400, {"error": "additional properties are not allowed"}),
            ("parallel_tool_calls", 400, openai("Unknown parameter: 'parallel_tool_calls'.")),
            ("parallel_tool_calls", 422, pydantic(["body", "parallel_tool_calls"])),
            ("reasoning_content", 400, openai("reasoning_content must not be in the messages")),
            ("reasoning_content", 400, openai("'messages.1' : property 'reasoning_content' is unsupported")),
            ("reasoning", 422, pydantic(["body", "messages", 1, "assistant", "reasoning"])),
            ("reasoning", 400, openai("property 'reasoning' is unsupported", param="messages.1.reasoning")),
            ("extra_content", 400, openai("tool_calls.0: 'extra_content' was unexpected")),
            (
                "max_tokens",
                400,
                openai(
                    "Unsupported parameter: 'max_tokens' is not supported with this model. "
                    "Use 'max_completion_tokens' instead.",
                    param="max_tokens",
                ),
            ),
            ("max_tokens", 400, openai("max_tokens is deprecated, use max_completion_tokens")),
            ("max_tokens", 422, pydantic(["body", "max_tokens"])),
        ],
    )  # fmt: skip
    async def test_a_refused_field(self, field: str, status: int, refusal: object):
        """The call is repeated once without the field. The next call is sent without it at once."""
        async with picky() as (refuse, engine, server):
            refuse(**{field: (status, refusal)})
            with structlog.testing.capture_logs() as logs:
                for expected in (2, 3):
                    deltas, error = await run(engine, TALK)
                    assert (answer(deltas), error) == ("a", None)
                    assert len(server.calls) == expected
            first, second, third = (call.body for call in server.calls)
            assert has(first, field)
            for body in (second, third):
                assert not has(body, field)
                others = {name: value for name, value in first.items() if name not in {field, "messages"}}
                assert others.items() <= body.items()
                assert body.get("max_tokens", body.get("max_completion_tokens")) == 5
            told = [entry for entry in logs if entry["log_level"] == "warning"]
            assert [(entry["engine"], entry["fields"]) for entry in told] == [("m", field)]

    async def test_several_refused_fields(self):
        """Each field is learned, whether the server names them in one refusal or in several."""
        places = (["body", "stream_options"], ["body", "messages", 1, "assistant", "reasoning"])
        for refusals, calls in (
            ({"stream_options": (422, pydantic(*places)), "reasoning": (422, pydantic(places[1]))}, 2),
            (
                {
                    "stream_options": (400, openai("no stream_options")),
                    "reasoning": (400, openai("no reasoning")),
                },
                3,
            ),
            ({"reasoning": (422, ""), "stream_options": (422, "")}, 4),
        ):
            async with picky() as (refuse, engine, server):
                refuse(**refusals)
                assert (await run(engine, TALK))[1] is None
                assert len(server.calls) <= calls + 1
                if refusals["reasoning"][1] == "":  # unnamed fields are learned one by one
                    assert (await run(engine, TALK))[1] is None
                before = len(server.calls)
                assert (await run(engine, TALK))[1] is None
                assert len(server.calls) == before + 1

    async def test_guesses_that_did_not_matter(self):
        """If the server names no field, only the one without which it accepted the call is remembered."""
        async with picky() as (refuse, engine, server):
            refuse(reasoning=(422, ""))
            for _ in range(2):
                assert (await run(engine, TALK))[1] is None
            last = server.calls[-1].body
            assert "stream_options" in last
            assert not has(last, "reasoning")

    @pytest.mark.parametrize(
        ("status", "refusal", "error"),
        [
            (400, openai("temperature must be at most 2", param="temperature"), InvalidRequest),
            (422, pydantic(["body", "temperature"]), InvalidRequest),
            (400, openai("bad request"), InvalidRequest),
            (400, openai("max_tokens is too large: 5. It must be at most 4"), InvalidRequest),
            (
                400,
                openai("maximum context length is 8, max_tokens 5: stream_options"),
                ContextLengthExceeded,
            ),
            (429, openai("stream_options: slow down"), EngineBusy),
        ],
    )
    async def test_other_refusals(self, status: int, refusal: object, error: type):
        """A refusal for another reason is not repeated."""
        async with picky() as (refuse, engine, server):
            refuse(model=(status, refusal))
            assert isinstance((await run(engine, PROMPT))[1], error)
            assert len(server.calls) == 1

    async def test_a_field_that_was_not_the_reason(self):
        """If the repeated call is refused as well, its error counts, and nothing is remembered."""
        async with picky() as (refuse, engine, server):
            refuse(model=(400, openai("the prompt mentions stream_options")))
            assert isinstance((await run(engine, PROMPT))[1], InvalidRequest)
            assert ["stream_options" in call.body for call in server.calls] == [True, False]
            refuse()
            assert (await run(engine, PROMPT))[1] is None
            assert "stream_options" in server.calls[-1].body

    @pytest.mark.parametrize("dialect", ["openai", "vllm", "sglang"])
    async def test_other_dialects_do_not_learn(self, dialect: str):
        """A dialect that is known says what its server takes."""
        async with picky(dialect=dialect, api="chat") as (refuse, engine, server):
            refuse(stream_options=(422, pydantic(["body", "stream_options"])))
            assert isinstance((await run(engine, PROMPT))[1], InvalidRequest)
            assert len(server.calls) == 1


class TestSettings:
    """`omit_fields` names the fields that are never sent."""

    @pytest.mark.parametrize("dialect", ["generic", "vllm", "litellm"])
    async def test_omitted(self, dialect: str):
        """None of them is sent, in any dialect."""
        fields = ("stream_options", "parallel_tool_calls", "reasoning_content", "reasoning", "extra_content")
        async with picky(dialect=dialect, omit_fields=fields) as (refuse, engine, server):
            refuse()
            assert (await run(engine, TALK))[1] is None
            assert not any(has(server.calls[0].body, field) for field in fields)

    async def test_the_limit_keeps_a_name(self):
        """The output token limit is sent under its other name."""
        for field, other in (
            ("max_tokens", "max_completion_tokens"),
            ("max_completion_tokens", "max_tokens"),
        ):
            dialect = "generic" if field == "max_tokens" else "openai"
            async with picky(dialect=dialect, omit_fields=(field,)) as (refuse, engine, server):
                refuse()
                assert (await run(engine, TALK))[1] is None
                assert (server.calls[0].body.get(field), server.calls[0].body[other]) == (None, 5)
        with pytest.raises(ConfigError, match="omit_fields: max_tokens or max_completion_tokens"):
            engine_settings(
                name="m",
                kind="openai",
                base_url="http://x",
                omit_fields=("max_tokens", "max_completion_tokens"),
            )

    def test_unknown_names(self):
        """A field that an answer needs cannot be omitted."""
        with pytest.raises(ConfigError, match="omit_fields"):
            engine_settings(name="m", kind="openai", base_url="http://x", omit_fields=("messages",))


def test_every_optional_field_can_be_refused():
    """Each one is found at its place in the request that was sent."""
    for field in OptionalField.__args__:  # type: ignore[attr-defined] # a Literal has it
        call = {"id": "c", field: 1}
        for body in ({field: 1}, {"messages": [{field: 1}]}, {"messages": [{"tool_calls": [call]}]}):
            sent = json.dumps(body).encode()
            assert refused_fields(400, f"unknown field {field}".encode(), sent).fields == {field}
            omit_fields(body, {field})
            assert not has(body, field)
