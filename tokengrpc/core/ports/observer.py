"""The port of observers, such as logs and metrics, and the events that they receive."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec

from tokengrpc.core.model import FinishReason, GenerationKey, Switch, UsageReport
from tokengrpc.core.ports.engine import Upstream
from tokengrpc.core.ports.ledger import UsageRecord
from tokengrpc.core.tenant import Priority
from tokengrpc.core.termination import Timestamps
from tokengrpc.core.trace import NO_TRACE, TraceContext

_NO_UPSTREAM = Upstream(provider="", model="")


class CallStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A call has arrived. `method` is the name of the RPC, such as `StreamTokens`.

    `peer` is the caller's address, as the transport writes it; `trace` the place in a trace that the caller
    named.
    """

    method: str
    peer: str = ""
    trace: TraceContext = NO_TRACE


class CallEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A call has ended after `seconds`. `code` is the name of its gRPC status.

    A call whose caller left is CANCELLED, or DEADLINE_EXCEEDED if its deadline had passed. `reason` is empty
    unless the server ended the call with an error. `limit` is the tenant's limit that ended it, if one did.
    `sent_bytes` and `received_bytes` are those of its messages. `generation_id` is the one that the call was
    about, if any. `trace` is the call's place in a trace: without a tracer, the place that its caller named.
    """

    method: str
    tenant: str
    code: str
    reason: str
    seconds: float
    sent_bytes: int
    received_bytes: int = 0
    generation_id: str = ""
    limit: str = ""
    trace: TraceContext = NO_TRACE


class GenerationAdmitted(msgspec.Struct, frozen=True, kw_only=True):
    """A request was admitted; no engine has been called yet. `trace` is the place of the starting call."""

    key: GenerationKey
    model: str
    trace: TraceContext = NO_TRACE


class GenerationStarted(msgspec.Struct, frozen=True, kw_only=True):
    """An engine accepted the request, `queue_seconds` after it had been admitted."""

    key: GenerationKey
    model: str
    engine: str
    queue_seconds: float
    priority: Priority = Priority.STANDARD
    trace: TraceContext = NO_TRACE


class RequestParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for, without its input. None means that the request leaves it open.

    `operation` is chat or text_completion, `output_type` text or json.
    """

    operation: str = "chat"
    output_type: str = "text"
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning_effort: str | None = None


class AttemptCause(StrEnum):
    """Why an engine is called: for a new request, again for the same one, or after another engine failed."""

    FIRST = "first"
    RETRY = "retry"
    FAILOVER = "failover"


class AttemptStarted(msgspec.Struct, frozen=True, kw_only=True):
    """An engine is about to be called, after `wait_seconds` in the wait queue.

    `upstream` says what stands behind the engine. `trace` is the place of the generation.
    """

    key: GenerationKey
    model: str
    engine: str
    cause: AttemptCause
    wait_seconds: float = 0.0
    upstream: Upstream = _NO_UPSTREAM
    parameters: RequestParameters = RequestParameters()
    trace: TraceContext = NO_TRACE


