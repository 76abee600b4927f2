"""The UsageService of a server in the test's own loop, as the tenants of `TENANTS` call it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenstreaming.v1 import usage_service_pb2 as pb

from tokengrpc.client.stubs import aio_usage_stub
from tokengrpc.config import TenantSettings

if TYPE_CHECKING:
    from tests.support.harness import Served

KEYS = {"root": "KEY_ROOT", "a": "KEY_A", "b": "KEY_B"}
TENANTS = tuple(TenantSettings(name=name, key_env=key, admin=name == "root") for name, key in KEYS.items())
"""`root` is an admin. The key of each is `NAME-secret`."""


class Service:
    """The service of a server, called by its tenants."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._stub = aio_usage_stub(served.channel)

    async def records(self, caller: str = "root", **fields: Any) -> pb.ListUsageRecordsResponse:
        """Calls ListUsageRecords."""
        return await self._stub.ListUsageRecords(pb.ListUsageRecordsRequest(**fields), **as_tenant(caller))

    async def sums(self, caller: str = "root", **fields: Any) -> list[pb.UsageSummary]:
        """Calls SummarizeUsage."""
        request = pb.SummarizeUsageRequest(**fields)
        return list((await self._stub.SummarizeUsage(request, **as_tenant(caller))).summaries)

    async def entries(self, caller: str = "root", **fields: Any) -> pb.ListUsageEntriesResponse:
        """Calls ListUsageEntries."""
        return await self._stub.ListUsageEntries(pb.ListUsageEntriesRequest(**fields), **as_tenant(caller))

    async def all_ids(self, caller: str = "root", **fields: Any) -> list[str]:
        """Returns the ids of the records of all pages."""
        page = await self.records(caller, **fields)
        found = [record.record_id for record in page.usage_records]
        while page.next_page_token:
            page = await self.records(caller, page_token=page.next_page_token, **fields)
            found += [record.record_id for record in page.usage_records]
        return found


def as_tenant(name: str) -> dict[str, Any]:
    """Returns the arguments of a call that a tenant makes."""
    return {"metadata": (("authorization", f"Bearer {name}-secret"),)}
