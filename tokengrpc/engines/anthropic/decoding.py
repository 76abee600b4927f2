"""Decoder of events, also of those whose JSON does not have the usual types.

A field that is neither output nor the stop reason is ignored if its type is wrong. Output and the stop reason
are never ignored: if they cannot be read, the event is malformed.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tokengrpc.engines.anthropic.schema import Event
from tokengrpc.engines.upstream.response.counts import readable_counts
from tokengrpc.engines.upstream.response.wrong_types import drop_unless

# Fields that are ignored if they are not text.
_UNIMPORTANT = ("stop_sequence", "signature", "data", "stop")

# Types of blocks whose content is output.
_BLOCKS = ("text", "thinking", "tool_use")


_decode = msgspec.json.Decoder(Event).decode


def decode_event(payload: bytes) -> Event:
    """Decodes a payload. Raises ValueError if it is not an event."""
    try:
        return _decode(payload)
    except (ValueError, RecursionError):
        return _decode_leniently(payload)


def _decode_leniently(payload: bytes) -> Event:
    """Decodes wrong types, lone surrogates, and an error event whose `message` is a string."""
    try:
        # Given bytes, json.loads would also accept UTF-16 and UTF-32, and surrogates encoded as UTF-8.
        event = json.loads(payload.decode())
        if isinstance(event, dict):
            _clean_event(event)
        return msgspec.convert(event, Event, strict=False)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _clean_event(event: dict[str, Any]) -> None:
    if event.get("type") == "error":
        event.clear()
        event["type"] = "error"
        return
    drop_unless(int, event, "index")
    drop_unless(dict[str, Any], event, "message")
    for key in ("delta", "content_block"):
        if not event.get(key):
            event.pop(key, None)
    for place in _objects(event, event.get("message"), event.get("delta")):
        _clean_texts(place)
        _clean_content(place)
        if "usage" in place:
            place["usage"] = readable_counts(place["usage"])
    for block in _objects(event.get("content_block")):
        _clean_block(block)


def _clean_content(message: dict[str, Any]) -> None:
    """Cleans the blocks of a whole message. Content that is a string is a block of text."""
    content = message.get("content")
    if not content:
        message.pop("content", None)
    elif isinstance(content, str):
        message["content"] = [{"type": "text", "text": content}]
    elif isinstance(content, list):
        for block in _objects(*content):
            _clean_block(block)


def _clean_block(block: dict[str, Any]) -> None:
    if isinstance(block.get("id"), int | float):
        block["id"] = str(block["id"])
    _clean_texts(block)
    if block.get("type") not in _BLOCKS:
        for key in ("text", "thinking", "id", "name"):
            drop_unless(str, block, key)


def _clean_texts(fields: dict[str, Any]) -> None:
    """Removes fields that hold nothing, or that do not matter and are no text."""
    for key in ("text", "thinking", "partial_json", "stop_reason", "completion"):
        if not fields.get(key):
            fields.pop(key, None)
    for key in _UNIMPORTANT:
        drop_unless(str, fields, key)
    if isinstance(fields.get("partial_json"), dict | list):
        fields["partial_json"] = json.dumps(fields["partial_json"], ensure_ascii=False)
    reason = fields.get("stop_reason")
    if isinstance(reason, dict):
        fields["stop_reason"] = reason.get("type") or reason.get("reason")


def _objects(*values: object) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)]
