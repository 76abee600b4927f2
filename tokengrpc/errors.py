"""Everything that can go wrong, as one tree. Status codes are not known here; `wire` has that table.

Each error names its reason (told to callers in ErrorInfo) and what to do about it. Messages are for people:
what happened, why, what to do. They never hold prompts, generated text or secrets.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Reason(StrEnum):
    """The contract's word for each failure, as in `google.rpc.ErrorInfo.reason`."""

    ADMIN_REQUIRED = "ADMIN_REQUIRED"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    CANCELLED = "CANCELLED"
    CONTEXT_LENGTH_EXCEEDED = "CONTEXT_LENGTH_EXCEEDED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    DETACH_EXPIRED = "DETACH_EXPIRED"
    DRAINING = "DRAINING"
    ENGINE_ABORTED = "ENGINE_ABORTED"
    ENGINE_AUTH_FAILED = "ENGINE_AUTH_FAILED"
    ENGINE_LOST = "ENGINE_LOST"
    ENGINE_PROTOCOL_ERROR = "ENGINE_PROTOCOL_ERROR"
    ENGINE_STALLED = "ENGINE_STALLED"
    ENGINE_TRUNCATED = "ENGINE_TRUNCATED"
    ENGINE_UNAVAILABLE = "ENGINE_UNAVAILABLE"
    GENERATION_ID_REUSED = "GENERATION_ID_REUSED"
    GENERATION_NOT_FOUND = "GENERATION_NOT_FOUND"
    INTERNAL = "INTERNAL"
    INVALID_REQUEST = "INVALID_REQUEST"
    MODEL_NOT_ALLOWED = "MODEL_NOT_ALLOWED"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    OVERLOADED = "OVERLOADED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    READER_LIMIT = "READER_LIMIT"
    READER_TOO_SLOW = "READER_TOO_SLOW"
    REPLAY_EXPIRED = "REPLAY_EXPIRED"
    SEQUENCE_OUT_OF_RANGE = "SEQUENCE_OUT_OF_RANGE"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    UNSUPPORTED_FEATURE = "UNSUPPORTED_FEATURE"


class Advice(StrEnum):
    """What a client should do after a failure."""

    RESUME = "RESUME"
    RETRY = "RETRY"
    NEVER = "NEVER"


_LONGEST_WAIT = 3600.0


class TokenGrpcError(Exception):
    """The root. `metadata` goes into ErrorInfo, `retry_after` (seconds) into RetryInfo."""

    reason: ClassVar[Reason] = Reason.INTERNAL
    advice: ClassVar[Advice] = Advice.NEVER
    # Seconds, where callers are always told when to come back.
    usual_wait: ClassVar[float | None] = None

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        wait = self.usual_wait if retry_after is None else retry_after
        # An engine's own wish may be anything.
        self.retry_after = wait if wait is None else max(0.0, min(wait, _LONGEST_WAIT))


# --- The request cannot be done as it is asked.


class RequestError(TokenGrpcError):
    """The request is at fault."""


class InvalidRequest(RequestError):
    """Fields are wrong; `violations` are pairs of a field's path and what is wrong with it."""

    reason = Reason.INVALID_REQUEST

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        field, what = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{field}: {what}{more}" if field else f"{what}{more}")
        self.violations = tuple(violations)


class ContextLengthExceeded(RequestError):
    """The input is longer than the model's context."""

    reason = Reason.CONTEXT_LENGTH_EXCEEDED


class UnsupportedFeature(RequestError):
    """The model or engine cannot do what was asked."""

    reason = Reason.UNSUPPORTED_FEATURE


class ModelNotFound(RequestError):
    """There is no such model."""

    reason = Reason.MODEL_NOT_FOUND


class GenerationNotFound(RequestError):
    """There is no such generation, or not for this caller, or not any more."""

    reason = Reason.GENERATION_NOT_FOUND


class GenerationIdReused(RequestError):
    """The id is in use with another request."""

    reason = Reason.GENERATION_ID_REUSED


class SequenceOutOfRange(RequestError):
    """The cursor is beyond the last event."""

    reason = Reason.SEQUENCE_OUT_OF_RANGE


class ReplayExpired(RequestError):
    """The events after the cursor are no longer kept."""

    reason = Reason.REPLAY_EXPIRED


# --- The caller may not.


