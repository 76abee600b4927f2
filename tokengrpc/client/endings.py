"""The errors that no server sent: ends that this side finds or decides itself."""

from __future__ import annotations

import grpc

from tokengrpc.client.errors import (
    ConnectionLostError,
    GenerationCancelledError,
    GenerationLostError,
    TokenStreamError,
    without_advice,
)
from tokengrpc.errors import Advice


def cut_short() -> TokenStreamError:
    """A stream ended with OK but without the generation's end."""
    return ConnectionLostError(
        "the stream ended without the generation's end", code=grpc.StatusCode.UNAVAILABLE
    )


def connection_lost(failure: TokenStreamError, attempts: int, *, resumable: bool) -> TokenStreamError:
    """A connection broke, and so did as many attempts to resume."""
    tried = f" and {attempts} attempts to resume failed" if attempts else ""
    return ConnectionLostError(
        f"the connection broke{tried} ({failure.message})",
        code=failure.code,
        reason="CONNECTION_LOST",
        advice=Advice.RESUME if resumable else Advice.RETRY,
    )


def generation_lost(failure: TokenStreamError) -> TokenStreamError:
    """After a broken connection the server no longer has what follows."""
    return GenerationLostError(
        f"the connection broke and the rest is gone ({without_advice(failure.message)})",
        code=failure.code,
        reason="GENERATION_LOST",
        advice=Advice.RETRY,
        ended=failure.ended,
    )


def closed_while_read() -> TokenStreamError:
    """A stream was closed, by somebody else on this side, while it was read."""
    return GenerationCancelledError(
        "the stream was closed while it was read", code=grpc.StatusCode.CANCELLED, reason="CANCELLED"
    )
