"""Request fields that some servers refuse, and that an answer does not need.

The settings can omit them. The dialect `generic` also learns them from a server's refusal.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

OptionalField = Literal[
    "stream_options",
    "parallel_tool_calls",
    "timings_per_token",
    "reasoning_content",
    "reasoning",
    "extra_content",
    "provider_specific_fields",
    "max_tokens",
    "max_completion_tokens",
]
"""A field of the body, of its messages, or of their tool calls, in the order in which they are tried."""

_NAMES: tuple[str, ...] = get_args(OptionalField)

# Two names of the output token limit. If one is omitted, the limit is sent under the other.
OTHER_LIMIT = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}

# Phrases with which servers say that they do not know a field.
_UNKNOWN = re.compile(
    r"extra[_ ](inputs?|fields?|forbidden)|unsupported|not supported|unrecogni[sz]ed|unknown|unexpected"
    r"|not permitted|not allowed|additional propert",
    re.IGNORECASE,
)
# Phrases about the value of a field that they know.
_VALUE = re.compile(
    r"too (large|big|high|small)|exceed|greater|less than|at (most|least)|maximum|must be", re.IGNORECASE
)

# A refusal is searched up to this length.
_SEARCHED_BYTES = 64 * 1024


def omit_fields(body: dict[str, Any], names: Collection[str]) -> None:
    """Removes fields from a request body. The output token limit keeps one of its two names."""
    if not names:
        return
    for name, other in OTHER_LIMIT.items():
        if name in names and name in body:
            body.setdefault(other, body[name])
    for part in _parts(body):
        for name in names:
            part.pop(name, None)


class Refused(NamedTuple):
    """Optional fields that a server may have refused. `named`: it has named them."""

    fields: frozenset[str]
    named: bool = True


def refused_fields(status: int, refusal: bytes, sent: bytes) -> Refused:
    """Returns the optional fields of the request body `sent` to which a refusal objects.

    If the server does not say which field it does not know, the first optional one is returned.
    """
    body = json.loads(sent)
    present = [name for name in _NAMES if any(name in part for part in _parts(body))]
    text = refusal[:_SEARCHED_BYTES].decode("utf-8", "replace")
    unknown = bool(_UNKNOWN.search(text))
    if _VALUE.search(text) and not (unknown and "max_completion_tokens" in text):
        present = [name for name in present if name not in OTHER_LIMIT]
    elif not unknown:
        present = [name for name in present if name not in OTHER_LIMIT or OTHER_LIMIT[name] in text]
    structured = _structured_names(refusal)
    if structured:
        return Refused(frozenset(present) & structured)
    mentioned = [name for name in present if re.search(rf"(?<!\w){name}(?!\w)", text)]
    if mentioned:
        return Refused(frozenset(mentioned))
    silent = status == 422 and not text.strip()
    guesses = [name for name in present if name not in OTHER_LIMIT]
    return Refused(frozenset(guesses[:1] if unknown or silent else ()), named=False)


def _parts(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the body, its messages, and their tool calls."""
    yield body
    for message in body.get("messages") or ():
        yield message
        yield from message.get("tool_calls") or ()


def _structured_names(refusal: bytes) -> frozenset[str]:
    """Returns the names in an error's `param` (OpenAI) and in each `loc` of `detail` (FastAPI)."""
    try:
        value = json.loads(refusal)
    except (ValueError, RecursionError):
        return frozenset()
    names: set[str] = set()
    if isinstance(value, dict):
        error = value.get("error")
        for holder in (value, error):
            param = holder.get("param") if isinstance(holder, dict) else None
            if isinstance(param, str):
                names |= set(re.split(r"[^\w]+", param))
        details = value.get("detail")
        for detail in details if isinstance(details, list) else ():
            place = detail.get("loc") if isinstance(detail, dict) else None
            if isinstance(place, list):
                names |= {part for part in place if isinstance(part, str)}
    return frozenset(names - {"", "body", "messages", "assistant"})
