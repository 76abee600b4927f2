"""The port of observers, such as logs and metrics, and the events that they receive."""

from __future__ import annotations

from typing import Protocol

import msgspec

from tokengrpc.core.model import GenerationKey
from tokengrpc.core.ports.ledger import UsageRecord
from tokengrpc.core.termination import Timestamps


class GenerationAdmitted(msgspec.Struct, frozen=True, kw_only=True):
    """A request was admitted; no engine has been called yet."""

    key: GenerationKey
    model: str


class GenerationStarted(msgspec.Struct, frozen=True, kw_only=True):
    """An engine accepted the request, `queue_seconds` after it had been admitted."""

    key: GenerationKey
    model: str
    engine: str
    queue_seconds: float


class AttemptEnded(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt finished, failed or was stopped.

    `outcome` is the name of an AttemptOutcome; `error_reason` is empty unless the attempt failed.
    `wait_seconds` is the time in the wait queue, `first_token_seconds` the time from the call of the engine
    to its first output.
    """

    key: GenerationKey
    model: str
    engine: str
    outcome: str
    error_reason: str
    wait_seconds: float
    first_token_seconds: float | None


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


class GenerationEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A generation has ended, whether or not an engine had accepted it."""

    record: UsageRecord
    timestamps: Timestamps


class SubscriptionEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A stream has ended. `reason` is empty if the caller read to the end or left."""

    key: GenerationKey
    model: str
    reason: str
    messages: int


class BreakerChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A circuit breaker has opened or closed."""

    model: str
    engine: str
    open: bool


class StoreStateChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A store, such as `ledger`, has become unavailable or available again."""

    store: str
    available: bool


ObserverEvent = (
    GenerationAdmitted
    | GenerationStarted
    | AttemptEnded
    | FirstToken
    | TokensRelayed
    | GenerationEnded
    | SubscriptionEnded
    | BreakerChanged
    | StoreStateChanged
)


class Observer(Protocol):
    """Receives events. Runs on the event loop, so it must not block. Its exceptions are logged."""

    def on_event(self, event: ObserverEvent) -> None:
        """Takes one event."""
