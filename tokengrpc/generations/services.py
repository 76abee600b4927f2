"""The services that all generations of a process share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tokengrpc.generations.observers import Observers

if TYPE_CHECKING:
    from tokengrpc.config import LimitSettings
    from tokengrpc.core.clock import Clock
    from tokengrpc.core.ports.budget import Budget
    from tokengrpc.core.ports.log import EventEncoder, EventSink
    from tokengrpc.generations.billing import Billing
    from tokengrpc.generations.buffer import EventBuffers
    from tokengrpc.generations.patience import StorePatience


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Clock, encoder, stores, limits and observers. `sink` is None if events stay in this process."""

    clock: Clock
    encoder: EventEncoder
    buffers: EventBuffers
    billing: Billing
    budget: Budget
    budget_patience: StorePatience
    limits: LimitSettings
    sink: EventSink | None = None
    sink_patience: StorePatience
    observers: Observers = field(default_factory=Observers)

    def seconds(self) -> float:
        """Returns the time in seconds since the Unix epoch."""
        return self.clock.now_ns() / 1e9
