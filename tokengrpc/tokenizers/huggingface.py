"""The vocabulary of a model from its `tokenizer.json`: text into token ids, and each id into its bytes.

The bytes of a token do not depend on its neighbours, so output is decoded token by token: a table lookup, and
`core/text.py` joins characters that span tokens. Needs the package `tokenizers`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Piece = Callable[[str], bytes]

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_METASPACE = "\N{LOWER ONE EIGHTH BLOCK}"

# Decoders that change only how tokens are joined, or the beginning of a whole text. Output continues a
# prompt, so it has no beginning of its own.
_NEUTRAL = frozenset({"Fuse", "Strip"})


class Vocabulary:
    """A tokenizer of the Hugging Face format. It is thread-safe."""

    def __init__(self, tokenizer_json: bytes) -> None:
        """Raises ValueError if the bytes are not a `tokenizer.json` whose tokens have bytes of their own.

        Raises ImportError if the package `tokenizers` is not installed.
        """
        from tokenizers import Tokenizer  # noqa: PLC0415 - an optional dependency, which takes time to load

        try:
            layout = json.loads(tokenizer_json)
            tokenizer = Tokenizer.from_str(tokenizer_json.decode())
        except Exception as error:  # the package raises plain exceptions
            raise ValueError(f"it is not a valid tokenizer.json ({error})") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        piece = _piece_decoder(layout.get("decoder"))
        special = {token["id"] for token in layout.get("added_tokens") or () if token["special"]}
        names = tokenizer.get_vocab(with_added_tokens=True)
        size = max(names.values(), default=-1) + 1
        self._names = [""] * size
        self._bytes = [b""] * size
        for name, number in names.items():
            self._names[number] = name
            self._bytes[number] = b"" if number in special else piece(name)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Returns the token ids of a text. `add_special_tokens` adds those that begin or end every input."""
        return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def token_bytes(self, token: int) -> bytes:
        """Returns the bytes of a token; none for a special token, and for an id that has no token."""
        return self._bytes[token] if token < len(self._bytes) else b""

    def token_text(self, token: int) -> str:
        """Returns a token for display: its text, or the name of a special one."""
        return self.token_bytes(token).decode("utf-8", "replace") or self.token_name(token)

    def token_name(self, token: int) -> str:
        """Returns a token as the vocabulary writes it; empty for an id that has no token."""
        return self._names[token] if token < len(self._names) else ""


def _piece_decoder(decoder: Mapping[str, Any] | None) -> Piece:
    """Returns the function from a token's name to its bytes.

    Raises ValueError for a decoder that makes a token's text depend on other tokens.
    """
    steps = _flatten(decoder)
    kinds = [step["type"] for step in steps]
    replacements: list[tuple[str, str]] = []
    has_byte_level = has_byte_tokens = False
    for kind, step in zip(kinds, steps, strict=True):
        if kind == "ByteLevel":
            has_byte_level = True
        elif kind == "ByteFallback":
            has_byte_tokens = True
        elif kind == "Metaspace":
            replacements.append((step.get("replacement", _METASPACE), " "))
        elif kind == "Replace" and "String" in step["pattern"]:
            replacements.append((step["pattern"]["String"], step["content"]))
        elif kind not in _NEUTRAL:
            raise ValueError(f"its decoder {kind} is not supported")
    if not (has_byte_level or has_byte_tokens or replacements):
        raise ValueError("it has no supported decoder")
    if has_byte_level:
        return _byte_level
    return lambda name: _fallback(name, replacements, byte_tokens=has_byte_tokens)


def _flatten(decoder: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    if decoder is None:
        return ()
    if decoder["type"] != "Sequence":
        return (decoder,)
    return [step for part in decoder["decoders"] for step in _flatten(part)]


def _byte_level(name: str) -> bytes:
    """Decodes GPT-2's alphabet, which has a printable character for each byte."""
    try:
        return bytes(_BYTES[character] for character in name)
    except KeyError:  # an added token, written as it is
        return name.encode("utf-8", "replace")


def _fallback(name: str, replacements: Sequence[tuple[str, str]], *, byte_tokens: bool) -> bytes:
    """Decodes SentencePiece's tokens: `▁` is a space, `<0x0A>` a byte."""
    if byte_tokens and (found := _BYTE_TOKEN.fullmatch(name)):
        return bytes([int(found[1], 16)])
    for old, new in replacements:
        name = name.replace(old, new)
    return name.encode("utf-8", "replace")


def _byte_alphabet() -> dict[str, int]:
    """Returns GPT-2's alphabet: printable Latin-1 stands for itself, other bytes for characters from 256."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_alphabet()
