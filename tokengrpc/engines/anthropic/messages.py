"""A conversation as Anthropic's messages: system text apart, roles by turns, contents in blocks."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from tokengrpc.core.request import ImagePart, ReasoningPart, Role, TextPart, ToolCallPart, ToolResultPart
from tokengrpc.engines.anthropic.reasoning import block_of
from tokengrpc.errors import InvalidRequest

if TYPE_CHECKING:
    from tokengrpc.core.request import GenerationRequest, Message, Part

_DATA_URI = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)

# Results of tools are the user's.
_ROLES = {Role.USER: "user", Role.TOOL: "user", Role.ASSISTANT: "assistant"}


def system_text(request: GenerationRequest) -> str:
    """All instructions, which stand above the talk wherever they were."""
    messages = request.messages or ()
    return "\n\n".join(message.text for message in messages if message.role is Role.SYSTEM)


def turns(request: GenerationRequest) -> list[dict[str, Any]]:
    """The messages, those of one role after another as one; a prompt is a user's only one.

    Raises InvalidRequest for arguments of a tool call that are no JSON object.
    """
    if request.messages is None:
        return [{"role": "user", "content": [_text(request.prompt or "")]}]
    found: list[dict[str, Any]] = []
    for number, message in enumerate(request.messages):
        if message.role is Role.SYSTEM:
            continue
        role, content = _ROLES[message.role], _content(message, f"conversation.messages[{number}]")
        if found and found[-1]["role"] == role:
            found[-1]["content"] += content
        elif content:
            found.append({"role": role, "content": content})
    return found


def _content(message: Message, path: str) -> list[dict[str, Any]]:
    blocks = (_block(part, f"{path}.parts[{number}]") for number, part in enumerate(message.parts))
    return [block for block in blocks if block is not None]


def _block(part: Part, path: str) -> dict[str, Any] | None:
    """None for what has no block: empty text, reasoning without a signature."""
    match part:
        case TextPart():
            return _text(part.text) if part.text else None
        case ImagePart():
            return {"type": "image", "source": _source(part)}
        case ReasoningPart():
            return block_of(part)
        case ToolCallPart():
            arguments = _object(part.arguments, f"{path}.tool_call.arguments")
            return {"type": "tool_use", "id": part.id, "name": part.function_name, "input": arguments}
        case ToolResultPart():
            block = {"type": "tool_result", "tool_use_id": part.tool_call_id, "content": part.text}
            return {**block, "is_error": True} if part.is_error else block


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _source(image: ImagePart) -> dict[str, Any]:
    if image.data:
        data = base64.b64encode(image.data).decode()
        return {"type": "base64", "media_type": image.media_type, "data": data}
    embedded = _DATA_URI.fullmatch(image.uri)
    if embedded is not None:
        return {"type": "base64", "media_type": embedded[1], "data": embedded[2]}
    return {"type": "url", "url": image.uri}


def _object(text: str, path: str) -> msgspec.Raw:
    """JSON text of an object, embedded as it stands; a call without arguments has an empty one."""
    try:
        known = json.loads(text or "{}")
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict):
        raise InvalidRequest([(path, "must be a JSON object for this engine")])
    return msgspec.Raw((text or "{}").encode("utf-8", "replace"))
