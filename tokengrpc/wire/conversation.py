"""Conversion of a Conversation to messages of the domain. Checks which parts each role may send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenstreaming.v1 import input_pb2

from tokengrpc.core.request import (
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

if TYPE_CHECKING:
    from tokengrpc.wire.checks import Checks

_ROLES: dict[int, Role] = {
    input_pb2.ROLE_SYSTEM: Role.SYSTEM,
    input_pb2.ROLE_USER: Role.USER,
    input_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
    input_pb2.ROLE_TOOL: Role.TOOL,
}

_ROLES_OF_PART: dict[str, frozenset[Role]] = {
    "text": frozenset({Role.SYSTEM, Role.USER, Role.ASSISTANT}),
    "image": frozenset({Role.USER}),
    "tool_call": frozenset({Role.ASSISTANT}),
    "tool_result": frozenset({Role.TOOL}),
    "reasoning": frozenset({Role.ASSISTANT}),
}
"""The roles whose messages may contain each kind of part."""

MAX_PARTS = 4096
"""Most messages and parts in one conversation. Limits the time that validation takes."""

_IMAGE_SCHEMES = ("http://", "https://", "data:")


def messages_of(conversation: input_pb2.Conversation, checks: Checks) -> tuple[Message, ...]:
    """Returns the messages; violations are added to `checks`."""
    checks.that(conversation.messages, "conversation.messages", "must contain at least one message")
    size = len(conversation.messages)
    if size <= MAX_PARTS:
        size += sum(len(message.parts) for message in conversation.messages)
    if not checks.that(
        size <= MAX_PARTS,
        "conversation.messages",
        f"must contain at most {MAX_PARTS} messages and parts in total",
    ):
        return ()
    messages = []
    for i, message in enumerate(conversation.messages):
        path = f"conversation.messages[{i}]"
        role = checks.enum(f"{path}.role", message.role, _ROLES) or Role.USER
        messages.append(Message(role=role, parts=_parts(message, role, path, checks)))
    return tuple(messages)


def _parts(message: input_pb2.ConversationMessage, role: Role, path: str, checks: Checks) -> tuple[Part, ...]:
    if message.text:
        checks.that(not message.parts, f"{path}.text", "must not be combined with parts")
        checks.that(
            role is not Role.TOOL, f"{path}.text", "a tool message must contain exactly one tool_result"
        )
        return (TextPart(text=message.text),)
    checks.that(message.parts, path, "must have text or parts")
    if role is Role.TOOL:
        checks.that(
            len(message.parts) == 1, f"{path}.parts", "a tool message must contain exactly one tool_result"
        )
    return tuple(
        part
        for i, sent in enumerate(message.parts)
        if (part := _part(sent, role, f"{path}.parts[{i}]", checks)) is not None
    )


def _part(part: input_pb2.MessagePart, role: Role, path: str, checks: Checks) -> Part | None:
    kind = part.WhichOneof("part")
    if kind is None:
        checks.that(False, path, "exactly one kind of part must be set")
        return None
    checks.that(role in _ROLES_OF_PART[kind], f"{path}.{kind}", f"is not allowed in a message of role {role}")
    if kind == "text":
        return TextPart(text=part.text)
    if kind == "image":
        return _image(part.image, f"{path}.image", checks)
    if kind == "tool_call":
        call = part.tool_call
        checks.that(call.function_name, f"{path}.tool_call.function_name", "must not be empty")
        return ToolCallPart(
            id=call.id, function_name=call.function_name, arguments=call.arguments, opaque=call.opaque
        )
    if kind == "tool_result":
        result = part.tool_result
        checks.that(result.tool_call_id, f"{path}.tool_result.tool_call_id", "must not be empty")
        return ToolResultPart(tool_call_id=result.tool_call_id, text=result.text, is_error=result.is_error)
    return ReasoningPart(text=part.reasoning.text, opaque=part.reasoning.opaque)


def _image(image: input_pb2.Image, path: str, checks: Checks) -> ImagePart:
    if checks.that(image.WhichOneof("source"), path, "uri or data must be set"):
        if image.uri:
            checks.that(
                image.uri.startswith(_IMAGE_SCHEMES), f"{path}.uri", "must be an http, https or data URI"
            )
        else:
            checks.that(image.data, f"{path}.data", "must not be empty")
            checks.that(image.media_type, f"{path}.media_type", "must be set together with data")
    return ImagePart(uri=image.uri, data=image.data, media_type=image.media_type)
