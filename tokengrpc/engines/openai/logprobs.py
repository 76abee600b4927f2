"""Chunks that stand for several tokens, taken apart by their logprobs or token ids."""

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
    """What a server told of one token. `text` is its own, not what it added to the answer."""

    text: str = ""
    logprob: float | None = None
    top: tuple[TopLogprob, ...] = ()
    raw: bytes | None = None
    id: int | None = None


def token_infos(logprobs: Logprobs) -> list[TokenInfo]:
    """One per token, from either form."""
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
        TopLogprob(encodable(other.token), other.logprob, other.id, _own_bytes(other))
        for other in entry.top_logprobs or ()
        if other.logprob is not None
    )
    return TokenInfo(entry.token, entry.logprob, top, _own_bytes(entry), entry.id)


def _ranked(top: dict[str, float | None]) -> tuple[TopLogprob, ...]:
    known = [TopLogprob(encodable(text), logprob) for text, logprob in top.items() if logprob is not None]
    return tuple(sorted(known, key=lambda other: -other.logprob))


def _own_bytes(entry: LogprobEntry) -> bytes | None:
    """The token's bytes where the server knows them.

    vLLM makes them from the text, so those of a part of a character are only a replacement character's.
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


def share_text(text: str, tokens: Sequence[TokenInfo]) -> list[str]:
    """Which part of a chunk's text each of its tokens brought; the parts in order are exactly the text.

    Tokens that hold no whole character, or that the text does not show (end marks, held-back stop strings),
    get none; what cannot be told goes to the last one.
    """
    parts: list[str] = []
    at = 0
    unfinished = b""
    for token in tokens[:-1]:
        part = token.text
        if token.raw is not None:
            # Bytes say more than texts where a character is spread over tokens.
            unfinished += token.raw
            part, unfinished = _whole_characters(unfinished)
        if not text.startswith(part, at):
            part = ""
        parts.append(part)
        at += len(part)
    parts.append(text[at:])
    return parts


def _whole_characters(data: bytes) -> tuple[str, bytes]:
    """The text that some bytes surely are, and the bytes of a character that is not finished."""
    try:
        return data.decode(), b""
    except UnicodeDecodeError as error:
        if error.end == len(data) and "unexpected end" in error.reason:
            return data[: error.start].decode(), data[error.start :]
        return data.decode("utf-8", "replace"), b""
