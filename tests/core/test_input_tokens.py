"""The length of an input decides where it is counted."""

from __future__ import annotations

from tokengrpc.core.input_tokens import input_length
from tokengrpc.core.request import (
    GenerationRequest,
    ImagePart,
    Message,
    ReasoningPart,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)


def test_the_length_is_that_of_all_texts():
    """Texts, reasoning, results, calls with their arguments, and tools; images have no text."""
    call = ToolCallPart(id="id", function_name="four", arguments="seven77", opaque=b"opaque")
    messages = (
        Message(
            role=Role.USER, parts=(TextPart(text="one"), ImagePart(data=b"bytes", media_type="image/png"))
        ),
        Message(role=Role.ASSISTANT, parts=(ReasoningPart(text="why", opaque=b"o"), call)),
        Message(role=Role.TOOL, parts=(ToolResultPart(tool_call_id="id", text="ok", is_error=False),)),
    )
    request = GenerationRequest(messages=messages, tools=(Tool(name="t", description="de"),))
    assert [message.length for message in messages] == [3, 3 + 4 + 7, 2]
    assert input_length(request) == 3 + 14 + 2 + 3
    assert input_length(GenerationRequest(prompt="prompt")) == 6


def test_requests_of_many_parts_are_large():
    """However the parts are spread over messages."""
    text = TextPart(text="t")
    assert not GenerationRequest(prompt="p" * 1_000_000).is_large
    assert GenerationRequest(messages=(Message(role=Role.USER, parts=(text,) * 1000),)).is_large
    assert GenerationRequest(messages=(Message(role=Role.USER, parts=(text,)),) * 1000).is_large
    assert GenerationRequest(prompt_token_ids=(1,) * 100_000).is_large
