"""Encoder of a conversation into the `messages` of the chat API."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from tokengrpc.core.request import ImagePart, ReasoningPart, Role, TextPart, ToolCallPart, ToolResultPart
from tokengrpc.engines.openai.calls.opaque import call_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.request import GenerationRequest, Message


def chat_messages(
    request: GenerationRequest, reasoning_fields: Sequence[str], *, call_extras: bool = False
) -> list[dict[str, Any]]:
    """Returns the messages of a request. A prompt becomes a single user message.

    The assistant's reasoning goes into each of `reasoning_fields`; without any it is omitted. `call_extras`
    tells whether the opaque bytes of tool calls are sent back. Raises InvalidRequest if they are malformed.
    """
    if request.messages is None:
        return [{"role": "user", "content": request.prompt}]
    return [
        _message(message, f"conversation.messages[{number}]", reasoning_fields, call_extras=call_extras)
        for number, message in enumerate(request.messages)
    ]


def _message(
    message: Message, path: str, reasoning_fields: Sequence[str], *, call_extras: bool
) -> dict[str, Any]:
    if message.role is Role.TOOL:
        return _tool_result(message)
    if message.role is Role.ASSISTANT:
        return _assistant(message, path, reasoning_fields, call_extras=call_extras)
    return {"role": message.role.value, "content": _content(message)}


def _content(message: Message) -> str | list[dict[str, Any]]:
    """Returns a string if there is no image, because not every server accepts a list of parts."""
    if not any(isinstance(part, ImagePart) for part in message.parts):
        return message.text
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, ImagePart):
            content.append({"type": "image_url", "image_url": {"url": _image_url(part)}})
    return content


def _image_url(image: ImagePart) -> str:
    if image.uri:
        return image.uri
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"


def _assistant(
    message: Message, path: str, reasoning_fields: Sequence[str], *, call_extras: bool
) -> dict[str, Any]:
    calls = [
        {
            "id": part.id,
            "type": "function",
            "function": {"name": part.function_name, "arguments": part.arguments},
            **(call_fields(part, f"{path}.parts[{number}].tool_call.opaque") if call_extras else {}),
        }
        for number, part in enumerate(message.parts)
        if isinstance(part, ToolCallPart)
    ]
    fields: dict[str, Any] = {"role": "assistant", "content": message.text or (None if calls else "")}
    if calls:
        fields["tool_calls"] = calls
    reasoning = "".join(part.text for part in message.parts if isinstance(part, ReasoningPart))
    if reasoning:
        # DeepSeek, llama.cpp and SGLang read reasoning_content; vLLM (vllm#38488) and Ollama read reasoning.
        fields |= dict.fromkeys(reasoning_fields, reasoning)
    return fields


def _tool_result(message: Message) -> dict[str, Any]:
    """Returns a tool message. The API has no field that marks a call as failed; only its text says so."""
    result = next(part for part in message.parts if isinstance(part, ToolResultPart))
    return {"role": "tool", "tool_call_id": result.tool_call_id, "content": result.text}
