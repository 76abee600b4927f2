"""Conversion of errors to google.rpc.Status with details, small enough for trailers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote

from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from tokenstreaming.v1 import generation_pb2

from tokengrpc.errors import (
    GenerationNotFound,
    InvalidRequest,
    LimitError,
    ModelNotFound,
    Reason,
    TokenGrpcError,
)
from tokengrpc.escaping import escape_line
from tokengrpc.wire.tables import ADVICE

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from tokenstreaming.v1.usage_pb2 import Usage

    from tokengrpc.errors import Advice

DOMAIN = "tokengrpc"
MAX_MESSAGE_BYTES = 1024
MAX_VIOLATIONS = 16
MAX_METADATA = 16
_MAX_ID_LENGTH = 128
MAX_TRAILER_BYTES = 4096 - 256
"""The contract allows 4 KiB for all trailers; 256 bytes are for those that gRPC adds."""


class Code(IntEnum):
    """Status codes of gRPC, with the numbers of google.rpc.Code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


CODES: dict[Reason, Code] = {
    Reason.INVALID_REQUEST: Code.INVALID_ARGUMENT,
    Reason.CONTEXT_LENGTH_EXCEEDED: Code.INVALID_ARGUMENT,
    Reason.UNSUPPORTED_FEATURE: Code.INVALID_ARGUMENT,
    Reason.MODEL_NOT_FOUND: Code.NOT_FOUND,
    Reason.GENERATION_NOT_FOUND: Code.NOT_FOUND,
    Reason.GENERATION_ID_REUSED: Code.ALREADY_EXISTS,
    Reason.TENANT_EXISTS: Code.ALREADY_EXISTS,
    Reason.TENANT_NOT_FOUND: Code.NOT_FOUND,
    Reason.ENGINE_KEY_NOT_ALLOWED: Code.INVALID_ARGUMENT,
    Reason.ENGINE_KEY_REQUIRED: Code.INVALID_ARGUMENT,
    Reason.API_KEY_NOT_FOUND: Code.NOT_FOUND,
    Reason.SEQUENCE_OUT_OF_RANGE: Code.OUT_OF_RANGE,
    Reason.REPLAY_EXPIRED: Code.FAILED_PRECONDITION,
    Reason.UNAUTHENTICATED: Code.UNAUTHENTICATED,
    Reason.MODEL_NOT_ALLOWED: Code.PERMISSION_DENIED,
    Reason.ADMIN_REQUIRED: Code.PERMISSION_DENIED,
    Reason.SCOPE_REQUIRED: Code.PERMISSION_DENIED,
    Reason.QUOTA_EXCEEDED: Code.RESOURCE_EXHAUSTED,
    Reason.BUDGET_EXHAUSTED: Code.RESOURCE_EXHAUSTED,
    Reason.READER_LIMIT: Code.RESOURCE_EXHAUSTED,
    Reason.OVERLOADED: Code.UNAVAILABLE,
    Reason.DRAINING: Code.UNAVAILABLE,
    Reason.STORE_UNAVAILABLE: Code.UNAVAILABLE,
    Reason.SERVER_LOST: Code.UNAVAILABLE,
    Reason.READER_TOO_SLOW: Code.UNAVAILABLE,
    Reason.ENGINE_UNAVAILABLE: Code.UNAVAILABLE,
    Reason.ENGINE_LOST: Code.UNAVAILABLE,
    Reason.ENGINE_TRUNCATED: Code.UNAVAILABLE,
    Reason.ENGINE_STALLED: Code.UNAVAILABLE,
    Reason.ENGINE_PROTOCOL_ERROR: Code.INTERNAL,
    Reason.ENGINE_ABORTED: Code.ABORTED,
    Reason.ENGINE_AUTH_FAILED: Code.FAILED_PRECONDITION,
    Reason.DEADLINE_EXCEEDED: Code.DEADLINE_EXCEEDED,
    Reason.CANCELLED: Code.CANCELLED,
    Reason.DETACH_EXPIRED: Code.CANCELLED,
    Reason.LOG_DIVERGED: Code.DATA_LOSS,
    Reason.INTERNAL: Code.INTERNAL,
}
"""The code of each reason, as the error table of the contract says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Details about a generation that a failed call reports."""

    generation_id: str
    last_sequence: int = 0
    usage: Usage | None = None
    ended: bool = False


