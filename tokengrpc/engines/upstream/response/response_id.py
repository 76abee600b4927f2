"""The id that a server gave its response, in its body or its head, and the name of its model. No I/O."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from tokengrpc.core.attempts import clean_response_id
from tokengrpc.core.model import Delta
from tokengrpc.escaping import MAX_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# The names of OpenAI, vLLM and most proxies, and of Anthropic.
_HEADERS = ("x-request-id", "request-id")

# A payload that is no strict JSON is read again with Python's decoder only up to this size.
_LONGEST_LENIENT = 64 * 1024


class _Identified(msgspec.Struct, gc=False):
    """Any object, of which only the id and the model are decoded."""

    id: Any = None
    model: Any = None


_decode = msgspec.json.Decoder(_Identified).decode


def identity_in(payload: bytes) -> tuple[object, object]:
    """Returns the fields `id` and `model` of a JSON object; None for one that it does not have."""
    with suppress(ValueError, RecursionError):
        found = _decode(payload)
        return found.id, found.model
    if len(payload) <= _LONGEST_LENIENT:
        with suppress(ValueError, RecursionError):
            value = json.loads(payload)
            return (value.get("id"), value.get("model")) if isinstance(value, dict) else (None, None)
    return None, None


def id_in_head(headers: Mapping[str, str], hide: Callable[[str], str]) -> Sequence[Sequence[Delta]]:
    """Returns a batch with the id of the request in a response's headers, or no batch."""
    found = next(filter(None, (read_id(headers.get(name), hide) for name in _HEADERS)), "")
    return ((Delta(count=0, response_id=found),),) if found else ()


def read_id(value: object, hide: Callable[[str], str]) -> str:
    """Returns an id or a model's name, bounded and escaped; empty if it is none.

    Text of which `hide` would redact a part, such as a key, is no id.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 64:
        value = str(value)
    if not isinstance(value, str):
        return ""
    found = clean_response_id(value[: MAX_ID_LENGTH + 1].strip())
    return found if hide(found) == found else ""
