"""The AdminService of a server in the test's own loop, whose database has an admin key."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tokenstreaming.v1 import admin_service_pb2 as pb

from tests.support.harness import serving
from tokengrpc.client.stubs import aio_admin_stub
from tokengrpc.core.tenant import Scope, Tenant
from tokengrpc.identity.api_keys import created_key
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import FILE
from tokengrpc.stores.sql.tenants import SqlTenantStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import sqlalchemy as sa

    from tests.support.harness import Served


class Administered:
    """A server with its AdminService; calls are those of the admin if they name no other key."""

    def __init__(self, served: Served, key: str) -> None:
        self.served = served
        self.key = key
        self.stub = aio_admin_stub(served.channel)

    async def call(self, method: str, key: str = "", **fields: Any) -> Any:
        """Calls a method with the fields of its request."""
        request = getattr(pb, f"{method}Request")(**fields)
        return await getattr(self.stub, method)(request, **having(key or self.key))

    async def new_key(self, tenant: str = "acme", **fields: Any) -> pb.CreateApiKeyResponse:
        """Creates a key."""
        response: pb.CreateApiKeyResponse = await self.call("CreateApiKey", tenant=tenant, **fields)
        return response


def having(key: str) -> dict[str, Any]:
    """Returns the arguments of a call with a key."""
    return {"metadata": (("authorization", f"Bearer {key}"),)}


async def bootstrapped(engine: sa.Engine) -> str:
    """Puts the tenant `ops` with an admin key into a database. Returns the key."""
    store = SqlTenantStore(engine)
    await store.start()
    described, key = created_key("ops", frozenset(Scope), time.time_ns())
    await store.create_tenant(Tenant(name="ops"), "test")
    await store.create_key(described, "test")
    await store.close()
    return key


@asynccontextmanager
async def administered(directory: Path, **settings: Any) -> AsyncIterator[Administered]:
    """Starts a server on an SQLite database in a directory."""
    engine = database.sqlite(directory / FILE, 5.0)
    key = await bootstrapped(engine)
    engine.dispose()
    chosen = {"authenticator": "database,static", "data_dir": str(directory), **settings}
    async with serving(**chosen) as served:
        yield Administered(served, key)
