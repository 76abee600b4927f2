"""Histories: what readers of one generation saw, and whether one output explains all of it.

The checker is pure. It knows no client and no server, so that tests give it histories that are wrong on
purpose.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set

DENIALS = frozenset(
    {
        "LOG_DIVERGED",
        "GENERATION_LOST",
        "GENERATION_NOT_FOUND",
        "REPLAY_EXPIRED",
        "SEQUENCE_OUT_OF_RANGE",
        # The log may have the same text up to a reader's cursor, in other tokens: its client counts them.
        "STREAM_GAP",
        # Or it may end there, after the same text in fewer events: then there is nothing more to read.
        "CONNECTION_LOST",
    }
)
"""Reasons that take back what a reader has seen."""


class Kind(StrEnum):
    """What is wrong with a history."""

    LOST = "lost: a token is missing"
    DOUBLED = "doubled: a token came twice"
    DISORDERED = "disordered: a sequence does not grow, or an event follows the end"
    CHANGED = "changed: the output is not the beginning of the expected one, or of another reader's"
    CHECKSUM = "checksum: it is not that of the output"
    RESTARTED = "restarted: the log has another name, although output was shown"
    ENDS = "ends: two readers saw different ends, usages, or output after an end"
    DENIED = "denied: what was shown is gone"
    FAILED = "failed: no `finished`, or an error"


class End(NamedTuple):
    """A `finished` event. `error` is the reason of a failure, or empty; `usage` is input and output."""

    error: str
    usage: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One message with an event, as a reader got it.

    `first` is the index of its first token, `count` the number of its tokens. `incarnation` is the name of
    the log that the stream was last attached to. `switched` is the reason of an `engine_switched`, `at` is in
    seconds.
    """

    sequence: int
    first: int = 0
    count: int = 0
    text: str = ""
    checksum: int | None = None
    incarnation: str = ""
    end: End | None = None
    switched: str = ""
    replica: str = ""
    at: float = 0.0


@dataclass
class History:
    """All that one reader saw, in order.

    `failure` is the reason with which it gave up; empty for none. `attached` are the times at which a server
    attached it to the generation, in seconds.
    """

    reader: str
    seen: list[Seen] = field(default_factory=list)
    failure: str = ""
    attached: list[float] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All output that was shown."""
        return "".join(seen.text for seen in self.seen)

    @property
    def end(self) -> End | None:
        """The `finished` event, if one came."""
        return next((seen.end for seen in self.seen if seen.end is not None), None)

    def __str__(self) -> str:
        last = self.seen[-1] if self.seen else None
        until = f"sequence {last.sequence} of {last.incarnation} at {last.at:.3f}" if last else "nothing"
        attached = ", ".join(f"{at:.3f}" for at in self.attached)
        return f"{self.reader} saw {until}, {self.end or self.failure}; attached at {attached or 'no time'}"


class Verdict(NamedTuple):
    """One thing that is wrong, with the reader that shows it."""

    kind: Kind
    reader: str
    what: str


def verdicts(histories: Sequence[History], expected: str, allowed: Set[str] = frozenset()) -> list[Verdict]:
    """Returns all that is wrong with the histories of one generation; nothing if one output explains them.

    `expected` is the whole output. `allowed` are the reasons with which a reader may end without it, or
    with a `finished` that has an error.
    """
    found = [verdict for history in histories for verdict in _alone(history, expected, allowed)]
    found += _together(histories, deniable=bool(allowed & DENIALS))
    return found


def _alone(history: History, expected: str, allowed: Set[str]) -> Iterator[Verdict]:
    """Checks one history by itself."""

    def wrong(kind: Kind, what: str) -> Verdict:
        return Verdict(kind, history.reader, what)

    sequence, index, checksum, incarnation, ended = 0, 0, 0, "", False
    for seen in history.seen:
        if seen.incarnation and seen.incarnation != incarnation:
            if incarnation and index:
                yield wrong(Kind.RESTARTED, f"from {incarnation} to {seen.incarnation} after {index} tokens")
            incarnation, sequence = seen.incarnation, 0
        if seen.sequence <= sequence or ended:
            yield wrong(Kind.DISORDERED, f"sequence {seen.sequence} after {sequence}, ended: {ended}")
        sequence = seen.sequence
        if seen.count and seen.first != index:
            kind = Kind.LOST if seen.first > index else Kind.DOUBLED
            yield wrong(kind, f"token {seen.first} in place of {index}")
        if seen.count:
            index = seen.first + seen.count
        checksum = zlib.crc32(seen.text.encode(), checksum)
        if seen.checksum is not None and seen.checksum != checksum:
            yield wrong(Kind.CHECKSUM, f"{seen.checksum:08x} at sequence {sequence}, not {checksum:08x}")
        ended = ended or seen.end is not None
    text, end = history.text, history.end
    if not expected.startswith(text):
        yield wrong(Kind.CHANGED, _difference(text, expected))
    elif end is not None and not end.error and text != expected:
        yield wrong(Kind.LOST, f"finished after {len(text)} of {len(expected)} characters")
    failure = history.failure or (end.error if end else "")
    if failure in DENIALS - allowed and index:
        yield wrong(Kind.DENIED, failure)
    elif (failure or end is None) and failure not in allowed:
        yield wrong(Kind.FAILED, failure or "no end")


def _together(histories: Sequence[History], *, deniable: bool) -> Iterator[Verdict]:
    """Compares histories with each other. If the log may have lost events, only output is compared."""
    for short, long in pairwise(sorted(histories, key=lambda history: len(history.text))):
        if not long.text.startswith(short.text):
            yield Verdict(Kind.CHANGED, short.reader, f"{long.reader}: {_difference(short.text, long.text)}")
    if deniable:
        return
    ends: dict[str, tuple[End, int, str]] = {}
    places: dict[tuple[str, int], int] = {}
    for history in histories:
        incarnation, length = "", 0
        for seen in history.seen:
            incarnation, length = seen.incarnation or incarnation, length + len(seen.text)
            if places.setdefault((incarnation, seen.sequence), length) != length:
                yield Verdict(Kind.CHANGED, history.reader, f"other output up to sequence {seen.sequence}")
            if seen.end is not None:
                mine = seen.end, seen.sequence
                other = ends.setdefault(incarnation, (*mine, history.reader))
                if other[:2] != mine:
                    yield Verdict(Kind.ENDS, history.reader, f"{mine}, but {other}")
    for incarnation, sequence in places:
        if incarnation in ends and sequence > ends[incarnation][1]:
            yield Verdict(Kind.ENDS, ends[incarnation][2], f"sequence {sequence} was shown after the end")


def _difference(text: str, other: str) -> str:
    """Says where two texts differ."""
    at = next((n for n, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), len(other))
    return f"{text[at : at + 20]!r} in place of {other[at : at + 20]!r} at character {at}"
