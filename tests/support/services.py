"""The services of a generation registry without a server. All stores are in memory unless given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokengrpc.config import LimitSettings
from tokengrpc.core.clock import SystemClock
from tokengrpc.generations.billing import Billing
from tokengrpc.generations.buffer import EventBuffers
from tokengrpc.generations.observers import Observers
from tokengrpc.generations.patience import StorePatience
from tokengrpc.generations.services import Services
from tokengrpc.generations.store_watch import StoreWatch
from tokengrpc.limits.unlimited import UnlimitedBudget
from tokengrpc.stores.memory_ledger import MemoryLedger
from tokengrpc.stores.spill import MemorySpill
from tokengrpc.wire.encoding import ProtobufEncoder

if TYPE_CHECKING:
    from tokengrpc.core.ports.ledger import Spill, UsageLedger


def patience(store: str = "store", call_timeout: float = 5.0, retry_time: float = 10.0) -> StorePatience:
    """Returns time bounds on store calls, with a fixed jitter."""
    return StorePatience(store=store, call_timeout=call_timeout, retry_time=retry_time, jitter=lambda: 0.5)


def billing(
    ledger: UsageLedger | None = None,
    spill: Spill | None = None,
    *,
    strict: bool = False,
    call_timeout: float = 5.0,
    observers: Observers | None = None,
) -> Billing:
    """Returns the billing service. The ledger and the spill are in memory unless given."""
    return Billing(
        ledger or MemoryLedger(),
        spill or MemorySpill(),
        strict=strict,
        patience=patience("usage ledger", call_timeout),
        observers=observers or Observers(),
    )


def make_services(ledger: UsageLedger | None = None, **given: Any) -> Services:
    """Returns the services of a registry. `given` replaces the defaults."""
    sink = given.get("sink")
    watch = None if sink is None else StoreWatch(sink, patience("event store"), Observers(), strict=True)
    return Services(
        **{
            "store_watch": watch,
            "clock": SystemClock(),
            "encoder": ProtobufEncoder(),
            "buffers": EventBuffers(buffer_bytes=1 << 24, total_bytes=1 << 26),
            "billing": billing(ledger),
            "budget": UnlimitedBudget(),
            "budget_patience": patience("budget"),
            "sink_patience": patience("event store"),
            "limits": LimitSettings(),
            **given,
        }
    )
