"""What every generation needs from the house."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.config import LimitSettings
    from tokengrpc.core.clock import Clock
    from tokengrpc.core.ports.ledger import UsageLedger
    from tokengrpc.core.ports.log import EventEncoder, EventLogs
    from tokengrpc.core.ports.observer import Observer


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Clock, encoding, ledger, logs, bounds and observers."""

    clock: Clock
    encoder: EventEncoder
    ledger: UsageLedger
    logs: EventLogs
    limits: LimitSettings
    observers: Sequence[Observer] = ()

    def seconds(self) -> float:
        """Now, in seconds since the epoch."""
        return self.clock.now_ns() / 1e9
