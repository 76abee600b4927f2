"""A slow parser of server-sent events, by WHATWG's text, to compare the decoder with.

It has two additions. A body without `data` whose lines from one on are JSON is a payload, at its end. And if
the `data` of one line is a payload by itself (JSON, the end mark or a keep-alive) and another `data` line
follows, it is an event. From then on, every such line is.
"""

from __future__ import annotations

import json
import re

from tokengrpc.engines.upstream.response.keepalives import is_keepalive

_LINE_END = re.compile(rb"\r\n|\r|\n")
_DATA = re.compile(rb"data(?:: ?(.*))?", re.DOTALL)


def events_of(sample: bytes) -> tuple[list[bytes], list[bytes]]:
    """Returns the payloads of a whole body, and the payload that the end of the body cut off."""
    lines = _LINE_END.split(sample.removeprefix(b"\xef\xbb\xbf"))
    unfinished = lines.pop()
    payloads: list[bytes] = []
    data: list[bytes] = []
    bare: list[bytes] = []
    single_lines = has_data = False

    def field(line: bytes, target: list[bytes]) -> None:
        nonlocal single_lines, has_data
        match = _DATA.fullmatch(line)
        if not match:
            if line and (bare or line[:1] in {b"{", b"["}):
                bare.append(line)
            return
        has_data = True
        if len(data) == 1 and _is_whole(data[0]):
            single_lines = True
            target.append(data.pop())
        data.append(match[1] or b"")
        if single_lines and len(data) == 1 and _is_whole(data[0]):
            target.append(data.pop())

    for line in lines:
        if line:
            field(line, payloads)
        elif data:
            payloads.append(b"\n".join(data))
            data.clear()
    rest: list[bytes] = []
    field(unfinished, rest)
    if bare and not has_data:
        rest.append(b"\n".join(bare))
    return payloads, [*rest, b"\n".join(data)] if data else rest


def _is_whole(data: bytes) -> bool:
    if data == b"[DONE]" or (data and is_keepalive(data)):
        return True
    try:
        return data[:1] in {b"{", b"["} and isinstance(json.loads(data.decode()), dict | list)
    except ValueError:
        return False
