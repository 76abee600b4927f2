"""The error tree of the service. It holds no gRPC status codes; their table is in `tokengrpc/wire/status.py`.

Each error class has a reason, which callers receive in ErrorInfo, and an advice, which says whether to resume
or to retry. Messages are written for people: what happened, why, what to do. They never contain prompts,
generated text or secrets.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

E = TypeVar("E", bound=BaseException)


def without_traceback(error: E) -> E:
    """Removes what an exception was raised with: its traceback, its cause and its context. Returns it.

    Tracebacks refer to all local variables of all frames. Before an exception is stored where one of these
    variables can reach it, it must lose them: otherwise reference counting alone would free none of it.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class Reason(StrEnum):
    """Failure reasons of the contract, sent as `google.rpc.ErrorInfo.reason`."""

    ADMIN_REQUIRED = "ADMIN_REQUIRED"
    API_KEY_NOT_FOUND = "API_KEY_NOT_FOUND"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    CANCELLED = "CANCELLED"
    CONTEXT_LENGTH_EXCEEDED = "CONTEXT_LENGTH_EXCEEDED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    DETACH_EXPIRED = "DETACH_EXPIRED"
    DRAINING = "DRAINING"
    ENGINE_ABORTED = "ENGINE_ABORTED"
    ENGINE_AUTH_FAILED = "ENGINE_AUTH_FAILED"
    ENGINE_KEY_NOT_ALLOWED = "ENGINE_KEY_NOT_ALLOWED"
    ENGINE_KEY_REQUIRED = "ENGINE_KEY_REQUIRED"
    ENGINE_LOST = "ENGINE_LOST"
    ENGINE_PROTOCOL_ERROR = "ENGINE_PROTOCOL_ERROR"
    ENGINE_STALLED = "ENGINE_STALLED"
    ENGINE_TRUNCATED = "ENGINE_TRUNCATED"
    ENGINE_UNAVAILABLE = "ENGINE_UNAVAILABLE"
    GENERATION_ID_REUSED = "GENERATION_ID_REUSED"
    GENERATION_NOT_FOUND = "GENERATION_NOT_FOUND"
    INTERNAL = "INTERNAL"
    INVALID_REQUEST = "INVALID_REQUEST"
    LOG_DIVERGED = "LOG_DIVERGED"
    MODEL_NOT_ALLOWED = "MODEL_NOT_ALLOWED"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    OVERLOADED = "OVERLOADED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    READER_LIMIT = "READER_LIMIT"
    READER_TOO_SLOW = "READER_TOO_SLOW"
    REPLAY_EXPIRED = "REPLAY_EXPIRED"
    SCOPE_REQUIRED = "SCOPE_REQUIRED"
    SEQUENCE_OUT_OF_RANGE = "SEQUENCE_OUT_OF_RANGE"
    SERVER_LOST = "SERVER_LOST"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    TENANT_EXISTS = "TENANT_EXISTS"
    TENANT_NOT_FOUND = "TENANT_NOT_FOUND"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    UNSUPPORTED_FEATURE = "UNSUPPORTED_FEATURE"


class Advice(StrEnum):
    """Recommended reaction of a client to a failure."""

    RESUME = "RESUME"
    RETRY = "RETRY"
    NEVER = "NEVER"


class TokenGrpcError(Exception):
    """Root of the error tree. `metadata` is sent in ErrorInfo, `retry_after` (seconds) in RetryInfo.

    `quoted` is the part of the message that an engine or its proxy said. It may repeat the input, so callers
    receive it, and logs and metrics do not.
    """

    reason: ClassVar[Reason] = Reason.INTERNAL
    advice: ClassVar[Advice] = Advice.NEVER
    # Seconds. Used for errors that always carry RetryInfo, when the raiser gives no `retry_after`.
    default_retry_after: ClassVar[float | None] = None
    # Seconds. An engine may ask for any delay, so the value is clamped.
    max_retry_after: ClassVar[float] = 3600.0

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.quoted = ""
        self.metadata = dict(metadata or {})
        wait = self.default_retry_after if retry_after is None else retry_after
        self.retry_after = wait if wait is None else max(0.0, min(wait, self.max_retry_after))

    @property
    def log_text(self) -> str:
        """The message without what an engine said."""
        return self.message.replace(self.quoted, "") if self.quoted else self.message


# --- Errors in the request.


class RequestError(TokenGrpcError):
    """Base of errors that only a different request can avoid."""


class InvalidRequest(RequestError):
    """Request with invalid fields. `violations` are pairs of a field path and the mistake in that field."""

    reason = Reason.INVALID_REQUEST

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        field, description = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{field}: {description}{more}" if field else f"{description}{more}")
        self.violations = tuple(violations)


