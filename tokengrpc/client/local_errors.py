"""Errors that the client itself detects. No server sent them."""

from __future__ import annotations

import grpc

from tokengrpc.client.errors import (
    ConnectionLostError,
    GenerationCancelledError,
    GenerationLostError,
    InvalidRequestError,
    ServerFailedError,
    TokenStreamError,
)
from tokengrpc.client.texts import text
from tokengrpc.errors import Advice


def finish_missing() -> TokenStreamError:
    """Returns the error of a stream that ended with status OK but without `finished`."""
    return ConnectionLostError(text("stream ended without finished"), code=grpc.StatusCode.UNAVAILABLE)


def connection_lost(failure: TokenStreamError, *, resumable: bool) -> TokenStreamError:
    """Returns the error of a connection that broke with `failure`, and was not resumed."""
    name = "CONNECTION_LOST" if resumable else "CONNECTION_LOST, not resumable"
    return ConnectionLostError(
        text(name, _cause(failure)),
        code=failure.code,
        reason="CONNECTION_LOST",
        advice=Advice.RESUME if resumable else Advice.RETRY,
    )


def generation_lost(failure: TokenStreamError) -> TokenStreamError:
    """Returns the error of a broken connection after which the server no longer has the following events."""
    return GenerationLostError(
        text("GENERATION_LOST", _cause(failure)),
        code=failure.code,
        reason="GENERATION_LOST",
        advice=Advice.RETRY,
        ended=failure.ended,
    )


def stream_gap(description: str) -> ServerFailedError:
    """Returns the error of a stream in which events or tokens are missing."""
    return ServerFailedError(
        text("STREAM_GAP", description), code=grpc.StatusCode.DATA_LOSS, reason="STREAM_GAP"
    )


def checksum_mismatch(sequence: int, sent: int, computed: int) -> ServerFailedError:
    """Returns the error of output that is not what the server has sent, or stored, before."""
    cause = f"at sequence {sequence}, the server's checksum is {sent:08x}, this client's {computed:08x}"
    return ServerFailedError(
        text("CHECKSUM_MISMATCH", cause), code=grpc.StatusCode.DATA_LOSS, reason="CHECKSUM_MISMATCH"
    )


def invalid_cursor(cursor: str) -> InvalidRequestError:
    """Returns the error of a text that is not a cursor."""
    return InvalidRequestError(
        text("INVALID_CURSOR", repr(cursor)), code=grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_CURSOR"
    )


def not_resumable() -> InvalidRequestError:
    """Returns the error of detaching from a stream whose generation ends with it."""
    return InvalidRequestError(
        text("NOT_RESUMABLE"), code=grpc.StatusCode.FAILED_PRECONDITION, reason="NOT_RESUMABLE"
    )


def client_closed() -> TokenStreamError:
    """Returns the error of a call on a client that has been closed."""
    return TokenStreamError(
        text("CLIENT_CLOSED"), code=grpc.StatusCode.FAILED_PRECONDITION, reason="CLIENT_CLOSED"
    )


def closed_while_reading() -> TokenStreamError:
    """Returns the error of a stream that another task or thread closed while it was being read."""
    return GenerationCancelledError(
        "the stream was closed while it was being read", code=grpc.StatusCode.CANCELLED, reason="CANCELLED"
    )


def _cause(failure: TokenStreamError) -> str:
    """Returns the message of a failure without its final advice, which only a server's message has."""
    return failure.message.rsplit("; ", 1)[0] if failure.reason else failure.message
