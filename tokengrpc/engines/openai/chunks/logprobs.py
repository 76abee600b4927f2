"""Information about the single tokens of a chunk, and how the chunk's text is split among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tokengrpc.core.model import TopLogprob
from tokengrpc.core.text import encodable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.engines.openai.schema import LogprobEntry, Logprobs

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class TokenInfo(msgspec.Struct, frozen=True, gc=False):
    """What a server reports about one token.

    `text` is the token's own text, which may differ from the text it adds to the answer.
    """

    text: str = ""
    logprob: float | None = None
    top: tuple[TopLogprob, ...] = ()
    raw: bytes | None = None
    id: int | None = None


def token_infos(logprobs: Logprobs) -> list[TokenInfo]:
    """Returns one TokenInfo per token, from the logprobs of either API."""
    entries = logprobs.content or logprobs.refusal
    if entries:
        return [_from_entry(entry) for entry in entries]
    tokens = logprobs.tokens or []
    chosen = logprobs.token_logprobs or []
    top = logprobs.top_logprobs or []
    return [
        TokenInfo(
            token,
            chosen[i] if i < len(chosen) else None,
            _ranked((top[i] if i < len(top) else None) or {}),
        )
        for i, token in enumerate(tokens)
    ]


def _from_entry(entry: LogprobEntry) -> TokenInfo:
    top = tuple(
        TopLogprob(encodable(candidate.token), candidate.logprob, candidate.id, _token_bytes(candidate))
        for candidate in entry.top_logprobs or ()
        if candidate.logprob is not None
    )
    return TokenInfo(entry.token, entry.logprob, top, _token_bytes(entry), entry.id)


def _ranked(top: dict[str, float | None]) -> tuple[TopLogprob, ...]:
    known = [TopLogprob(encodable(text), logprob) for text, logprob in top.items() if logprob is not None]
    return tuple(sorted(known, key=lambda candidate: -candidate.logprob))


def _token_bytes(entry: LogprobEntry) -> bytes | None:
    """Returns the token's bytes, or None if the server does not know them.

    vLLM encodes the bytes from the text. If a token is only part of a character, they are the bytes of a
    replacement character and are discarded.
    """
    if entry.bytes is None:
        return None
    try:
        raw = bytes(entry.bytes)
    except ValueError:
        return None
    if _REPLACEMENT in entry.token and raw == entry.token.encode("utf-8", "replace"):
        return None
    return raw


def split_text(text: str, tokens: Sequence[TokenInfo]) -> list[str]:
    """Splits a chunk's text among its tokens. Returns one part per token; joined, they equal the text.

    A token gets an empty part if it completes no character, or if the chunk's text does not contain its text
    (end marks, withheld stop sequences). The last token gets the rest of the text.
    """
    parts: list[str] = []
    position = 0
    incomplete = b""
    for token in tokens[:-1]:
        part = token.text
        if token.raw is not None:
            # If a character spans several tokens, only the bytes show which token completes it.
            incomplete += token.raw
            part, incomplete = _decode_complete(incomplete)
        if not text.startswith(part, position):
            part = ""
        parts.append(part)
        position += len(part)
    parts.append(text[position:])
    return parts


def _decode_complete(data: bytes) -> tuple[str, bytes]:
    """Returns the decoded complete characters and the bytes of an incomplete trailing one."""
    try:
        return data.decode(), b""
    except UnicodeDecodeError as error:
        if error.end == len(data) and "unexpected end" in error.reason:
            return data[: error.start].decode(), data[error.start :]
        return data.decode("utf-8", "replace"), b""
