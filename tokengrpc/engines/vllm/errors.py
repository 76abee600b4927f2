"""Maps the gRPC statuses of vLLM's service to tokengrpc's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tokengrpc.engines.upstream.errors.complaint import Complaint
from tokengrpc.engines.upstream.errors.mapping import status_error, stream_error
from tokengrpc.errors import EngineLost, EngineProtocolError, TokenGrpcError

if TYPE_CHECKING:
    from collections.abc import Callable

# The HTTP status that means the same as each code: HTTP engines' table says what comes of it. vLLM answers
# INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, UNAVAILABLE and INTERNAL.
HTTP_STATUSES = {
    grpc.StatusCode.CANCELLED: 503,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 503,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 503,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}

# What the gRPC library itself says of a message above `max_event_bytes`, with the code RESOURCE_EXHAUSTED.
_TOO_LARGE = "message larger than max"


def rpc_error(
    engine: str,
    error: grpc.aio.AioRpcError,
    hide: Callable[[str], str],
    *,
    accepted: bool = False,
    started: bool = False,
) -> TokenGrpcError:
    """Returns the error for the status of a call.

    `accepted`: the engine has answered with headers. `started`: it has sent output.
    """
    code, details = error.code(), hide(error.details() or "")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in details:
        return EngineProtocolError(
            f"engine {engine} sent a message above max_event_bytes; check the engine, or raise the limit"
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return EngineProtocolError(
            f"engine {engine} does not serve vllm.grpc.engine.VllmEngine; check its kind and base_url"
        )
    if accepted and code is grpc.StatusCode.UNAVAILABLE:
        said = f" ({Complaint(message=details).excerpt})"
        lost = EngineLost(f"the connection to engine {engine} broke{said}; start again under a new id")
        lost.quoted = said
        return lost
    complaint = Complaint(message=details, protocol_status=f"gRPC {code.name}")
    if started:
        return stream_error(engine, complaint, started=True)
    return status_error(engine, HTTP_STATUSES[code], complaint, _retry_seconds(error))


def _retry_seconds(error: grpc.aio.AioRpcError) -> float | None:
    """Returns the delay of a `google.rpc.RetryInfo` in the status, in seconds."""
    try:
        status = rpc_status.from_call(error)
    except (ValueError, DecodeError):  # its code or message differ from the call's, or it is garbled
        return None
    for packed in () if status is None else status.details:
        retry = error_details_pb2.RetryInfo()
        if packed.Is(retry.DESCRIPTOR) and packed.Unpack(retry):
            return float(retry.retry_delay.ToTimedelta().total_seconds())
    return None
