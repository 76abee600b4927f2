"""What a successful response holds: events or one JSON document. Many servers and proxies mislabel theirs."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokengrpc.engines.http.head import Head

EVENT_STREAM = "text/event-stream"

# Codings that hide the body. Any other word, such as `none` or `utf-8`, is a misunderstanding of the field.
_COMPRESSIONS = frozenset({"br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"})

_BOM = b"\xef\xbb\xbf"
_EVENT_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
_JSON_STARTS = (b"{", b"[")


class BodyForm(Enum):
    """The form of a response's body."""

    EVENTS = auto()
    JSON = auto()
    UNREADABLE = auto()
    UNKNOWN = auto()
    """More of the body is needed to tell."""


def is_compressed(head: Head) -> bool:
    """Returns whether the body is compressed, by its Content-Encoding."""
    codings = head.headers.get("Content-Encoding", "").lower().split(",")
    return any(coding.strip() in _COMPRESSIONS for coding in codings)


def form_of(beginning: bytes, *, ended: bool) -> BodyForm:
    """Returns the form of a body by how it begins. `ended`: there is no more of it.

    An empty body has the form of events: it is a stream without an end.
    """
    text = beginning.removeprefix(_BOM).lstrip()
    if text.startswith(_EVENT_STARTS):
        return BodyForm.EVENTS
    if text.startswith(_JSON_STARTS):
        return BodyForm.JSON
    if not text and ended:
        return BodyForm.EVENTS
    undecided = any(start.startswith(text) for start in _EVENT_STARTS) or _BOM.startswith(beginning)
    return BodyForm.UNKNOWN if undecided and not ended else BodyForm.UNREADABLE
