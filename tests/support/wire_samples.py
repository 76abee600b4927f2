"""Reads the samples of `data/wire_samples`: what a server sent, and what a caller must get of it.

A file holds the samples of one dialect:

    === name [ask=logprobs,ids,raw] [lost]
    # What it shows, in a sentence.
    the body, as it is sent; each line ends with LF
    ---
    text: "what the caller must get, by key"

In the body `«0d 0a»` stands for the bytes 0d 0a, and `«-»` at a line's end for no line end. `ask` is what the
request asks for beside text; `lost` breaks the connection after the body, which otherwise ends properly.

Below `---` stands all that a caller gets; what is not there must not come:

- `text`, `reasoning`, `refusal`: JSON strings.
- `opaque`: what the engine wants back with its reasoning; a line for each piece.
- `call`: id (`-` for none), name, arguments; a line for each call.
- `finish`: reason, the engine's word, the matched stop sequence in JSON.
- `error`: its reason.
- `usage`: input and output tokens as the engine told them, and `cached=`, `cache_write=`, `reasoning=`.
- `counts`: how many tokens each piece is, where the engine tells any.
- `ids`, `logprobs`, `raw` (hex): of each token that has one.
- `top`: the candidates of a token; a line for each token that has some.
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
    """One body and what must become of it; `expected` has the lines of each key."""

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
    """All of them. Raises ValueError where one is not written as it must be."""
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
