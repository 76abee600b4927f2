"""Encoder of a conversation into Anthropic's format.

The system text is a separate field, roles must alternate, and contents are lists of blocks.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_to_bytes

import msgspec

from tokengrpc.core.json_text import is_json_object
from tokengrpc.core.request import ImagePart, ReasoningPart, Role, TextPart, ToolCallPart, ToolResultPart
from tokengrpc.engines.anthropic.reasoning import reasoning_block
from tokengrpc.errors import InvalidRequest

if TYPE_CHECKING:
    from tokengrpc.core.request import GenerationRequest, Message, Part

# The API expects tool results in user messages.
_ROLES = {Role.USER: "user", Role.TOOL: "user", Role.ASSISTANT: "assistant"}


def system_text(request: GenerationRequest) -> str:
    """Returns all system messages as one text. The API has a single field for them, outside the messages."""
    messages = request.messages or ()
    return "\n\n".join(message.text for message in messages if message.role is Role.SYSTEM)


def user_and_assistant_messages(request: GenerationRequest) -> list[dict[str, Any]]:
    """Returns the messages, with consecutive messages of the same role merged.

    A prompt becomes a single user message. Raises InvalidRequest if the arguments of a tool call are not a
    JSON object.
    """
    if request.messages is None:
        return [{"role": "user", "content": [_text(request.prompt or "")]}]
    merged: list[dict[str, Any]] = []
    for number, message in enumerate(request.messages):
        if message.role is Role.SYSTEM:
            continue
        role, content = _ROLES[message.role], _content(message, f"conversation.messages[{number}]")
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += content
        elif content:
            merged.append({"role": role, "content": content})
    return merged


def _content(message: Message, path: str) -> list[dict[str, Any]]:
    blocks = (_block(part, f"{path}.parts[{number}]") for number, part in enumerate(message.parts))
    return [block for block in blocks if block is not None]


def _block(part: Part, path: str) -> dict[str, Any] | None:
    """Returns the block for a part; None for empty text and for reasoning without a signature."""
    match part:
        case TextPart():
            return _text(part.text) if part.text else None
        case ImagePart():
            return {"type": "image", "source": _image_source(part)}
        case ReasoningPart():
            return reasoning_block(part)
        case ToolCallPart():
            arguments = _json_object(part.arguments, f"{path}.tool_call.arguments")
            return {"type": "tool_use", "id": part.id, "name": part.function_name, "input": arguments}
        case ToolResultPart():
            block = {"type": "tool_result", "tool_use_id": part.tool_call_id, "content": part.text}
            return {**block, "is_error": True} if part.is_error else block


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _image_source(image: ImagePart) -> dict[str, Any]:
    if image.data:
        data = base64.b64encode(image.data).decode()
        return {"type": "base64", "media_type": image.media_type, "data": data}
    if image.uri[:5].lower() == "data:":
        return _embedded(image.uri[5:])
    return {"type": "url", "url": image.uri}


def _embedded(uri: str) -> dict[str, Any]:
    """Returns the source for a data URI (RFC 2397) without its scheme.

    Its media type may have parameters, and its data may be percent-encoded.
    """
    header, _, data = uri.partition(",")
    media_type, *parameters = (part.strip().lower() for part in header.split(";"))
    if parameters and parameters[-1] == "base64":
        data = "".join(unquote(data).split())
    else:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return {"type": "base64", "media_type": media_type, "data": data}


def _json_object(text: str, path: str) -> msgspec.Raw:
    """Returns the JSON text of an object, to be embedded unchanged. Empty text becomes an empty object."""
    data = (text or "{}").encode("utf-8", "replace")
    if not is_json_object(data):
        raise InvalidRequest([(path, "must be a JSON object for this engine")])
    return msgspec.Raw(data)
