"""What a client has of an answer, and whether it is what the engine's script says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.script import stamps, without_stamps

if TYPE_CHECKING:
    from bench.script import Script

_MAX_COMPLAINTS = 5


class Tally:
    """The results of all streams of a run."""

    def __init__(self) -> None:
        self.tokens = 0
        self.messages = 0
        self.latencies_us: list[int] = []
        self.whole_streams = 0
        self.cut_streams = 0
        self.complaints: list[str] = []

    def complain(self, what: str) -> None:
        """Records what was wrong with a stream."""
        self.complaints.append(what)

    def summary(self) -> dict[str, object]:
        """Returns the counts. `wrong` is the number of streams that were incomplete or incorrect."""
        return {
            "whole_streams": self.whole_streams,
            "cut_streams": self.cut_streams,
            "wrong": len(self.complaints),
            "complaints": self.complaints[:_MAX_COMPLAINTS],
            "tokens": self.tokens,
            "messages": self.messages,
        }


class Answer:
    """The answer of one stream. `usage` is set at its end."""

    def __init__(self, script: Script, tally: Tally) -> None:
        self._script = script
        self._tally = tally
        self._texts: list[str] = []
        self.token_count = 0
        self.usage: int | None = None

    def take(self, text: str, tokens: int) -> None:
        """Takes the text of some tokens."""
        self._texts.append(text)
        self.token_count += tokens
        self._tally.tokens += tokens
        if "@" in text:
            now_us = time.monotonic_ns() // 1000
            self._tally.latencies_us.extend(now_us - sent for sent in stamps(text))

    def check(self) -> None:
        """Checks that every token arrived once, in order, with the right text.

        At a regular end, none is missing.
        """
        got, sent = self.token_count, self._script.tokens
        if without_stamps("".join(self._texts)) != self._script.plain_text(got):
            self._tally.complain(f"the text of {got} tokens is not what the engine sent")
        elif self.usage is None:
            self._tally.cut_streams += 1
        elif got != sent or self.usage != sent:
            self._tally.complain(f"{got} tokens and a usage of {self.usage}, but the engine sent {sent}")
        else:
            self._tally.whole_streams += 1
