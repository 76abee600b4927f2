"""The place of a generation among those that wait for an engine."""

from __future__ import annotations

from dataclasses import dataclass

from tokengrpc.core.tenant import Priority


@dataclass(slots=True, kw_only=True)
class Place:
    """What decides when a generation is served. It keeps its place when it has to wait again.

    `weight` is the tenant's share. `number` is the rank by arrival, 0 before it asks for a slot.
    `served` says that it has had a slot: it then waits because an engine failed.
    """

    tenant: str = ""
    weight: int = 1
    priority: Priority = Priority.STANDARD
    number: int = 0
    served: bool = False
