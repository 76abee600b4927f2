"""Decodes the statuses of failed calls into the client's errors. One table maps reasons to classes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tokenstreaming.v1 import generation_pb2

from tokengrpc.client.errors import (
    DeadlineExceededError,
    EngineFailedError,
    GenerationCancelledError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    QuotaError,
    ServerFailedError,
    TokenStreamError,
    UnavailableError,
)
from tokengrpc.client.texts import text
from tokengrpc.errors import Advice, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

Detail = TypeVar("Detail", bound=Message)

CLASS_OF_REASON: dict[str, type[TokenStreamError]] = {
    Reason.INVALID_REQUEST: InvalidRequestError,
    Reason.CONTEXT_LENGTH_EXCEEDED: InvalidRequestError,
    Reason.UNSUPPORTED_FEATURE: InvalidRequestError,
    Reason.ENGINE_KEY_NOT_ALLOWED: InvalidRequestError,
    Reason.ENGINE_KEY_REQUIRED: InvalidRequestError,
    Reason.GENERATION_ID_REUSED: InvalidRequestError,
    Reason.SEQUENCE_OUT_OF_RANGE: InvalidRequestError,
    Reason.TENANT_EXISTS: InvalidRequestError,
    Reason.REPLAY_EXPIRED: NotFoundError,
    Reason.MODEL_NOT_FOUND: NotFoundError,
    Reason.GENERATION_NOT_FOUND: NotFoundError,
    Reason.TENANT_NOT_FOUND: NotFoundError,
    Reason.API_KEY_NOT_FOUND: NotFoundError,
    Reason.UNAUTHENTICATED: NotAllowedError,
    Reason.MODEL_NOT_ALLOWED: NotAllowedError,
    Reason.ADMIN_REQUIRED: NotAllowedError,
    Reason.SCOPE_REQUIRED: NotAllowedError,
    Reason.QUOTA_EXCEEDED: QuotaError,
    Reason.BUDGET_EXHAUSTED: QuotaError,
    Reason.READER_LIMIT: QuotaError,
    Reason.OVERLOADED: UnavailableError,
    Reason.DRAINING: UnavailableError,
    Reason.STORE_UNAVAILABLE: UnavailableError,
    Reason.SERVER_LOST: UnavailableError,
    Reason.READER_TOO_SLOW: UnavailableError,
    Reason.ENGINE_UNAVAILABLE: UnavailableError,
    Reason.ENGINE_LOST: EngineFailedError,
    Reason.ENGINE_TRUNCATED: EngineFailedError,
    Reason.ENGINE_STALLED: EngineFailedError,
    Reason.ENGINE_PROTOCOL_ERROR: EngineFailedError,
    Reason.ENGINE_ABORTED: EngineFailedError,
    Reason.ENGINE_AUTH_FAILED: EngineFailedError,
    Reason.LOG_DIVERGED: ServerFailedError,
    Reason.INTERNAL: ServerFailedError,
    Reason.DEADLINE_EXCEEDED: DeadlineExceededError,
    Reason.CANCELLED: GenerationCancelledError,
    Reason.DETACH_EXPIRED: GenerationCancelledError,
}

# For failures without a known reason: those of the gRPC library, of a proxy, or of a newer server.
CLASS_OF_CODE: dict[grpc.StatusCode, type[TokenStreamError]] = {
    grpc.StatusCode.CANCELLED: GenerationCancelledError,
    grpc.StatusCode.UNKNOWN: ServerFailedError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: InvalidRequestError,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: QuotaError,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequestError,
    grpc.StatusCode.ABORTED: EngineFailedError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.UNIMPLEMENTED: InvalidRequestError,
    grpc.StatusCode.INTERNAL: ServerFailedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DATA_LOSS: ServerFailedError,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowedError,
}

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_ADVICE = {
    generation_pb2.RETRY_ADVICE_RESUME: Advice.RESUME,
    generation_pb2.RETRY_ADVICE_RETRY: Advice.RETRY,
    generation_pb2.RETRY_ADVICE_NEVER: Advice.NEVER,
}


# gRPC's own words for a peer that did not answer a ping.
_FROZEN = re.compile(r"(ping|keepalive) timeout")


def from_rpc_error(error: grpc.RpcError) -> TokenStreamError:
    """Decodes a failed call into a typed error, with all details of its trailers that can be decoded."""
    try:
        status = rpc_status.from_call(error)
    except (ValueError, DecodeError):
        # A proxy changed the status or the trailers. The code and message of gRPC itself are still valid.
        status = None
    details = status.details if status is not None else ()
    message = error.details() or ""
    if not details and error.code() is grpc.StatusCode.UNAVAILABLE and _FROZEN.search(message):
        message = text("server frozen")
    return _decode(error.code(), message, details)


def from_status(status: Any) -> TokenStreamError:  # noqa: ANN401 - google.rpc publishes no types
    """Decodes a google.rpc.Status that is not OK, such as `Finished.status`, into a typed error."""
    return _decode(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status.details)


def _decode(code: grpc.StatusCode, message: str, details: Iterable[Any]) -> TokenStreamError:
    kept = list(details)
    info = _find(kept, error_details_pb2.ErrorInfo())
    failure = _find(kept, generation_pb2.GenerationFailure())
    bad_request = _find(kept, error_details_pb2.BadRequest())
    retry = _find(kept, error_details_pb2.RetryInfo())
    reason = info.reason if info else ""
    kind = CLASS_OF_REASON.get(reason) or CLASS_OF_CODE.get(code, TokenStreamError)
    return kind(
        message,
        code=code,
        reason=reason,
        # Unknown advice counts as missing: the code alone then decides what follows.
        advice=_ADVICE.get(failure.retry_advice) if failure else None,
        last_sequence=failure.last_sequence if failure else 0,
        usage=failure.usage if failure and failure.HasField("usage") else None,
        ended=failure.ended if failure else False,
        generation_id=failure.generation_id if failure else "",
        violations=tuple((v.field, v.description) for v in bad_request.field_violations)
        if bad_request
        else (),
        retry_delay=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
    )


def _find(details: list[Any], target: Detail) -> Detail | None:
    """Decodes the first detail of the type of `target` into it, or returns None if there is none."""
    for detail in details:
        try:
            if detail.Unpack(target):
                return target
        except DecodeError:
            continue
    return None
