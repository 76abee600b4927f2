"""Redacts text that a server sent before it reaches callers and logs: valid Unicode, no secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokengrpc.core.text import encodable

if TYPE_CHECKING:
    from collections.abc import Callable

_BEARER = re.compile(r"(bearer\s+)[^\s\"',;}\]]+", re.IGNORECASE)
_HIDDEN = "[hidden]"


def hiding(*secrets: str | None) -> Callable[[str], str]:
    """Returns a function that redacts an engine's text.

    The result can be encoded as UTF-8. It contains neither one of `secrets` nor anything that follows
    `Bearer`.
    """
    known = sorted(filter(None, secrets), key=len, reverse=True)  # one may be a part of another

    def hide(text: str) -> str:
        for secret in known:
            text = text.replace(secret, _HIDDEN)
        return encodable(_BEARER.sub(rf"\1{_HIDDEN}", text))

    return hide
