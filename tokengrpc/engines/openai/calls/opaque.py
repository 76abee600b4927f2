"""What an engine requires back with a tool call, converted to and from the opaque bytes that callers keep.

Gemini sends its thought signatures in `extra_content`, and rejects a conversation whose calls lack them.
LiteLLM sends them in `provider_specific_fields`. A prefix of the bytes tells them from those of other kinds
of engines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tokengrpc.errors import InvalidRequest

if TYPE_CHECKING:
    from tokengrpc.core.request import ToolCallPart
    from tokengrpc.engines.openai.schema import ToolCall

_PREFIX = b"call:"
_FIELDS = frozenset({"extra_content", "provider_specific_fields"})

# Bound on the bytes of one call. A signature has a few thousand.
_MAX_BYTES = 256 * 1024


def opaque_of(call: ToolCall) -> bytes:
    """Returns the opaque bytes for a piece of a call. Raises ValueError if they are too many."""
    if not (call.extra_content or call.provider_specific_fields):
        return b""
    fields = {"extra_content": call.extra_content, "provider_specific_fields": call.provider_specific_fields}
    fields = {name: value for name, value in fields.items() if value}
    opaque = _PREFIX + msgspec.json.encode(fields)
    if len(opaque) > _MAX_BYTES:
        raise ValueError(f"more than {_MAX_BYTES} bytes in extra fields of a tool call")
    return opaque


def call_fields(part: ToolCallPart, path: str) -> dict[str, Any]:
    """Returns the fields to send back with a call; none for opaque bytes of another kind of engine.

    Raises InvalidRequest if the bytes are not those that the engine sent.
    """
    if not part.opaque.startswith(_PREFIX):
        return {}
    try:
        fields = msgspec.json.decode(part.opaque.removeprefix(_PREFIX), type=dict[str, Any])
    except (ValueError, RecursionError):
        fields = None
    if fields is None or not fields.keys() <= _FIELDS:
        raise InvalidRequest([(path, "must be the bytes that came with the call")])
    return fields