class AttemptEnded(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt finished, failed or was stopped, and the call of the engine has been ended.

    `outcome` is the name of an AttemptOutcome; `error_reason` is empty unless the attempt failed.
    `wait_seconds` is the time in the wait queue, `first_token_seconds` the time from the call of the engine
    to its first output. `cancel_seconds` is the time from a caller's cancellation, or the last reader's
    leaving, to the end of the engine's call; None unless that stopped the attempt. `seconds` and
    `accepted_seconds` are the times from the call of the engine to its end, and to its acceptance, if any.
    `usage` is that of this attempt, as far as it is known. `finish_reason` is the engine's, if it finished.
    `response_id` and `response_model` are the id that the engine gave its response, and the name that it gave
    its model there; empty if it gave none.
    """

    key: GenerationKey
    model: str
    engine: str
    outcome: str
    error_reason: str
    wait_seconds: float
    first_token_seconds: float | None
    cancel_seconds: float | None = None
    seconds: float = 0.0
    accepted_seconds: float | None = None
    usage: UsageReport = UsageReport()
    finish_reason: FinishReason | None = None
    response_id: str = ""
    response_model: str = ""
    upstream: Upstream = _NO_UPSTREAM
    operation: str = ""
    trace: TraceContext = NO_TRACE


class FirstToken(msgspec.Struct, frozen=True, kw_only=True):
    """The first output of a generation was published, `seconds` after the request was admitted."""

    key: GenerationKey
    model: str
    engine: str
    seconds: float


class TokensRelayed(msgspec.Struct, frozen=True, kw_only=True):
    """Output tokens of a tenant, model and engine since the last such event, over all generations."""

    tenant: str
    model: str
    engine: str
    count: int


class EngineSwitched(msgspec.Struct, frozen=True, kw_only=True):
    """Another engine continues the output of a generation."""

    key: GenerationKey
    model: str
    switch: Switch
    trace: TraceContext = NO_TRACE


class GenerationEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A generation has ended, whether or not an engine had accepted it.

    `peer` is the address of the caller that started it, as the transport writes it. `failure` says what went
    wrong if an engine or the server failed, without what an engine said: that may repeat the input.
    `operation` is that of `RequestParameters`. `trace` is the generation's place in a trace.
    """

    record: UsageRecord
    timestamps: Timestamps
    peer: str = ""
    failure: str = ""
    operation: str = ""
    trace: TraceContext = NO_TRACE


class GenerationMoved(msgspec.Struct, frozen=True, kw_only=True):
    """A generation goes on at another server: it was handed over, or another server has taken it over.

    `reason` is that of the errors with which its streams end here. The server at which it ends reports its
    end and its usage. `trace` is the generation's place in a trace.
    """

    key: GenerationKey
    model: str
    reason: str
    trace: TraceContext = NO_TRACE


class Opening(StrEnum):
    """What a call that opened a stream did: start a generation, attach to one, or resume after an event."""

    START = "start"
    ATTACH = "attach"
    RESUME = "resume"


class SubscriptionStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A stream has begun. `trace` is the place of its call, `generation_trace` that of the generation."""

    key: GenerationKey
    model: str
    opening: Opening
    trace: TraceContext = NO_TRACE
    generation_trace: TraceContext = NO_TRACE


class SubscriptionEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A stream has ended. `reason` is empty if the caller read to the end or left."""

    key: GenerationKey
    model: str
    reason: str
    messages: int


class BreakerChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A circuit breaker has opened or closed.

    `reason` and `failure` are those of the error that opened it, as in `GenerationEnded`; empty if it closed.
    """

    model: str
    engine: str
    open: bool
    reason: str = ""
    failure: str = ""


class BudgetLeased(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a tenant's budget was leased, of whose amount a fraction is `used` by ended generations.

    `currency` is empty for tokens, `model` for a budget of all models. Budgets by label are not told.
    """

    tenant: str
    period: str
    currency: str
    model: str
    used: float


class StoreStateChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A store, such as `ledger`, has become unavailable or available again."""

    store: str
    available: bool


ObserverEvent = (
    CallStarted
    | CallEnded
    | GenerationAdmitted
    | GenerationStarted
    | AttemptStarted
    | AttemptEnded
    | FirstToken
    | TokensRelayed
    | EngineSwitched
    | GenerationEnded
    | GenerationMoved
    | SubscriptionStarted
    | SubscriptionEnded
    | BreakerChanged
    | BudgetLeased
    | StoreStateChanged
)


class Observer(Protocol):
    """Receives events. Runs on the event loop, so it must not block. Its exceptions are logged."""

    def on_event(self, event: ObserverEvent) -> None:
        """Takes one event."""


Beginning = CallStarted | GenerationAdmitted | AttemptStarted
"""Events that begin something that has a place of its own in a trace."""


@runtime_checkable
class Tracer(Observer, Protocol):
    """Observer that records traces. It gives every call, generation and attempt a place of its own.

    The event that ends one names that place as its `trace`.
    """

    def begin(self, event: Beginning) -> TraceContext:
        """Returns the place of what begins, below `event.trace`. `on_event` gets the same event before."""


@runtime_checkable
class ClosesObserver(Observer, Protocol):
    """Observer that has something to do before the process ends, such as sending what it kept."""

    async def close(self) -> None:
        """Releases everything, in a bounded time. Called once, after the last event."""
