"""Full names of the RPCs, as metrics and traces have them."""

from __future__ import annotations

from typing import Final

from tokenstreaming.v1 import admin_service_pb2, token_stream_pb2, usage_service_pb2

_SERVICES = (
    token_stream_pb2.DESCRIPTOR.services_by_name["TokenStream"],
    usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"],
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"],
)
FULL_NAMES: Final = {
    m.name: f"{service.full_name}/{m.name}" for service in _SERVICES for m in service.methods
}
"""By the name of the RPC, which no two services share."""
