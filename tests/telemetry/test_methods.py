"""The names of RPCs in metrics and traces."""

from __future__ import annotations

from google.protobuf import descriptor_pool

from tokengrpc.rpc.scopes import SCOPES
from tokengrpc.telemetry.methods import FULL_NAMES


def test_every_rpc_that_is_served_has_a_name() -> None:
    """Of all services whose calls are observed, and no two of one name."""
    pool = descriptor_pool.Default()
    services = [pool.FindServiceByName(name) for name in SCOPES]
    served = [f"{service.full_name}/{method.name}" for service in services for method in service.methods]
    assert sorted(FULL_NAMES.values()) == sorted(served)