class ContextLengthExceeded(RequestError):
    """Input longer than the model's context."""

    reason = Reason.CONTEXT_LENGTH_EXCEEDED


class UnsupportedFeature(RequestError):
    """Request for a feature that the model or its engine does not support."""

    reason = Reason.UNSUPPORTED_FEATURE


class EngineKeyNotAllowed(RequestError):
    """Request with the caller's own key for a model whose engines take none."""

    reason = Reason.ENGINE_KEY_NOT_ALLOWED


class EngineKeyRequired(RequestError):
    """Request without the caller's own key for a model whose engines require one."""

    reason = Reason.ENGINE_KEY_REQUIRED


class ModelNotFound(RequestError):
    """Unknown model."""

    reason = Reason.MODEL_NOT_FOUND


class GenerationNotFound(RequestError):
    """Generation that does not exist, belongs to another tenant, was made anew, or is no longer kept."""

    reason = Reason.GENERATION_NOT_FOUND


class GenerationIdReused(RequestError):
    """Generation id that is already in use with a different request."""

    reason = Reason.GENERATION_ID_REUSED


class SequenceOutOfRange(RequestError):
    """Cursor beyond the last event."""

    reason = Reason.SEQUENCE_OUT_OF_RANGE


class ReplayExpired(RequestError):
    """Cursor whose following events are no longer kept."""

    reason = Reason.REPLAY_EXPIRED


class TenantExists(RequestError):
    """Name of a new tenant that another tenant has."""

    reason = Reason.TENANT_EXISTS


class TenantNotFound(RequestError):
    """Unknown tenant."""

    reason = Reason.TENANT_NOT_FOUND


class ApiKeyNotFound(RequestError):
    """Unknown key."""

    reason = Reason.API_KEY_NOT_FOUND


# --- Errors of authentication, authorization and quota.


class CallerError(TokenGrpcError):
    """Base of errors about what the caller is allowed to do, and when."""


class Unauthenticated(CallerError):
    """Missing or invalid credentials."""

    reason = Reason.UNAUTHENTICATED


class ModelNotAllowed(CallerError):
    """Model that the caller's tenant is not allowed to use."""

    reason = Reason.MODEL_NOT_ALLOWED


class AdminRequired(CallerError):
    """Operation that is reserved for administrators."""

    reason = Reason.ADMIN_REQUIRED


class ScopeRequired(CallerError):
    """Credential without the scope that the call needs."""

    reason = Reason.SCOPE_REQUIRED


class Limit(NamedTuple):
    """Limit of a tenant that a request exceeds: the name of its setting, and the model if it is for one."""

    name: str
    model: str = ""

    def __str__(self) -> str:
        return f"{self.name} of model {self.model}" if self.model else self.name


class LimitError(CallerError):
    """Base of errors of a tenant that has reached a limit."""

    # Days or months may pass until a budget is full again.
    max_retry_after = 32 * 86_400.0

    def __init__(
        self,
        message: str,
        *,
        limit: Limit | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata, retry_after=retry_after)
        self.limit = limit


class QuotaExceeded(LimitError):
    """Tenant that has reached a rate or concurrency limit."""

    reason = Reason.QUOTA_EXCEEDED
    advice = Advice.RETRY
    default_retry_after = 1.0


class BudgetExhausted(LimitError):
    """Tenant whose budget is spent."""

    reason = Reason.BUDGET_EXHAUSTED


# --- Errors of the server itself.


class ServerError(TokenGrpcError):
    """Base of errors of this server. The same request may succeed later or on another replica."""


class Overloaded(ServerError):
    """Server that is at capacity or not ready yet."""

    reason = Reason.OVERLOADED
    advice = Advice.RETRY
    default_retry_after = 0.5


class Draining(ServerError):
    """Server that is shutting down: it rejected a call or ended a generation."""

    reason = Reason.DRAINING
    advice = Advice.RETRY
    default_retry_after = 0.5


class StoreUnavailable(ServerError):
    """Unavailable store that the request needs, such as the usage ledger or the event log."""

    reason = Reason.STORE_UNAVAILABLE
    advice = Advice.RETRY
    default_retry_after = 1.0


class ServerLost(ServerError):
    """Server that died while it ran a generation that no other server could continue."""

    reason = Reason.SERVER_LOST
    advice = Advice.RETRY


class LogDiverged(ServerError):
    """Stored events that are not those that the caller has received."""

    reason = Reason.LOG_DIVERGED
    advice = Advice.RETRY


