"""The services that all generations of a process share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tokengrpc.core.model import Durability
from tokengrpc.core.prices import PriceList
from tokengrpc.errors import StoreUnavailable
from tokengrpc.generations.observers import Observers
from tokengrpc.generations.timers import within

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.config import LimitSettings
    from tokengrpc.core.clock import Clock
    from tokengrpc.core.ports.budget import Budget
    from tokengrpc.core.ports.log import EventEncoder, EventSink
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.generations.billing import Billing
    from tokengrpc.generations.buffer import EventBuffers
    from tokengrpc.generations.patience import StorePatience
    from tokengrpc.generations.store_watch import StoreWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Clock, encoder, stores, limits and observers. `sink` and `store_watch` are None if events stay here.

    `lag` returns by how many seconds the event loop has been late recently. `server` is the name of this
    server. `prices` returns those in force; a generation keeps those that it began with.
    """

    clock: Clock
    encoder: EventEncoder
    buffers: EventBuffers
    billing: Billing
    budget: Budget
    budget_patience: StorePatience
    limits: LimitSettings
    sink: EventSink | None = None
    sink_patience: StorePatience
    store_watch: StoreWatch | None = None
    observers: Observers = field(default_factory=Observers)
    lag: Callable[[], float] = lambda: 0.0
    server: str = ""
    prices: Callable[[], PriceList] = PriceList

    @property
    def durability(self) -> Durability:
        """What holds before a reader sees an event."""
        return Durability.MEMORY if self.sink is None else self.sink.durability

    def check_settled(self) -> None:
        """Raises StoreUnavailable while the event store may lack what it had before it was away."""
        if self.store_watch is not None and not self.store_watch.settled:
            raise StoreUnavailable(
                "the event store was away a moment ago, and may not have all events back yet: try again"
            )

    def replay_ttl(self, request: GenerationRequest) -> float:
        """Returns for how long, in seconds, an ended generation can be read."""
        return within(request.recovery.replay_ttl, self.limits.replay_ttl, self.limits.max_replay_ttl)

    def seconds(self) -> float:
        """Returns the time in seconds since the Unix epoch."""
        return self.clock.now_ns() / 1e9
