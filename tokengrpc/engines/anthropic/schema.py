"""The JSON of Anthropic's Messages API as structs: the events of a stream, or a whole message.

Read in anthropic-sdk-python 0.121, types/raw_*_event.py, usage.py, message_delta_usage.py, stop_reason.py.
Every field may be missing or null; fields and kinds that are not named here are skipped.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec

# What the contract has for counts; more than that is no server's honest answer.
_Natural = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class OutputDetails(msgspec.Struct, gc=False):
    """Parts of the output tokens."""

    thinking_tokens: _Natural | None = None


class Usage(msgspec.Struct, gc=False):
    """Cumulative counts. `input_tokens` are those that the cache neither gave nor took."""

    input_tokens: _Natural | None = None
    cache_read_input_tokens: _Natural | None = None
    cache_creation_input_tokens: _Natural | None = None
    output_tokens: _Natural | None = None
    output_tokens_details: OutputDetails | None = None


class Block(msgspec.Struct, gc=False):
    """A block of content, as it begins or whole: text, thinking, redacted_thinking, tool_use."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class Piece(msgspec.Struct, gc=False):
    """The `delta` of a block (`type` text_delta, …) or of the message (`stop_reason`)."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class Message(msgspec.Struct, gc=False):
    """A message that begins."""

    usage: Usage | None = None


class Event(msgspec.Struct, gc=False):
    """One event; or, with `type` message, a whole answer that is not streamed."""

    type: str = ""
    index: int = 0
    message: Message | None = None
    content_block: Block | None = None
    delta: Piece | None = None
    usage: Usage | None = None
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


_decode = msgspec.json.Decoder(Event).decode


def decode_event(payload: bytes) -> Event:
    """A payload as an event. Raises ValueError when it is none."""
    try:
        return _decode(payload)
    except (ValueError, RecursionError):
        return _decode_leniently(payload)


def _decode_leniently(payload: bytes) -> Event:
    """Takes what msgspec does not and JSON allows: half surrogate pairs, an error whose message is text."""
    try:
        # Bytes that json decodes itself may be any UTF, and half surrogate pairs as UTF-8 too.
        whole = json.loads(payload.decode())
        if isinstance(whole, dict) and whole.get("type") == "error":
            whole = {"type": "error"}
        return msgspec.convert(whole, Event, strict=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
