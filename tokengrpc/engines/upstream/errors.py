"""Maps the failures of servers, HTTP statuses and error objects, to tokengrpc's errors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from tokengrpc.engines.upstream.redaction import hiding
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
    from collections.abc import Callable, Mapping

# Engines may quote the prompt in an error message. Its caller may see an excerpt, logs may not.
_EXCERPT_CHARACTERS = 200

# A longer Retry-After is certainly wrong, and no client would wait that long.
_LONGEST_WAIT_SECONDS = 31 * 24 * 3600.0

# OpenAI's code, llama.cpp's type, and phrases of vLLM, SGLang, TGI, llama.cpp, Ollama and Anthropic.
_CONTEXT_MARKS = (
    "context_length_exceeded",
    "exceed_context_size",
    "maximum context length",
    "maximum model length",
    "model's context length",
    "available context size",
    "exceeds the context",
    "prompt is too long",
    "max_input_length",
    "`inputs` must have less than",
    "`inputs` tokens + `max_new_tokens`",
    "longer than the context length",
    "contextwindowexceeded",  # LiteLLM
)
_BUSY_MARKS = (
    "rate_limit",
    "ratelimit",
    "rate limit",
    "overloaded",
    "serviceunavailable",
    "too many requests",
)
# TGI's phrase; the status in its error objects is always 422.
_BAD_REQUEST_MARKS = ("input validation error",)


_HIDE = hiding(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """An error object that an engine sent. `status` is the HTTP status that it contains, if any.

    `protocol_status` is the status that people are told, where the engine does not speak HTTP.
    """

    message: str = ""
    type: str = ""
    code: str = ""
    status: int | None = None
    protocol_status: str = ""

    @property
    def excerpt(self) -> str:
        """The message on one line, truncated. If there is no message, the type or the code."""
        line = " ".join((self.message or self.type or self.code).split())
        return line if len(line) <= _EXCERPT_CHARACTERS else line[: _EXCERPT_CHARACTERS - 1] + "…"

    def mentions(self, marks: tuple[str, ...]) -> bool:
        """Returns whether the code, type or message contains one of `marks`, which are in lower case."""
        text = f"{self.code} {self.type} {self.message}".lower()
        return any(mark in text for mark in marks)


def read_complaint(payload: object, hide: Callable[[str], str] = _HIDE) -> Complaint | None:
    """Returns the error object in a decoded JSON payload, redacted by `hide`, or None if there is none.

    Recognizes `{"error": {…}}`, `{"error": "…"}` (Ollama, TGI), `{"object": "error", "message": …}` (older
    vLLM) and `{"detail": …}` (FastAPI).
    """
    found = _find_complaint(payload)
    if found is None:
        return None
    return replace(found, message=hide(found.message), type=hide(found.type), code=hide(found.code))


def _find_complaint(payload: object) -> Complaint | None:
    if not isinstance(payload, dict):
        return None
    error = payload.get("error")
    if isinstance(error, dict):
        return _complaint_of(error)
    if error:
        return Complaint(message=str(error), type=_text(payload.get("error_type")))
    if payload.get("object") == "error" or "message" in payload:
        return _complaint_of(payload)
    if payload.get("detail"):
        return Complaint(message=str(payload["detail"]))
    return None


def _complaint_of(error: dict[str, Any]) -> Complaint:
    code = error.get("code")
    status = code if isinstance(code, int) else None
    if isinstance(code, str) and code.isdecimal():
        status = int(code)
    message = error.get("message") or error.get("detail")
    return Complaint(message=_text(message), type=_text(error.get("type")), code=_text(code), status=status)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def status_error(
    engine: str, status: int, complaint: Complaint | None, retry_after: float | None
) -> TokenGrpcError:
    """Returns the error for an HTTP status other than 200. `retry_after` is in seconds."""
    complaint = complaint or Complaint()
    if status in _CONTEXT_STATUSES and complaint.mentions(_CONTEXT_MARKS):
        return _context_exceeded(engine, complaint, retry_after)
    make = _STATUSES.get(status)
    if make is None:
        make = _unavailable if status >= 500 else _unexpected
    told = Complaint(message=complaint.excerpt, status=status, protocol_status=complaint.protocol_status)
    return make(engine, told, retry_after)


def stream_error(engine: str, complaint: Complaint, *, started: bool) -> TokenGrpcError:
    """Returns the error for an error object inside a stream. `started`: the engine has sent output."""
    if complaint.mentions(_CONTEXT_MARKS):
        return _context_exceeded(engine, complaint, None)
    if not started:
        make = _STATUSES.get(complaint.status or 0) or _TYPES.get(complaint.type.lower())
        if make is not None:
            return make(engine, complaint, None)
        if complaint.mentions(_BAD_REQUEST_MARKS):
            return _invalid(engine, complaint, None)
        if complaint.mentions(_BUSY_MARKS):
            return _busy(engine, complaint, None)
    return EngineAborted(
        f"engine {engine} aborted the generation{_quoted(complaint)}; start again under a new id"
    )


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds of the Retry-After header (RFC 9110, 10.2.3), or None without a usable one.

    A value is unusable if it is neither a number nor a date, or if it exceeds a month. A negative one is 0.
    """
    value = headers.get("Retry-After", "")
    try:
        wait = float(value)
    except ValueError:
        wait = _seconds_until(value, headers.get("Date", ""))
    if not math.isfinite(wait) or wait > _LONGEST_WAIT_SECONDS:
        return None
    return max(0.0, wait)


def _seconds_until(date: str, now: str) -> float:
    """Returns the seconds from `now` to `date`; NaN if either is not an HTTP date.

    Both come from the engine, so the local clock does not matter.
    """
    try:
        return (parsedate_to_datetime(date) - parsedate_to_datetime(now)).total_seconds()
    except (TypeError, ValueError, OverflowError, IndexError):
        return math.nan


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


# Statuses with which servers report that the input exceeds the context.
_CONTEXT_STATUSES = frozenset({400, 413, 422, 500})

_STATUSES: dict[int, Callable[[str, Complaint, float | None], TokenGrpcError]] = {
    400: _invalid,
    401: _auth,
    402: _unpaid,
    403: _auth,
    404: _not_found,
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

# Types that identify the error without a status: OpenAI's, vLLM's, TGI's and Anthropic's.
_TYPES: dict[str, Callable[[str, Complaint, float | None], TokenGrpcError]] = {
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
}
