"""Why a connection could not be opened, by the words of the gRPC library."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class Handshake(StrEnum):
    """Outcome of a failed handshake. The values are names of texts with what to do."""

    CERTIFICATE_REFUSED = "certificate refused"
    WITHOUT_TLS = "server without TLS"
    CLOSED = "closed at once"


_WORDS: Final = (
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED|Hostname Verification Check failed"),
        Handshake.CERTIFICATE_REFUSED,
    ),
    (re.compile(r"WRONG_VERSION_NUMBER"), Handshake.WITHOUT_TLS),
    # With TLS 1.3, a server that misses the client's certificate just closes the connection, as it does for
    # a client without TLS.
    (
        re.compile(r"to all (addresses|backends failing);.*(Socket closed|reset by peer)"),
        Handshake.CLOSED,
    ),
)


def failed_handshake(message: str) -> Handshake | None:
    """Returns how a handshake failed; None for the message of any other failure."""
    return next((outcome for words, outcome in _WORDS if words.search(message)), None)
