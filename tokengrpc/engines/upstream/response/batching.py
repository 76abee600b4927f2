"""Splits large reads into portions, so that other tasks run between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tokengrpc.core.model import Delta

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tokengrpc.core.model import ToolCallFragment

# Decoding this many bytes, or counting the tokens of this many characters, takes a few milliseconds. An
# ordinary network read is smaller.
PORTION = 16 * 1024


def slices(chunk: bytes) -> Sequence[bytes]:
    """Returns the chunk in slices of at most PORTION bytes. Each slice is decoded without yielding."""
    return [chunk[at : at + PORTION] for at in range(0, len(chunk), PORTION)]


def portions(payloads: Sequence[bytes], deltas: list[Delta]) -> Sequence[Sequence[Delta]]:
    """Returns the deltas of `payloads` in batches. Each batch is processed without yielding.

    If the payloads exceed PORTION bytes in total, each delta becomes a batch of its own, and a delta whose
    tokens the server must count (`count` is None) is split. The split points depend on the delta's text only.
    So the counts are the same however the network cuts the bytes.
    """
    if sum(map(len, payloads)) <= PORTION:
        return (deltas,)
    return [(part,) for delta in deltas for part in _split_delta(delta)] or (deltas,)


def _split_delta(delta: Delta) -> Iterator[Delta]:
    """Yields deltas with at most PORTION characters of one kind of text each.

    Opaque bytes follow the reasoning. Other details, such as ids, usage and finish, are in the last delta.
    """
    if delta.count is not None or _longest_text(delta) <= PORTION:
        yield delta
        return
    parts = [Delta(reasoning=piece) for piece in _split_text(delta.reasoning)]
    if delta.opaque:
        parts.append(Delta(opaque=delta.opaque, count=0))
    parts += [Delta(text=piece) for piece in _split_text(delta.text or "")]
    parts += [Delta(refusal=piece) for piece in _split_text(delta.refusal)]
    for fragment in delta.fragments:
        parts += [Delta(fragments=(part,)) for part in _split_fragment(fragment)]
    *first, last = parts
    yield from first
    yield msgspec.structs.replace(
        delta,
        # Text that is None is decoded from `raw`.
        text=None if delta.text is None else last.text,
        reasoning=last.reasoning,
        refusal=last.refusal,
        fragments=last.fragments,
        opaque=last.opaque,
    )


def _longest_text(delta: Delta) -> int:
    texts = (delta.text or "", delta.reasoning, delta.refusal, *(part.arguments for part in delta.fragments))
    return max(map(len, texts))


def _split_text(text: str) -> list[str]:
    return [text[at : at + PORTION] for at in range(0, len(text), PORTION)]


def _split_fragment(fragment: ToolCallFragment) -> Iterator[ToolCallFragment]:
    first, *others = _split_text(fragment.arguments) or [""]
    yield msgspec.structs.replace(fragment, arguments=first)
    for piece in others:
        yield msgspec.structs.replace(fragment, id="", function_name="", arguments=piece, opaque=b"")
