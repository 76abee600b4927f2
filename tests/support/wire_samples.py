"""Reads the samples in `data/wire_samples`: the bytes of a server, and the output that a caller must receive.

A file holds the samples of one dialect:

    === name [ask=logprobs,ids,raw] [lost]
    # A sentence that says what the sample shows.
    the body as it is sent; each line ends with LF
    ---
    text: "what the caller must get, by key"

In the body, `«0d 0a»` means the bytes 0d 0a, and `«-»` at the end of a line means no line end. `ask` lists
what the request asks for in addition to text. With `lost`, the connection breaks after the body, which
otherwise ends regularly.

Below `---` is the complete expected outcome. Anything else in the output fails the test:

- `text`, `reasoning`, `refusal`: JSON strings.
- `opaque`: the bytes that the engine requires back with its reasoning; one line per piece.
- `call`: id (`-` for none), name, arguments; one line per call.
- `finish`: reason, the engine's own reason, the matched stop sequence in JSON.
- `error`: the error's reason.
- `usage`: input and output tokens as the engine reported them, and `cached=`, `cache_write=`, `reasoning=`,
  which is `counted` if only the server counted it.
- `counts`: the number of tokens of each piece, if the engine reports any.
- `ids`, `logprobs`, `raw` (hex): of each token that has one.
- `top`: the candidates of a token; one line per token that has any.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tests.support.paths import DATA

FOLDER = DATA / "wire_samples"

_MARK = re.compile("«([^»]*)»")
_KEYS = ("text", "reasoning", "refusal", "call", "finish", "error", "usage", "counts", "ids", "logprobs")
KEYS = frozenset({*_KEYS, "raw", "top", "opaque"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WireSample:
    """One body and its expected outcome. `expected` has the lines of each key."""

    dialect: str
    name: str
    body: bytes
    asked: frozenset[str]
    lost: bool
    expected: dict[str, tuple[str, ...]]

    def __str__(self) -> str:
        return f"{self.dialect}-{self.name}"


@cache
def wire_samples() -> tuple[WireSample, ...]:
    """Returns all samples. Raises ValueError if one is malformed."""
    return tuple(
        _transcript(path.stem, part)
        for path in sorted(FOLDER.glob("*.txt"))
        for part in path.read_bytes().decode().split("\n=== ")
    )


def _transcript(dialect: str, part: str) -> WireSample:
    head, _, rest = part.removeprefix("=== ").partition("\n")
    name, *options = head.split()
    why, _, rest = rest.partition("\n")
    body, dashes, expected = ("\n" + rest).partition("\n---\n")
    if not (why.startswith("# ") and dashes):
        raise ValueError(f"{dialect}: {name} has no sentence or no expectation")
    lines: dict[str, tuple[str, ...]] = {}
    for line in filter(None, expected.split("\n")):
        key, _, value = line.partition(": ")
        if key not in KEYS:
            raise ValueError(f"{dialect}: {name} expects {key!r}, which is no key")
        lines[key] = (*lines.get(key, ()), value)
    asked = [option.removeprefix("ask=") for option in options if option != "lost"]
    return WireSample(
        dialect=dialect,
        name=name,
        body=_bytes(f"{body[1:]}\n" if body else ""),
        asked=frozenset(word for words in asked for word in words.split(",")),
        lost="lost" in options,
        expected=lines,
    )


def _bytes(text: str) -> bytes:
    pieces = _MARK.split(text.replace("«-»\n", ""))
    return b"".join(
        bytes.fromhex(piece) if number % 2 else piece.encode() for number, piece in enumerate(pieces)
    )
