"""Continuing another engine's output: the requests to OpenAI-compatible servers, and what is rejected."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from tests.support.scripted_engine import Call, Done, Finish, ScriptedEngine, Text
from tests.support.wire_dialects import PROMPT_IDS, VLLM
from tokengrpc.config import engine_settings
from tokengrpc.core.model import Capability
from tokengrpc.core.ports.engine import Continuation
from tokengrpc.core.request import (
    GenerationRequest,
    Message,
    OutputConstraint,
    OutputOptions,
    Reasoning,
    Role,
    Sampling,
    TextPart,
    Tool,
)
from tokengrpc.engines.openai.engine import create
from tokengrpc.errors import UnsupportedFeature

HELLO = (Message(role=Role.USER, parts=(TextPart(text="Hi"),)),)
PREFILLED = (*HELLO, Message(role=Role.ASSISTANT, parts=(TextPart(text="Once"),)))
CHAT: dict[str, Any] = {"messages": HELLO}
PROMPT: dict[str, Any] = {"prompt": "Once"}
BY_IDS = Continuation(token_ids=(100, 101), text="upon a", prompt_token_ids=tuple(PROMPT_IDS))
BY_TEXT = Continuation(token_ids=None, text="upon a")
ANSWER = {"role": "assistant", "content": "upon a"}


async def continue_on(
    continuation: Continuation, dialect: str, request: dict[str, Any], **settings: Any
) -> Call:
    """Runs a continuation and returns the call that the server received. Checks the resulting deltas."""
    async with ScriptedEngine(VLLM) as server:
        server.script(Text(" time"), Finish(), Done())
        model = engine_settings(
            name="m", kind="openai", base_url=server.base_url, dialect=dialect, **settings
        )
        engine = create(model, None)
        await engine.start()
        try:
            async with aclosing(engine.generate(GenerationRequest(**request), continuation)) as batches:
                deltas = [delta async for batch in batches for delta in batch]
        finally:
            await engine.close()
        assert "".join(delta.text or "" for delta in deltas) == " time"
        assert deltas[-1].finish is not None
        return await server.called()


class TestByIds:
    """Input and output are sent as token ids to the completions API."""

    @pytest.mark.parametrize("dialect", ["vllm", "sglang", "llamacpp"])
    @pytest.mark.parametrize("request_", [CHAT, PROMPT], ids=["chat", "prompt"])
    async def test_all_ids(self, dialect: str, request_: dict[str, Any]):
        """The ids contain the chat template with the reasoning effort, so neither is sent again."""
        effort = {"reasoning": Reasoning(effort="low")} if request_ is CHAT else {}
        call = await continue_on(BY_IDS, dialect, request_ | effort)
        assert call.path == "/v1/completions"
        assert call.body["prompt"] == [*PROMPT_IDS, 100, 101]
        assert not {"messages", "reasoning_effort"} & call.body.keys()

    async def test_ids_of_the_request(self):
        """If the request has prompt_token_ids, they are the input."""
        continuation = Continuation(token_ids=(100,), text="a")
        call = await continue_on(
            continuation, "vllm", {"prompt_token_ids": (5, 6), "output": OutputOptions(token_ids=True)}
        )
        assert call.body["prompt"] == [5, 6, 100]
        assert call.body["return_token_ids"] is True

    @pytest.mark.parametrize(
        "feature",
        [
            {"tools": (Tool(name="f"),)},
            {"constraint": OutputConstraint(regex=" time")},
            {"output": OutputOptions(raw_bytes=True)},
            {"sampling": Sampling(stop_sequences=("x",))},
        ],
        ids=lambda feature: next(iter(feature)),
    )
    async def test_features_that_need_text(self, feature: dict[str, Any]):
        """A continuation by ids is rejected. By text, it runs on the chat API, which supports the feature."""
        with pytest.raises(UnsupportedFeature):
            await continue_on(BY_IDS, "vllm", CHAT | feature)
        call = await continue_on(BY_TEXT, "vllm", CHAT | feature)
        assert call.path == "/v1/chat/completions"
        assert call.body["messages"][-1] == ANSWER

    async def test_remaining_output_tokens(self):
        """The request's limit is already the remaining one, so it is sent unchanged."""
        call = await continue_on(BY_IDS, "vllm", CHAT | {"max_output_token_count": 5})
        assert call.body["max_tokens"] == 5


class TestByText:
    """The text so far is appended to the prompt, or sent as a final assistant message."""

    @pytest.mark.parametrize("dialect", ["vllm", "sglang", "llamacpp", "tgi"])
    async def test_prompt(self, dialect: str):
        """The text is appended to the prompt."""
        call = await continue_on(BY_TEXT, dialect, PROMPT)
        assert (call.path, call.body["prompt"]) == ("/v1/completions", "Onceupon a")

    @pytest.mark.parametrize(
        ("dialect", "fields"),
        [
            ("vllm", {"continue_final_message": True, "add_generation_prompt": False}),
            ("sglang", {"continue_final_message": True}),
            ("llamacpp", {}),
            ("tgi", {}),
        ],
    )
    async def test_conversation(self, dialect: str, fields: dict[str, Any]):
        """The text is the final assistant message, with the fields that make the server continue it."""
        call = await continue_on(BY_TEXT, dialect, CHAT)
        assert call.body["messages"] == [{"role": "user", "content": "Hi"}, ANSWER]
        names = ("continue_final_message", "add_generation_prompt")
        assert {name: call.body[name] for name in names if name in call.body} == fields

    async def test_prompt_on_the_chat_api(self):
        """The prompt is a user message, and the text is the assistant message after it."""
        call = await continue_on(BY_TEXT, "vllm", PROMPT, api="chat")
        assert call.body["messages"] == [{"role": "user", "content": "Once"}, ANSWER]

    async def test_capability_from_the_settings(self):
        """CONTINUE_TEXT in extra_capabilities allows what the dialect does not."""
        call = await continue_on(BY_TEXT, "ollama", CHAT, extra_capabilities=(Capability.CONTINUE_TEXT,))
        assert call.body["messages"][-1] == ANSWER


@pytest.mark.parametrize(
    ("dialect", "continuation", "request_"),
    [
        ("generic", BY_TEXT, CHAT),
        ("openai", BY_TEXT, CHAT),
        ("ollama", BY_TEXT, PROMPT),
        ("litellm", BY_IDS, CHAT),
        ("vllm", Continuation(token_ids=None, text=""), CHAT),
        ("vllm", Continuation(token_ids=(100,), text="upon a"), CHAT),
        ("vllm", BY_TEXT, {"messages": PREFILLED}),
        ("vllm", BY_TEXT, {"prompt_token_ids": (1, 2)}),
        ("tgi", Continuation(token_ids=None, text="upon "), CHAT),
    ],
    ids=[
        *(
            "generic",
            "openai",
            "ollama",
            "litellm",
            "no output yet",
            "unknown input ids",
            "already prefilled",
            "prompt ids, output text",
        ),
        "trailing white space",
    ],
)
async def test_rejected_continuations(dialect: str, continuation: Continuation, request_: dict[str, Any]):
    """A continuation that might not fit seamlessly is rejected before a request is sent."""
    settings = engine_settings(name="m", kind="openai", base_url="http://127.0.0.1:9/v1", dialect=dialect)
    engine = create(settings, None)
    await engine.start()
    with pytest.raises(UnsupportedFeature, match="start a new generation"):
        await anext(engine.generate(GenerationRequest(**request_), continuation))
    await engine.close()