class CallerError(TokenGrpcError):
    """The caller may not do this, or not now."""


class Unauthenticated(CallerError):
    """No or bad credentials."""

    reason = Reason.UNAUTHENTICATED


class ModelNotAllowed(CallerError):
    """The caller may not use this model."""

    reason = Reason.MODEL_NOT_ALLOWED


class AdminRequired(CallerError):
    """Only an admin may do this."""

    reason = Reason.ADMIN_REQUIRED


class QuotaExceeded(CallerError):
    """The tenant is over a rate or concurrency limit."""

    reason = Reason.QUOTA_EXCEEDED
    advice = Advice.RETRY
    usual_wait = 1.0


class BudgetExhausted(CallerError):
    """The tenant's budget is spent."""

    reason = Reason.BUDGET_EXHAUSTED


# --- The server cannot now.


class ServerError(TokenGrpcError):
    """The server cannot do it now; another time or another replica may."""


class Overloaded(ServerError):
    """The server is full, or not ready yet."""

    reason = Reason.OVERLOADED
    advice = Advice.RETRY
    usual_wait = 0.5


class Draining(ServerError):
    """The server shuts down: it refused a call or ended a generation."""

    reason = Reason.DRAINING
    advice = Advice.RETRY
    usual_wait = 0.5


class StoreUnavailable(ServerError):
    """A store that the request needs, such as the usage ledger or the event log, cannot be had now."""

    reason = Reason.STORE_UNAVAILABLE
    advice = Advice.RETRY
    usual_wait = 1.0


class Internal(ServerError):
    """A bug of ours. The cause is logged, never told."""

    reason = Reason.INTERNAL
    advice = Advice.RETRY


# --- Only this stream ends; its generation goes on.


class StreamEnded(TokenGrpcError):
    """This stream ends, its generation does not: resume it."""

    advice = Advice.RESUME


class ReaderLimit(StreamEnded):
    """Too many readers of one generation."""

    reason = Reason.READER_LIMIT
    usual_wait = 1.0


class ReaderTooSlow(StreamEnded):
    """This reader stopped reading."""

    reason = Reason.READER_TOO_SLOW


class StreamDrained(StreamEnded):
    """A drain ended this stream; the generation lives elsewhere."""

    reason = Reason.DRAINING


class StreamDeadlineExceeded(StreamEnded):
    """This stream's deadline came; the generation's did not."""

    reason = Reason.DEADLINE_EXCEEDED


# --- The engine failed.


class EngineError(TokenGrpcError):
    """The engine is at fault."""

    advice = Advice.RETRY


class EngineUnavailable(EngineError):
    """The engine refused, is unreachable or busy, before the first token."""

    reason = Reason.ENGINE_UNAVAILABLE
    usual_wait = 1.0


class EngineBusy(EngineUnavailable):
    """The engine is well and asks to be left alone for `retry_after` seconds (HTTP 429)."""


class EngineLost(EngineError):
    """The connection to the engine broke after tokens came."""

    reason = Reason.ENGINE_LOST


class EngineTruncated(EngineError):
    """The engine's output stopped without its end mark."""

    reason = Reason.ENGINE_TRUNCATED


class EngineStalled(EngineError):
    """The engine was silent too long; metadata `clock` says by which clock."""

    reason = Reason.ENGINE_STALLED


class EngineProtocolError(EngineError):
    """The engine sent what no dialect allows."""

    reason = Reason.ENGINE_PROTOCOL_ERROR


class EngineAborted(EngineError):
    """The engine gave up by itself."""

    reason = Reason.ENGINE_ABORTED


class EngineAuthFailed(EngineError):
    """The engine does not accept the server's credentials."""

    reason = Reason.ENGINE_AUTH_FAILED
    advice = Advice.NEVER


# --- Somebody or something stopped the generation.


class Stopped(TokenGrpcError):
    """The generation was stopped from outside."""


class Cancelled(Stopped):
    """A caller cancelled it, or its last reader left."""

    reason = Reason.CANCELLED


class DetachExpired(Stopped):
    """Nobody came back in time."""

    reason = Reason.DETACH_EXPIRED


class DeadlineExceeded(Stopped):
    """The starter's deadline came."""

    reason = Reason.DEADLINE_EXCEEDED
    advice = Advice.RETRY
