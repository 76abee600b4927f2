"""A slow parser of server-sent events, literally by WHATWG's text, to compare the decoder with."""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"\r\n|\r|\n")
_DATA = re.compile(rb"data(?:: ?(.*))?", re.DOTALL)


def events_of(sample: bytes) -> tuple[list[bytes], list[bytes]]:
    """Returns the payloads of a whole body, and the payload that the end of the body cut off."""
    lines = _LINE_END.split(sample.removeprefix(b"\xef\xbb\xbf"))
    unfinished = lines.pop()
    payloads: list[bytes] = []
    data: list[bytes] = []

    def field(line: bytes) -> None:
        match = _DATA.fullmatch(line)
        if match:
            data.append(match[1] or b"")

    for line in lines:
        if line:
            field(line)
        elif data:
            payloads.append(b"\n".join(data))
            data.clear()
    field(unfinished)
    return payloads, [b"\n".join(data)] if data else []
