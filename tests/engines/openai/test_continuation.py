"""Going on where another engine stopped: what OpenAI-compatible servers are asked, and what is refused."""

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
BEGUN = (*HELLO, Message(role=Role.ASSISTANT, parts=(TextPart(text="Once"),)))
CHAT: dict[str, Any] = {"messages": HELLO}
PROMPT: dict[str, Any] = {"prompt": "Once"}
IDS = Continuation(token_ids=(100, 101), text="upon a", prompt_token_ids=tuple(PROMPT_IDS))
TEXT = Continuation(token_ids=None, text="upon a")
ANSWER = {"role": "assistant", "content": "upon a"}


async def go_on(before: Continuation, dialect: str, request: dict[str, Any], **settings: Any) -> Call:
    """What the server is asked; what it adds must arrive."""
    async with ScriptedEngine(VLLM) as server:
        server.script(Text(" time"), Finish(), Done())
        made = engine_settings(name="m", kind="openai", base_url=server.base_url, dialect=dialect, **settings)
        engine = create(made, None)
        await engine.start()
        try:
            async with aclosing(engine.generate(GenerationRequest(**request), before)) as batches:
                deltas = [delta async for batch in batches for delta in batch]
        finally:
            await engine.close()
        assert "".join(delta.text or "" for delta in deltas) == " time"
        assert deltas[-1].finish is not None
        return await server.called()


class TestByIds:
    """Input and output as ids, over completions."""

    @pytest.mark.parametrize("dialect", ["vllm", "sglang", "llamacpp"])
    @pytest.mark.parametrize("request_", [CHAT, PROMPT], ids=["chat", "prompt"])
    async def test_all_ids(self, dialect: str, request_: dict[str, Any]):
        """The template and its reasoning effort are in the ids; nothing is asked of it again."""
        effort = {"reasoning": Reasoning(effort="low")} if request_ is CHAT else {}
        call = await go_on(IDS, dialect, request_ | effort)
        assert call.path == "/v1/completions"
        assert call.body["prompt"] == [*PROMPT_IDS, 100, 101]
        assert not {"messages", "reasoning_effort"} & call.body.keys()

    async def test_ids_of_the_request(self):
        """Those that the caller sent are the input."""
        before = Continuation(token_ids=(100,), text="a")
        call = await go_on(
            before, "vllm", {"prompt_token_ids": (5, 6), "output": OutputOptions(token_ids=True)}
        )
        assert call.body["prompt"] == [5, 6, 100]
        assert call.body["return_token_ids"] is True

    @pytest.mark.parametrize(
        "asked",
        [
            {"tools": (Tool(name="f"),)},
            {"constraint": OutputConstraint(json_schema="{}")},
            {"output": OutputOptions(raw_bytes=True)},
            {"sampling": Sampling(stop_sequences=("x",))},
        ],
        ids=lambda asked: next(iter(asked)),
    )
    async def test_what_ids_do_not_tell(self, asked: dict[str, Any]):
        """It is refused; from the text it goes on over chat, which knows all that."""
        with pytest.raises(UnsupportedFeature):
            await go_on(IDS, "vllm", CHAT | asked)
        call = await go_on(TEXT, "vllm", CHAT | asked)
        assert call.path == "/v1/chat/completions"
        assert call.body["messages"][-1] == ANSWER

    async def test_what_is_left(self):
        """The maximum is what is left, and asked for as it is."""
        call = await go_on(IDS, "vllm", CHAT | {"max_output_token_count": 5})
        assert call.body["max_tokens"] == 5


class TestByText:
    """The text so far: the prompt goes on, or the answer is begun."""

    @pytest.mark.parametrize("dialect", ["vllm", "sglang", "llamacpp", "tgi"])
    async def test_a_prompt(self, dialect: str):
        """It just goes on."""
        call = await go_on(TEXT, dialect, PROMPT)
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
    async def test_a_conversation(self, dialect: str, fields: dict[str, Any]):
        """The last message is the assistant's, with what makes the server go on with it."""
        call = await go_on(TEXT, dialect, CHAT)
        assert call.body["messages"] == [{"role": "user", "content": "Hi"}, ANSWER]
        names = ("continue_final_message", "add_generation_prompt")
        assert {name: call.body[name] for name in names if name in call.body} == fields

    async def test_a_prompt_over_chat(self):
        """It is a user's message, and the answer is begun."""
        call = await go_on(TEXT, "vllm", PROMPT, api="chat")
        assert call.body["messages"] == [{"role": "user", "content": "Once"}, ANSWER]

    async def test_a_model_that_can(self):
        """The settings know more than the dialect."""
        call = await go_on(TEXT, "ollama", CHAT, extra_capabilities=(Capability.CONTINUE_TEXT,))
        assert call.body["messages"][-1] == ANSWER


@pytest.mark.parametrize(
    ("dialect", "before", "request_"),
    [
        ("generic", TEXT, CHAT),
        ("openai", TEXT, CHAT),
        ("ollama", TEXT, PROMPT),
        ("litellm", IDS, CHAT),
        ("vllm", Continuation(token_ids=None, text=""), CHAT),
        ("vllm", Continuation(token_ids=(100,), text="upon a"), CHAT),
        ("vllm", TEXT, {"messages": BEGUN}),
        ("vllm", TEXT, {"prompt_token_ids": (1, 2)}),
        ("tgi", Continuation(token_ids=None, text="upon "), CHAT),
    ],
    ids=[
        *(
            "generic",
            "openai",
            "ollama",
            "litellm",
            "nothing yet",
            "unknown input",
            "begun before",
            "ids without ids",
        ),
        "trimmed",
    ],
)
async def test_what_is_refused(dialect: str, before: Continuation, request_: dict[str, Any]):
    """Before the server is asked: what it would add might not fit."""
    settings = engine_settings(name="m", kind="openai", base_url="http://127.0.0.1:9/v1", dialect=dialect)
    engine = create(settings, None)
    await engine.start()
    with pytest.raises(UnsupportedFeature, match="generated anew"):
        await anext(engine.generate(GenerationRequest(**request_), before))
    await engine.close()
