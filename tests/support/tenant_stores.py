"""All stores of tenants of this project, for the tests of their port, and values to store."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tokengrpc.core.ports.tenant_store import ApiKey
from tokengrpc.core.tenant import TENANT_SCOPES
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.tenants import SqlTenantStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest
    import sqlalchemy as sa

    from tokengrpc.core.ports.tenant_store import TenantStore


@contextmanager
def sqlite(_request: pytest.FixtureRequest, directory: Path) -> Iterator[TenantStore]:
    """A store in a file of its own."""
    with _disposed(database.sqlite(directory / "tenants.sqlite3", 5.0)) as engine:
        yield SqlTenantStore(engine)


@contextmanager
def postgresql(request: pytest.FixtureRequest, _directory: Path) -> Iterator[TenantStore]:
    """A store in a database of its own, on the session's server."""
    server = request.getfixturevalue("postgres_server")
    with server.database("tenants") as url, _disposed(database.postgresql(url, 5.0)) as engine:
        yield SqlTenantStore(engine)


TENANT_STORES = (sqlite, postgresql)


@contextmanager
def _disposed(engine: sa.Engine) -> Iterator[sa.Engine]:
    try:
        yield engine
    finally:
        engine.dispose()


def api_key(key_id: str = "k1", tenant: str = "acme", **fields: Any) -> ApiKey:
    """Returns a key of a tenant."""
    values: dict[str, Any] = {
        "prefix": f"tg_{key_id}",
        "digest": f"digest of {key_id}",
        "scopes": TENANT_SCOPES,
        "create_time_ns": 1,
        **fields,
    }
    return ApiKey(id=key_id, tenant=tenant, **values)
