"""Errors that the client itself detects. No server sent them."""

from __future__ import annotations

import grpc

from tokengrpc.client.errors import (
    ConnectionLostError,
    GenerationCancelledError,
    GenerationLostError,
    TokenStreamError,
    strip_advice,
)
from tokengrpc.errors import Advice


def finish_missing() -> TokenStreamError:
    """Returns the error of a stream that ended with status OK but without `finished`."""
    return ConnectionLostError(
        "the stream ended before the generation finished", code=grpc.StatusCode.UNAVAILABLE
    )


def connection_lost(failure: TokenStreamError, attempts: int, *, resumable: bool) -> TokenStreamError:
    """Returns the error of a broken connection after `attempts` failed attempts to resume."""
    resumes = f" and {attempts} attempts to resume failed" if attempts else ""
    return ConnectionLostError(
        f"the connection broke{resumes} ({failure.message})",
        code=failure.code,
        reason="CONNECTION_LOST",
        advice=Advice.RESUME if resumable else Advice.RETRY,
    )


def generation_lost(failure: TokenStreamError) -> TokenStreamError:
    """Returns the error of a broken connection after which the server no longer has the following events."""
    return GenerationLostError(
        f"the connection broke and the remaining events are lost ({strip_advice(failure.message)})",
        code=failure.code,
        reason="GENERATION_LOST",
        advice=Advice.RETRY,
        ended=failure.ended,
    )


def closed_while_reading() -> TokenStreamError:
    """Returns the error of a stream that another task or thread closed while it was being read."""
    return GenerationCancelledError(
        "the stream was closed while it was being read", code=grpc.StatusCode.CANCELLED, reason="CANCELLED"
    )