class Internal(ServerError):
    """Bug in the server. The cause is written to the server's log and is not sent to callers."""

    reason = Reason.INTERNAL
    advice = Advice.RETRY


# --- Errors that end one stream while its generation continues.


class StreamEnded(TokenGrpcError):
    """Base of errors that end a stream but not its generation. The caller can resume."""

    advice = Advice.RESUME


class ReaderLimit(StreamEnded):
    """Too many readers of one generation."""

    reason = Reason.READER_LIMIT
    default_retry_after = 1.0


class ReaderTooSlow(StreamEnded):
    """Reader that did not read for longer than the write stall timeout."""

    reason = Reason.READER_TOO_SLOW


class StreamDrained(StreamEnded):
    """Stream that ended because the server is shutting down, while its generation continues elsewhere."""

    reason = Reason.DRAINING


class StreamInterrupted(StreamEnded):
    """Stream of a server that does not run the generation any more, or cannot read its events now."""

    reason = Reason.STORE_UNAVAILABLE
    default_retry_after = 0.1


class StreamDeadlineExceeded(StreamEnded):
    """Stream whose own deadline has passed, while the generation's deadline has not."""

    reason = Reason.DEADLINE_EXCEEDED


# --- Errors of an engine.


class EngineError(TokenGrpcError):
    """Base of errors that an engine caused."""

    advice = Advice.RETRY


class EngineUnavailable(EngineError):
    """Engine that is unreachable or busy, or that rejected the request, before it generated anything."""

    reason = Reason.ENGINE_UNAVAILABLE
    default_retry_after = 1.0


class EngineBusy(EngineUnavailable):
    """Healthy engine that asks for no further requests for `retry_after` seconds (HTTP 429)."""


class EngineLost(EngineError):
    """Connection to an engine that broke after the engine had accepted the request."""

    reason = Reason.ENGINE_LOST


class EngineTruncated(EngineError):
    """Engine output that stopped without its end mark."""

    reason = Reason.ENGINE_TRUNCATED


class EngineStalled(EngineError):
    """Engine that sent nothing for too long. The metadata entry `clock` names the timeout that expired."""

    reason = Reason.ENGINE_STALLED


class EngineProtocolError(EngineError):
    """Engine output that no dialect allows."""

    reason = Reason.ENGINE_PROTOCOL_ERROR


class AnswerMismatch(EngineProtocolError):
    """Complete answer that lacks what its request asked for. No other engine can continue it."""


class EngineAborted(EngineError):
    """Generation that the engine itself aborted."""

    reason = Reason.ENGINE_ABORTED


class AnswerPaused(EngineAborted):
    """Answer that its engine interrupted as agreed: only a further request to it would bring the rest."""


class EngineAuthFailed(EngineError):
    """Engine that rejected the server's credentials."""

    reason = Reason.ENGINE_AUTH_FAILED
    advice = Advice.NEVER


# --- Errors of a generation that was stopped before its end.


class Stopped(TokenGrpcError):
    """Base of errors that stop a generation although its engine did not fail."""


class Cancelled(Stopped):
    """Generation that a caller cancelled, or whose last reader left."""

    reason = Reason.CANCELLED


class DetachExpired(Stopped):
    """Detached generation that no reader resumed within its `detach_ttl`."""

    reason = Reason.DETACH_EXPIRED


class DeadlineExceeded(Stopped):
    """Generation that reached the deadline of the call that started it."""

    reason = Reason.DEADLINE_EXCEEDED
    advice = Advice.RETRY


def told_error(
    reason: str,
    message: str,
    *,
    advice: Advice | None = None,
    violations: Sequence[tuple[str, str]] = (),
    metadata: Mapping[str, str] | None = None,
    retry_after: float | None = None,
) -> TokenGrpcError:
    """Returns the error that a log or a record tells, of the class with this reason, and advice if given.

    It is Internal if no class has the reason. `retry_after` is in seconds.
    """
    found = [kind for kind in _subclasses(TokenGrpcError) if kind.reason == reason]
    fitting = [kind for kind in found if kind.advice is advice]
    kind = next(iter(fitting or found), Internal)
    if issubclass(kind, InvalidRequest):
        return kind(violations or [("", message)])
    return kind(message, metadata=metadata, retry_after=retry_after)


def _subclasses(kind: type[TokenGrpcError]) -> Iterator[type[TokenGrpcError]]:
    """Yields all classes below one that say their own reason, bases first."""
    for sub in kind.__subclasses__():
        if "reason" in vars(sub):
            yield sub
        yield from _subclasses(sub)
