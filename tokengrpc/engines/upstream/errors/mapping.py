"""Maps the failures of servers, HTTP statuses and error objects, to tokengrpc's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.engines.upstream.errors.complaint import Complaint
from tokengrpc.engines.upstream.errors.words import Fault, read_fault
from tokengrpc.errors import (
    ContextLengthExceeded,
    EngineAborted,
    EngineAuthFailed,
    EngineBusy,
    EngineProtocolError,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
    TokenGrpcError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[str, Complaint, float | None], TokenGrpcError]

# TGI's phrase; the status in its error objects is always 422.
_BAD_REQUEST_MARK = "input validation error"


def status_error(
    engine: str, status: int, complaint: Complaint | None, retry_after: float | None
) -> TokenGrpcError:
    """Returns the error for an HTTP status other than 200. `retry_after` is in seconds."""
    complaint = complaint or Complaint()
    delay = complaint.retry_after if retry_after is None else retry_after
    make = _STATUSES.get(status)
    if make is None:
        make = _unavailable if status >= 500 else _unexpected
    make = _refined(make, read_fault(complaint.words), delay)
    if status == 500 and read_fault(complaint.words) is Fault.CONTEXT:
        make = _context_exceeded
    told = Complaint(message=complaint.excerpt, status=status, protocol_status=complaint.protocol_status)
    return _marked(make(engine, told, delay), told)


def stream_error(engine: str, complaint: Complaint, *, started: bool) -> TokenGrpcError:
    """Returns the error for an error object inside a stream. `started`: the engine has sent output."""
    fault, delay = read_fault(complaint.words), complaint.retry_after
    if fault is Fault.CONTEXT:
        return _marked(_context_exceeded(engine, complaint, delay), complaint)
    if not started:
        make = _STATUSES.get(complaint.status or 0) or _TYPES.get(complaint.type.lower())
        if make is None and _BAD_REQUEST_MARK in complaint.words:
            make = _invalid
        if make is None and fault is not None:
            make = _FAULTS[fault]
        if make is not None:
            return _marked(_refined(make, fault, delay)(engine, complaint, delay), complaint)
    aborted = EngineAborted(
        f"engine {engine} aborted the generation{_quoted(complaint)}; start again under a new id"
    )
    return _marked(aborted, complaint)


def _marked(error: TokenGrpcError, complaint: Complaint) -> TokenGrpcError:
    """Notes in an error which part of its message the engine said."""
    error.quoted = _quoted(complaint)
    return error


def _refined(make: Make, fault: Fault | None, delay: float | None) -> Make:
    """Returns what to make of an error whose status or type alone would mislead.

    An engine that refuses "the request" may mean the server's account or model, and one that refuses for a
    rate or a quota may never accept a request again. A quota that a delay renews is a rate.
    """
    if fault is Fault.UNPAID and delay is not None:
        fault = Fault.BUSY
    return _MISLEADING.get(make, {}).get(fault, make) if fault is not None else make


def _quoted(complaint: Complaint) -> str:
    return f': "{complaint.excerpt}"' if complaint.excerpt else ""


def _status(complaint: Complaint) -> str:
    if complaint.protocol_status:
        return f" ({complaint.protocol_status})"
    return f" (HTTP {complaint.status})" if complaint.status else ""


def _context_exceeded(engine: str, complaint: Complaint, _: float | None) -> TokenGrpcError:
    return ContextLengthExceeded(
        f"the input is longer than the context of engine {engine}{_quoted(complaint)}; "
        "shorten it or lower max_output_token_count"
    )


def _invalid(engine: str, complaint: Complaint, _: float | None) -> TokenGrpcError:
    return InvalidRequest([("", f"engine {engine} refused the request{_quoted(complaint)}")])


def _auth(engine: str, complaint: Complaint, _: float | None) -> TokenGrpcError:
    return EngineAuthFailed(
        f"engine {engine} rejected the server's API key{_status(complaint)}; configure a valid key"
    )


def _unpaid(engine: str, complaint: Complaint, _: float | None) -> TokenGrpcError:
    return EngineAuthFailed(
        f"engine {engine} requires payment for the server's account{_status(complaint)}; check its billing"
    )


def _proxy_auth(engine: str, complaint: Complaint, _: float | None) -> TokenGrpcError:
    return EngineAuthFailed(
        f"engine {engine} cannot be reached: its proxy requires a valid user and password"
        f"{_status(complaint)}; configure them in the URL of the proxy"
    )


def _not_found(engine: str, complaint: Complaint, _: float | None) -> TokenGrpcError:
    return ModelNotFound(
        f"engine {engine} has no such path or model{_status(complaint)}{_quoted(complaint)}; "
        "the server's operator should check base_url and upstream_model",
        metadata={"model": engine},
    )


def _unavailable(engine: str, complaint: Complaint, retry_after: float | None) -> TokenGrpcError:
    return EngineUnavailable(
        f"engine {engine} is busy or failing{_status(complaint)}{_quoted(complaint)}; try again later",
        retry_after=retry_after,
    )


def _busy(engine: str, complaint: Complaint, retry_after: float | None) -> TokenGrpcError:
    return EngineBusy(
        f"engine {engine} is busy{_status(complaint)}{_quoted(complaint)}; try again later",
        retry_after=retry_after,
    )


def _unexpected(engine: str, complaint: Complaint, _: float | None) -> TokenGrpcError:
    return EngineProtocolError(
        f"engine {engine} sent an unexpected response{_status(complaint)}{_quoted(complaint)}; "
        "check its base_url"
    )


_FAULTS: dict[Fault, Make] = {
    Fault.BUSY: _busy,
    Fault.UNPAID: _unpaid,
    Fault.AUTH: _auth,
    Fault.LOADING: _unavailable,
    Fault.MODEL: _not_found,
    Fault.CONTEXT: _context_exceeded,
}

# What the words make of an error that its status or type says to be the request's, the key's or the rate's.
_MISLEADING: dict[Make, dict[Fault, Make]] = {
    _invalid: _FAULTS,
    _auth: {Fault.UNPAID: _unpaid, Fault.BUSY: _busy},
    _busy: {Fault.UNPAID: _unpaid},
}

_STATUSES: dict[int, Make] = {
    400: _invalid,
    401: _auth,
    402: _unpaid,
    403: _auth,
    404: _not_found,
    407: _proxy_auth,
    408: _unavailable,
    413: _invalid,
    422: _invalid,
    424: _unavailable,  # TGI: "Request failed during generation"
    429: _busy,
    500: _unavailable,
    502: _unavailable,
    503: _unavailable,
    504: _unavailable,
    529: _busy,  # Anthropic
}

# Types that identify the error without a status: OpenAI's, vLLM's, TGI's, Anthropic's and Google's.
_TYPES: dict[str, Make] = {
    "badrequesterror": _invalid,
    "badrequest": _invalid,
    "validation": _invalid,
    "invalid_request_error": _invalid,
    "request_too_large": _invalid,
    "authentication_error": _auth,
    "permission_error": _auth,
    "billing_error": _unpaid,
    "not_found_error": _not_found,
    "rate_limit_error": _busy,
    "overloaded_error": _busy,
    "timeout_error": _unavailable,
    "api_error": _unavailable,
    "insufficient_quota": _unpaid,
    "invalid_argument": _invalid,
    "failed_precondition": _auth,  # Google: the account's region or billing
    "unauthenticated": _auth,
    "permission_denied": _auth,
    "not_found": _not_found,
    "resource_exhausted": _busy,
    "unavailable": _unavailable,
    "deadline_exceeded": _unavailable,
}
