"""Keep-alives that some servers and gateways send as the data of an event, instead of as a comment."""

from __future__ import annotations

import re

# A comment within the data (": OPENROUTER PROCESSING"), a JSON value that says nothing, or a word in brackets
# or alone, which a time may follow ("ping - 2026-01-31 12:00:00").
_KEEPALIVE = re.compile(
    rb"""
    \s* (?:
        :.*
      | null | "" | true | false | 0
      | [\["(<]?
        (?: ping | pong | keep[\s_-]?alive | heart[\s_-]?beat | processing | waiting | no-?op )
        (?: [\s@-]* \d [\d\s:.,TZ+-]* )?
        [\]")>]?
    )? \s*
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_MAX_BYTES = 256


def is_keepalive(payload: bytes) -> bool:
    """Returns whether a payload only keeps the connection open. It is neither output nor an end."""
    return len(payload) <= _MAX_BYTES and _KEEPALIVE.fullmatch(payload) is not None
