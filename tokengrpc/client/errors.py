"""What a caller of the client catches: few classes, each with all that the server told of the failure."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc

from tokengrpc.errors import Advice

if TYPE_CHECKING:
    from tokenstreaming.v1 import usage_pb2

# Reasons of failures that this side finds: their messages may quote others, and say what happened only.
OWN_REASONS: Final = frozenset({"CONNECTION_LOST", "GENERATION_LOST", "STREAM_GAP"})

# The server's messages end with what to do, after a colon or a semicolon.
_ADVISED: Final = re.compile(r"[:;] ")

_HINTS: Final = {
    "GENERATION_NOT_FOUND": "check the id, or start a new generation",
    "CANCELLED": "start a new generation to have the rest",
    "INVALID_ARGUMENT": "change the request",
    "NOT_FOUND": "check the name",
    "ALREADY_EXISTS": "use a new id",
    "UNAUTHENTICATED": "pass a valid token",
    "PERMISSION_DENIED": "ask an administrator for access",
    "UNAVAILABLE": "check that the server runs at this address",
    "UNIMPLEMENTED": "check that the address is a tokengrpc server's",
    "DEADLINE_EXCEEDED": "allow more time",
}


class TokenStreamError(Exception):
    """A call failed. `str()` is one line: the reason, what happened, what to do.

    `code` is the gRPC status, `reason` the contract's word for it (empty when the gRPC library or a proxy
    failed the call), `advice` what the server says to do (None when it said nothing), `ended` whether the
    generation itself has ended, `usage` what it had used, `last_sequence` the last event that had arrived
    (of a call that was no stream: the generation's last), `partial_text` the answer until there,
    `retry_delay` the seconds to wait before another try, `violations` pairs of a request's field and what is
    wrong with it.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        advice: Advice | None = None,
        last_sequence: int = 0,
        usage: usage_pb2.Usage | None = None,
        ended: bool = False,
        generation_id: str = "",
        violations: tuple[tuple[str, str], ...] = (),
        retry_delay: float | None = None,
        partial_text: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.advice = advice
        self.last_sequence = last_sequence
        self.usage = usage
        self.ended = ended
        self.generation_id = generation_id
        self.violations = violations
        self.retry_delay = retry_delay
        self.partial_text = partial_text

    def __str__(self) -> str:
        return _line(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword arguments do not survive pickling by themselves.
        fields = {name: value for name, value in vars(self).items() if not name.startswith("__")}
        return (partial(type(self), **fields), ())


class InvalidRequestError(TokenStreamError):
    """The request cannot be done as it is asked; see `violations`."""


class NotFoundError(TokenStreamError):
    """There is no such model or generation, or its events are no longer kept."""


class NotAllowedError(TokenStreamError):
    """The caller has no or bad credentials, or may not do this."""


class QuotaError(TokenStreamError):
    """A rate, concurrency or reader limit, or a budget, is used up."""


class UnavailableError(TokenStreamError):
    """The server or its engine cannot do it now, or cannot be reached; see `retry_delay`."""


class ConnectionLostError(UnavailableError):
    """The connection broke and could not be resumed within the policy's attempts; resuming later may work."""


class GenerationLostError(TokenStreamError):
    """The connection broke, and the server no longer has the events that follow; see `partial_text`."""


class EngineFailedError(TokenStreamError):
    """The engine failed during the generation; what it had generated is billed."""


class ServerFailedError(TokenStreamError):
    """The server broke its contract or has a bug."""


class DeadlineExceededError(TokenStreamError):
    """The time that the caller gave is over; the stream still has the text until then."""


class GenerationCancelledError(TokenStreamError):
    """Someone cancelled the generation, or nobody came back for it in time."""


def _line(error: TokenStreamError) -> str:
    """An error in one line: its reason, what happened, what to do.

    A server's message says what to do itself; only numbers that it cannot know are added then.
    """
    message = " ".join(error.message.split()).rstrip(".") or "the call failed"
    told = f"{error.reason or error.code.name}: {message}"
    if error.reason and error.reason not in OWN_REASONS and _ADVISED.search(message):
        facts = "; ".join(_facts(error))
        return f"{told} ({facts})" if facts else told
    return f"{told}; {_what_to_do(error)}"


def without_advice(message: str) -> str:
    """What a server's message says before its advice, for a place that has a better one."""
    return _ADVISED.split(message, maxsplit=1)[0]


def _facts(error: TokenStreamError) -> list[str]:
    facts = []
    if error.advice is Advice.RESUME:
        facts.append(f"generation {error.generation_id}, sequence {error.last_sequence}")
    if error.retry_delay and error.advice is not Advice.NEVER:
        facts.append(f"worth another try in {error.retry_delay:g} s")
    if error.advice is Advice.RETRY and error.last_sequence:
        facts.append("what was generated is billed")
    return facts


def _what_to_do(error: TokenStreamError) -> str:
    if error.advice is Advice.RESUME:
        return f"resume generation {error.generation_id} after sequence {error.last_sequence}"
    if error.advice is Advice.RETRY:
        wait = f" in {error.retry_delay:g} s" if error.retry_delay else ""
        billed = " (what was generated is billed)" if error.last_sequence else ""
        return f"try again{wait} under a new id{billed}"
    return _HINTS.get(error.reason) or _HINTS.get(error.code.name, "trying again will not help")
