"""The checker of histories: it accepts what readers of one output may see, and catches all that is wrong."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest

from tests.support.replica_chaos.histories import End, History, Kind, Seen, verdicts

WORDS = ["One ", "two ", "three ", "four "]
OUTPUT = "".join(WORDS)
DONE = End("", (7, 4))


def history(reader: str = "a", *, joined: bool = False, end: End | None = DONE) -> History:
    """Returns a right history: a message per word, or two words each."""
    seen, size = [Seen(sequence=1, incarnation="log")], 2 if joined else 1
    for first in range(0, len(WORDS), size):
        stop = first + size
        checksum = zlib.crc32("".join(WORDS[:stop]).encode())
        text = "".join(WORDS[first:stop])
        seen.append(Seen(sequence=1 + stop, first=first, count=size, text=text, checksum=checksum))
    if end is not None:
        seen.append(Seen(sequence=6, checksum=zlib.crc32(OUTPUT.encode()), end=end))
    return History(reader, seen)


def cut(stop: int, failure: str = "", reader: str = "a") -> History:
    """Returns a right history that ends after so many messages."""
    return History(reader, history().seen[:stop], failure)


def with_message(at: int, **changes: Any) -> History:
    """Returns a history in which one message is another one."""
    wrong = history()
    wrong.seen[at] = replace(wrong.seen[at], **changes)
    return wrong


def without(at: int) -> History:
    """Returns a history in which a message is missing."""
    wrong = history()
    del wrong.seen[at]
    return wrong


def repeated(at: int, **changes: Any) -> History:
    """Returns a history in which a message comes again."""
    wrong = history()
    wrong.seen.insert(at + 1, replace(wrong.seen[at], **changes))
    return wrong


def other_output() -> History:
    """Returns a history that is right by itself, but has another output."""
    wrong = history("b")
    text, checksum = "TWO ", zlib.crc32(b"One TWO ")
    wrong.seen[2] = replace(wrong.seen[2], text=text, checksum=checksum)
    del wrong.seen[3:]
    wrong.failure = "STORE_UNAVAILABLE"
    return wrong


RIGHT = {
    "two readers": ([history(), history("b", joined=True)], ()),
    "one that left early": ([history(), cut(3, "STORE_UNAVAILABLE", "b")], ("STORE_UNAVAILABLE",)),
    "an error as the end": ([history(end=End("SERVER_LOST", (7, 4)))], ("SERVER_LOST",)),
    "lost before any output": (
        [History("a", [Seen(sequence=1, incarnation="old"), *history().seen])],
        (),
    ),
    "a loss that the grade allows": (
        [cut(4, "LOG_DIVERGED"), history("b")],
        ("LOG_DIVERGED",),
    ),
    "a denial before anything was shown": ([cut(1, "GENERATION_NOT_FOUND")], ("GENERATION_NOT_FOUND",)),
}
WRONG = {
    "a token is missing": (Kind.LOST, [without(2)]),
    "the end is missing a token": (Kind.LOST, [without(4)]),
    "a token comes twice": (Kind.DOUBLED, [repeated(2, sequence=4)]),
    "a message comes twice": (Kind.DISORDERED, [repeated(2)]),
    "output after the end": (Kind.DISORDERED, [repeated(5, sequence=7)]),
    "another text": (Kind.CHANGED, [with_message(2, text="TWO ")]),
    "another text with a right checksum": (Kind.CHANGED, [other_output()]),
    "more than the engine said": (Kind.CHANGED, [with_message(4, text="four five ")]),
    "a wrong checksum": (Kind.CHECKSUM, [with_message(3, checksum=1)]),
    "another log after output": (Kind.RESTARTED, [with_message(3, incarnation="new", sequence=4)]),
    "two usages": (Kind.ENDS, [history(), history("b", end=End("", (7, 5)))]),
    "two ends": (Kind.ENDS, [history(), history("b", end=End("SERVER_LOST", (7, 4)))]),
    "output after another reader's end": (
        Kind.ENDS,
        [with_message(5, sequence=7), History("b", [*history().seen[:4], Seen(sequence=4, end=DONE)])],
    ),
    "the same sequence for less output": (
        Kind.CHANGED,
        [history(), with_message(2, sequence=2), with_message(1, sequence=3)],
    ),
    "a denial": (Kind.DENIED, [cut(3, "LOG_DIVERGED")]),
    "a log that is gone": (Kind.DENIED, [cut(3, "GENERATION_LOST")]),
    "no end": (Kind.FAILED, [cut(3)]),
    "a failure": (Kind.FAILED, [cut(3, "STORE_UNAVAILABLE")]),
    "a failed generation": (Kind.FAILED, [history(end=End("SERVER_LOST", (7, 4)))]),
}


@pytest.mark.parametrize(("histories", "allowed"), RIGHT.values(), ids=RIGHT)
def test_right_histories(histories: list[History], allowed: tuple[str, ...]) -> None:
    """One output explains them."""
    assert verdicts(histories, OUTPUT, frozenset(allowed)) == []


@pytest.mark.parametrize(("kind", "histories"), WRONG.values(), ids=WRONG)
def test_wrong_histories(kind: Kind, histories: list[History]) -> None:
    """Each is caught, and named as what it is."""
    assert kind in {verdict.kind for verdict in verdicts(histories, OUTPUT)}


def test_a_denial_allows_no_other_output() -> None:
    """A log that may have lost events may deny them. It may not show others in their place."""
    allowed = frozenset({"LOG_DIVERGED", "STORE_UNAVAILABLE"})
    found = verdicts([cut(4, "LOG_DIVERGED"), other_output()], OUTPUT, allowed)
    assert Kind.CHANGED in {verdict.kind for verdict in found}