def status_of(error: TokenGrpcError, failure: Failure | None = None) -> Status:
    """Converts an error; adds GenerationFailure if the error concerns a generation."""
    status = _build(error, failure, error.message)
    limit = MAX_MESSAGE_BYTES
    while _may_be_long(status) and trailer_bytes(status) > MAX_TRAILER_BYTES and limit > 16:
        limit //= 2
        status = _build(error, failure, error.message, limit)
    return status


def trailer_bytes(status: Status) -> int:
    """Returns the bytes that a status takes in trailers: its message percent-encoded, and all in base64."""
    size: int = status.ByteSize()
    return len(quote(status.message)) + (size + 2) // 3 * 4


def _may_be_long(status: Status) -> bool:
    """Returns False for nearly all statuses, without encoding them: 5 bytes for each are more than enough."""
    return 5 * int(status.ByteSize()) > MAX_TRAILER_BYTES


def _build(
    error: TokenGrpcError, failure: Failure | None, message: str, limit: int = MAX_MESSAGE_BYTES
) -> Status:
    share = max(8, limit // 8)
    encoded = _info(error.reason, tuple(islice(error.metadata.items(), MAX_METADATA)), share)
    if failure is not None:
        if failure.usage is None:
            encoded += _begun(failure, error.advice)
        else:
            encoded += _with_detail(_failure(failure, error.advice))
    # What is encoded of messages of one kind, one after another, is their sum.
    status = Status.FromString(encoded)
    status.code = CODES[error.reason]
    status.message = cut(message, limit)
    for detail in _details(error, share):
        status.details.add().Pack(detail)
    return status


@lru_cache(maxsize=256)
def _info(reason: Reason, metadata: tuple[tuple[str, str], ...], share: int) -> bytes:
    """Returns a status with ErrorInfo. Thousands of calls that are rejected at one moment have the same."""
    kept = {cut(key, share): cut(value, share) for key, value in metadata}
    return _with_detail(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=kept))


@lru_cache(maxsize=256)
def _begun(failure: Failure, advice: Advice) -> bytes:
    """Returns a status with GenerationFailure. Of calls that are rejected, most name no generation."""
    return _with_detail(_failure(failure, advice))


def _failure(failure: Failure, advice: Advice) -> generation_pb2.GenerationFailure:
    return generation_pb2.GenerationFailure(
        generation_id=escape_line(failure.generation_id)[:_MAX_ID_LENGTH],
        last_sequence=failure.last_sequence,
        usage=failure.usage,
        retry_advice=ADVICE.there[advice],
        ended=failure.ended,
    )


def _with_detail(detail: Message) -> bytes:
    status = Status()
    status.details.add().Pack(detail)
    return bytes(status.SerializeToString())


def _details(error: TokenGrpcError, share: int) -> list[Message]:
    details: list[Message] = []
    if error.retry_after is not None:
        nanos = round(error.retry_after * 1e9)
        delay = Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if isinstance(error, InvalidRequest):
        bad = error_details_pb2.BadRequest()
        for field, mistake in error.violations[: min(MAX_VIOLATIONS, share)]:
            bad.field_violations.add(field=cut(field, share), description=cut(mistake, share))
        details.append(bad)
    if isinstance(error, LimitError):
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(
            subject=f"tenant:{cut(error.metadata.get('tenant', ''), share)}",
            description=cut(f"{error.limit}: {error}" if error.limit else str(error), share),
        )
        details.append(quota)
    if isinstance(error, ModelNotFound | GenerationNotFound):
        kind, name = (
            ("model", "model") if isinstance(error, ModelNotFound) else ("generation", "generation_id")
        )
        details.append(
            error_details_pb2.ResourceInfo(
                resource_type=f"tokenstreaming.v1/{kind}",
                resource_name=cut(error.metadata.get(name, ""), share),
            )
        )
    return details


def cut(text: str, limit: int) -> str:
    """Returns the text on one line, truncated to `limit` bytes of UTF-8; a truncated text ends in ….

    Characters that can control a terminal are escaped, because callers print their errors.
    """
    text = escape_line(" ".join(text.split())[: limit + 1])
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - 3].decode(errors="ignore") + "…"
