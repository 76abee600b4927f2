"""The attempts of one generation: which engines were called, when, and what came of it. Without I/O."""

from __future__ import annotations

import msgspec
from msgspec import structs

from tokengrpc.core.text import encodable
from tokengrpc.escaping import MAX_ID_LENGTH, escape_id


class Attempt(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Call of an engine by a server. Times are in nanoseconds since the Unix epoch.

    `ended` is 0 while it runs. `output` is the number of output tokens that it added to the generation,
    `error_reason` the reason of the error that ended it, empty for none. `response_id` is the id that the
    engine gave its response, as `clean_response_id` returns it; empty if it gave none.
    """

    engine: str
    server: str
    began: int
    ended: int = 0
    output: int = 0
    error_reason: str = ""
    response_id: str = ""


def clean_response_id(text: str) -> str:
    """Returns an engine's id without what can control a terminal or has no encoding, and not too long."""
    return escape_id(encodable(text[:MAX_ID_LENGTH]))


class Attempts:
    """Attempts of one generation, one after another. Their outputs add up to that of the generation."""

    __slots__ = ("_all", "_server", "response_model")

    def __init__(self, server: str) -> None:
        self._all: tuple[Attempt, ...] = ()
        self._server = server
        self.response_model = ""
        """The name that the last attempt's engine gave its model; empty if it gave none."""

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that were called, in order."""
        return tuple(attempt.engine for attempt in self._all)

    @property
    def response_id(self) -> str:
        """The id of the last attempt's response; empty if there is none."""
        return self._all[-1].response_id if self._all else ""

    def on(self, server: str) -> Attempts:
        """Returns the same attempts, of which further ones are those of another server."""
        found = Attempts(server)
        found.restore(self._all)
        return found

    def restore(self, attempts: tuple[Attempt, ...]) -> None:
        """Takes the attempts of earlier servers."""
        self._all = attempts

    def begin(self, engine: str, now_ns: int) -> None:
        """Adds an attempt, which runs."""
        self.response_model = ""
        self._all = (*self._all, Attempt(engine=engine, server=self._server, began=now_ns))

    def identify(self, response_id: str, response_model: str = "") -> None:
        """Notes the id of the running attempt's response and its model's name, unless they are empty."""
        if not self._all or self._all[-1].ended:
            return
        if response_model:
            self.response_model = clean_response_id(response_model)
        if response_id:
            *before, last = self._all
            self._all = (*before, structs.replace(last, response_id=clean_response_id(response_id)))

    def end(self, output: int, now_ns: int, error_reason: str = "") -> None:
        """Ends the running attempt, if there is one. `output` is that of the whole generation."""
        if self._all and not self._all[-1].ended:
            *before, last = self.at(output)
            ended = max(now_ns, last.began)
            self._all = (*before, structs.replace(last, ended=ended, error_reason=error_reason))

    def at(self, output: int) -> tuple[Attempt, ...]:
        """Returns all attempts, of a generation that has so many output tokens."""
        if not self._all or self._all[-1].ended:
            return self._all
        *before, last = self._all
        rest = max(0, output - sum(attempt.output for attempt in before))
        return (*before, structs.replace(last, output=rest))
