"""What a caller should do about a failure, in the words that end an error's line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tokengrpc.errors import Advice

if TYPE_CHECKING:
    from tokengrpc.client.errors import TokenStreamError

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


def line(error: TokenStreamError) -> str:
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
