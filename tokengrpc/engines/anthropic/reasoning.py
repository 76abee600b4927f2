"""Thinking blocks as the opaque bytes that callers keep and send back unchanged.

Anthropic takes thinking back only with its signature, and redacted thinking only as it gave it. The bytes
begin with which of the two they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokengrpc.core.request import ReasoningPart

_SIGNATURE = b"signature:"
_REDACTED = b"redacted:"


def signature(text: str) -> bytes:
    """Of a thinking block."""
    return _SIGNATURE + text.encode("utf-8", "replace")


def redacted(data: str) -> bytes:
    """Of a block whose thinking nobody may read."""
    return _REDACTED + data.encode("utf-8", "replace")


def block_of(part: ReasoningPart) -> dict[str, Any] | None:
    """The block to send back; None for reasoning of another engine, which has no signature."""
    if part.opaque.startswith(_REDACTED):
        data = part.opaque.removeprefix(_REDACTED).decode("utf-8", "replace")
        return {"type": "redacted_thinking", "data": data}
    if part.opaque.startswith(_SIGNATURE):
        sign = part.opaque.removeprefix(_SIGNATURE).decode("utf-8", "replace")
        return {"type": "thinking", "thinking": part.text, "signature": sign}
    return None
