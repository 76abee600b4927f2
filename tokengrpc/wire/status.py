"""Errors as google.rpc.Status with details, small enough for trailers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from tokenstreaming.v1 import generation_pb2

from tokengrpc.errors import (
    GenerationNotFound,
    InvalidRequest,
    ModelNotFound,
    QuotaExceeded,
    TokenGrpcError,
)
from tokengrpc.wire.tables import ADVICE

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from tokenstreaming.v1.usage_pb2 import Usage

DOMAIN = "tokengrpc"
MAX_MESSAGE_BYTES = 1024
MAX_VIOLATIONS = 16
MAX_METADATA = 16
MAX_TRAILER_BYTES = 4096 - 256
"""The contract's 4 KiB for all trailers, less room for those that gRPC adds itself."""

CODES: dict[str, grpc.StatusCode] = {
    "INVALID_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
    "CONTEXT_LENGTH_EXCEEDED": grpc.StatusCode.INVALID_ARGUMENT,
    "UNSUPPORTED_FEATURE": grpc.StatusCode.INVALID_ARGUMENT,
    "MODEL_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "GENERATION_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "GENERATION_ID_REUSED": grpc.StatusCode.ALREADY_EXISTS,
    "SEQUENCE_OUT_OF_RANGE": grpc.StatusCode.OUT_OF_RANGE,
    "REPLAY_EXPIRED": grpc.StatusCode.FAILED_PRECONDITION,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "MODEL_NOT_ALLOWED": grpc.StatusCode.PERMISSION_DENIED,
    "ADMIN_REQUIRED": grpc.StatusCode.PERMISSION_DENIED,
    "QUOTA_EXCEEDED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "BUDGET_EXHAUSTED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "READER_LIMIT": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "OVERLOADED": grpc.StatusCode.UNAVAILABLE,
    "DRAINING": grpc.StatusCode.UNAVAILABLE,
    "READER_TOO_SLOW": grpc.StatusCode.UNAVAILABLE,
    "ENGINE_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "ENGINE_LOST": grpc.StatusCode.UNAVAILABLE,
    "ENGINE_TRUNCATED": grpc.StatusCode.UNAVAILABLE,
    "ENGINE_STALLED": grpc.StatusCode.UNAVAILABLE,
    "ENGINE_PROTOCOL_ERROR": grpc.StatusCode.INTERNAL,
    "ENGINE_ABORTED": grpc.StatusCode.ABORTED,
    "ENGINE_AUTH_FAILED": grpc.StatusCode.FAILED_PRECONDITION,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "CANCELLED": grpc.StatusCode.CANCELLED,
    "DETACH_EXPIRED": grpc.StatusCode.CANCELLED,
    "INTERNAL": grpc.StatusCode.INTERNAL,
}
"""The contract's error table: the code of each reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a failed call tells of its generation."""

    generation_id: str
    last_sequence: int = 0
    usage: Usage | None = None
    ended: bool = False


def status_of(error: TokenGrpcError, failure: Failure | None = None) -> Status:
    """The status of an error; with GenerationFailure where it concerns a generation."""
    status = _build(error, failure, error.message)
    limit = MAX_MESSAGE_BYTES
    while trailer_bytes(status) > MAX_TRAILER_BYTES and limit > 16:
        limit //= 2
        status = _build(error, failure, error.message, limit)
    return status


def trailer_bytes(status: Status) -> int:
    """What a status takes in trailers: its message percent-encoded, its whole in base64."""
    size: int = status.ByteSize()
    return len(quote(status.message)) + (size + 2) // 3 * 4


def _build(
    error: TokenGrpcError, failure: Failure | None, message: str, limit: int = MAX_MESSAGE_BYTES
) -> Status:
    status = Status(code=CODES[error.reason].value[0], message=cut(message, limit))
    for detail in _details(error, failure, limit):
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _details(error: TokenGrpcError, failure: Failure | None, limit: int) -> list[Message]:
    share = max(8, limit // 8)
    some = islice(error.metadata.items(), MAX_METADATA)
    metadata = {cut(key, share): cut(value, share) for key, value in some}
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    ]
    if failure is not None:
        details.append(
            generation_pb2.GenerationFailure(
                generation_id=failure.generation_id,
                last_sequence=failure.last_sequence,
                usage=failure.usage,
                retry_advice=ADVICE.there[error.advice],
                ended=failure.ended,
            )
        )
    if error.retry_after is not None:
        nanos = round(error.retry_after * 1e9)
        delay = Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if isinstance(error, InvalidRequest):
        bad = error_details_pb2.BadRequest()
        for field, what in error.violations[: min(MAX_VIOLATIONS, share)]:
            bad.field_violations.add(field=cut(field, share), description=cut(what, share))
        details.append(bad)
    if isinstance(error, QuotaExceeded):
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(
            subject=f"tenant:{metadata.get('tenant', '')}", description=cut(str(error), share)
        )
        details.append(quota)
    if isinstance(error, ModelNotFound | GenerationNotFound):
        kind, name = (
            ("model", "model") if isinstance(error, ModelNotFound) else ("generation", "generation_id")
        )
        details.append(
            error_details_pb2.ResourceInfo(
                resource_type=f"tokenstreaming.v1/{kind}", resource_name=metadata.get(name, "")
            )
        )
    return details


def cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, on one line, ending in … when something was cut off."""
    text = " ".join(text.split())
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - 3].decode(errors="ignore") + "…"
