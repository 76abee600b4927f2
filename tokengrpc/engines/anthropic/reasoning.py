"""Thinking blocks, converted to and from the opaque bytes that callers keep and send back unchanged.

Anthropic accepts a thinking block only with its signature, and a redacted one only unchanged. A prefix of the
bytes says which of the two they hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokengrpc.core.request import ReasoningPart

_SIGNATURE = b"signature:"
_REDACTED = b"redacted:"


def opaque_signature(signature: str) -> bytes:
    """Encodes the signature of a thinking block."""
    return _SIGNATURE + signature.encode("utf-8", "replace")


def opaque_redacted(data: str) -> bytes:
    """Encodes the data of a redacted thinking block, whose text is not readable."""
    return _REDACTED + data.encode("utf-8", "replace")


def reasoning_block(part: ReasoningPart) -> dict[str, Any] | None:
    """Returns the block to send back; None for reasoning of another engine, which has no signature."""
    if part.opaque.startswith(_REDACTED):
        data = part.opaque.removeprefix(_REDACTED).decode("utf-8", "replace")
        return {"type": "redacted_thinking", "data": data}
    if part.opaque.startswith(_SIGNATURE):
        signature = part.opaque.removeprefix(_SIGNATURE).decode("utf-8", "replace")
        return {"type": "thinking", "thinking": part.text, "signature": signature}
    return None
