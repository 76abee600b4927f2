"""What may leave the engine room of what a server says: text that encodes, without secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokengrpc.core.text import encodable

if TYPE_CHECKING:
    from collections.abc import Callable

_BEARER = re.compile(r"(bearer\s+)[^\s\"',;}\]]+", re.IGNORECASE)
_HIDDEN = "[hidden]"


def hiding(key: str | None) -> Callable[[str], str]:
    """A function that makes an engine's words fit to be told.

    They encode, and neither `key` nor what follows `Bearer` is in them.
    """

    def hide(text: str) -> str:
        if key:
            text = text.replace(key, _HIDDEN)
        return encodable(_BEARER.sub(rf"\1{_HIDDEN}", text))

    return hide
