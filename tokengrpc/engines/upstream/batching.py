"""Cuts what comes at once into portions, between which other tasks get their turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tokengrpc.core.model import Delta

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tokengrpc.core.model import ToolCallFragment

# Decoding so many bytes, or counting the tokens of so many characters, takes a few milliseconds. A network
# read that is no flood is shorter.
PORTION = 16 * 1024


def slices(chunk: bytes) -> Sequence[bytes]:
    """The chunk in slices that are decoded at once."""
    return [chunk[at : at + PORTION] for at in range(0, len(chunk), PORTION)]


def portions(payloads: Sequence[bytes], deltas: list[Delta]) -> Sequence[Sequence[Delta]]:
    """The deltas of some payloads, as batches that are taken in at once.

    A delta whose tokens somebody has to count is cut into several. Where depends on its own text only: counts
    are the same however the network cuts.
    """
    if sum(map(len, payloads)) <= PORTION:
        return (deltas,)
    return [(part,) for delta in deltas for part in _parts(delta)] or (deltas,)


def _parts(delta: Delta) -> Iterator[Delta]:
    """The delta, with no more than a portion of each kind of text in one; its usage comes with the last."""
    if delta.count is not None or _longest(delta) <= PORTION:
        yield delta
        return
    parts = [Delta(reasoning=piece) for piece in _pieces(delta.reasoning)]
    parts += [Delta(text=piece) for piece in _pieces(delta.text or "")]
    parts += [Delta(refusal=piece) for piece in _pieces(delta.refusal)]
    for fragment in delta.fragments:
        parts += [Delta(fragments=(part,)) for part in _fragments(fragment)]
    yield from parts[:-1]
    yield msgspec.structs.replace(parts[-1], usage=delta.usage)


def _longest(delta: Delta) -> int:
    texts = (delta.text or "", delta.reasoning, delta.refusal, *(part.arguments for part in delta.fragments))
    return max(map(len, texts))


def _pieces(text: str) -> list[str]:
    return [text[at : at + PORTION] for at in range(0, len(text), PORTION)]


def _fragments(fragment: ToolCallFragment) -> Iterator[ToolCallFragment]:
    first, *others = _pieces(fragment.arguments) or [""]
    yield msgspec.structs.replace(fragment, arguments=first)
    for piece in others:
        yield msgspec.structs.replace(fragment, id="", function_name="", arguments=piece)
