"""Exceptions of the client: a few classes, each with all details that the server sent about the failure."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc

from tokengrpc.client.handshakes import failed_handshake
from tokengrpc.client.texts import TEXTS
from tokengrpc.errors import Advice

if TYPE_CHECKING:
    from tokenstreaming.v1 import usage_pb2

# In a message of the server or the client, the advice follows a colon or a semicolon.
_ADVICE_START: Final = re.compile(r"[:;] ")

_HINTS: Final = {
    "CANCELLED": "start a new generation to get the rest",
    "INVALID_ARGUMENT": "change the request",
    "NOT_FOUND": "check the name",
    "ALREADY_EXISTS": "use a new id",
    "UNAUTHENTICATED": "pass a valid token",
    "PERMISSION_DENIED": "ask an administrator for access",
    "UNAVAILABLE": TEXTS["server unreachable"],
    "UNIMPLEMENTED": "check that a tokengrpc server is running at this address",
    "DEADLINE_EXCEEDED": "allow more time",
}


class TokenStreamError(Exception):
    """Failed call. `str()` is one line: the reason, what happened, what to do.

    - `code`: the gRPC status code.
    - `reason`: the contract's failure reason; empty if the gRPC library or a proxy failed the call.
    - `advice`: the server's advice to resume, retry or do neither; None if it sent none.
    - `ended`: whether the generation itself has ended.
    - `usage`: the generation's usage; None if unknown.
    - `last_sequence`: the last event that a stream received; for other calls, the generation's last event.
    - `cursor`: the text of the stream's cursor after that event, for `resume`; None for other calls.
    - `partial_text`: the answer up to that event.
    - `retry_delay`: seconds to wait before a retry; None if the server sent none.
    - `violations`: pairs of a request field and the mistake in it.
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
        cursor: str | None = None,
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
        self.cursor = cursor

    def __str__(self) -> str:
        return _one_line(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, exceptions with keyword arguments cannot be unpickled.
        fields = {name: value for name, value in vars(self).items() if not name.startswith("__")}
        return (partial(type(self), **fields), ())


class InvalidRequestError(TokenStreamError):
    """Request that only a change can make valid, such as an invalid cursor; see `violations`."""


class NotFoundError(TokenStreamError):
    """Unknown model or generation, or events that are no longer kept."""


class NotAllowedError(TokenStreamError):
    """Missing or invalid credentials, or an operation that the caller is not allowed to do."""


class QuotaError(TokenStreamError):
    """Rate, concurrency or reader limit that is reached, or a budget that is spent."""


class UnavailableError(TokenStreamError):
    """Server or engine that is unreachable or temporarily unable to serve the call; see `retry_delay`."""


class ConnectionLostError(UnavailableError):
    """Broken connection that could not be resumed within the patience. A later resume may succeed."""


class GenerationLostError(TokenStreamError):
    """Broken connection after which the server no longer has the following events; see `partial_text`."""


class EngineFailedError(TokenStreamError):
    """Engine failure during a generation. The tokens generated before it are billed."""


class ServerFailedError(TokenStreamError):
    """Violation of the contract by the server, such as a gap or other output than before, or a bug in it."""


class DeadlineExceededError(TokenStreamError):
    """Deadline of the caller that has passed. The stream keeps the text received before it."""


class GenerationCancelledError(TokenStreamError):
    """Generation that was cancelled, or that no reader resumed within its `detach_ttl`."""


def _one_line(error: TokenStreamError) -> str:
    """Formats an error in one line: the reason, what happened, what to do.

    If the message already contains advice, only details that it lacks are added.
    """
    message = " ".join(error.message.split()).rstrip(".") or "the call failed"
    line = f"{error.reason or error.code.name}: {message}"
    if error.reason and _ADVICE_START.search(message):
        facts = "; ".join(_extra_facts(error))
        return f"{line} ({facts})" if facts else line
    return f"{line}; {_what_to_do(error)}"


def strip_advice(message: str) -> str:
    """Returns a server's message without its advice, for callers that add more specific advice."""
    return _ADVICE_START.split(message, maxsplit=1)[0]


def _extra_facts(error: TokenStreamError) -> list[str]:
    facts = []
    if error.advice is Advice.RESUME:
        place = f"generation {error.generation_id}, sequence {error.last_sequence}"
        facts.append(place if error.cursor is None else f"cursor {error.cursor}")
    if error.retry_delay and error.advice is not Advice.NEVER:
        facts.append(f"retry after {error.retry_delay:.3g} s")
    if error.advice is Advice.RETRY and error.last_sequence:
        facts.append("tokens generated so far are billed")
    return facts


def _what_to_do(error: TokenStreamError) -> str:
    if error.advice is Advice.RESUME:
        return f"resume generation {error.generation_id} after sequence {error.last_sequence}"
    if error.advice is Advice.RETRY:
        wait = f" in {error.retry_delay:.3g} s" if error.retry_delay else ""
        billed = " (tokens generated so far are billed)" if error.last_sequence else ""
        return f"retry{wait} under a new id{billed}"
    if error.code is grpc.StatusCode.UNAVAILABLE and (handshake := failed_handshake(error.message)):
        return TEXTS[handshake]
    return _HINTS.get(error.code.name, "retrying will not help")
