"""The directory: what is in the database counts at once here, and within a look elsewhere."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.harness import until
from tests.support.tenant_stores import api_key
from tokengrpc.config import ConfigError, Settings, TenantSettings
from tokengrpc.core.tenant import TENANT_SCOPES, Identity, Tenant
from tokengrpc.errors import StoreUnavailable
from tokengrpc.identity.api_keys import created_key
from tokengrpc.identity.directory import TenantDirectory
from tokengrpc.identity.known_tenants import KnownTenants
from tokengrpc.identity.tenants import SettingsTenants
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.tenants import SqlTenantStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ACME = Tenant(name="acme", max_generations=5)
DIGEST = "digest of k1"


class Counted:
    """A real store that counts looks at the audit, and can be away, or go away while its keys are read."""

    def __init__(self, store: SqlTenantStore) -> None:
        self._store = store
        self.looks = 0
        self.is_away = self.is_cut_off = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def changes_after(self, sequence: int, limit: int):
        self.looks += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return await self._store.changes_after(sequence, limit)

    async def start(self) -> None:
        if self.is_away:
            raise StoreUnavailable("away")
        await self._store.start()

    async def usable_keys(self, after: str, limit: int):
        if after and self.is_cut_off:
            raise StoreUnavailable("cut off")
        return await self._store.usable_keys(after, limit)


def store_in(directory: Path) -> Counted:
    return Counted(SqlTenantStore(database.sqlite(directory / "tenants.sqlite3", 5.0)))


@asynccontextmanager
async def replica(
    store: Counted,
    *static: str,
    outage_time: float = 300.0,
    strict: bool = True,
    states: list[bool] | None = None,
) -> AsyncIterator[TenantDirectory]:
    settings = Settings(tenants=tuple(TenantSettings(name=name, key_env="KEY") for name in static))
    made = TenantDirectory(
        SettingsTenants(settings), store, call_timeout=5.0, outage_time=outage_time, strict=strict
    )
    if states is not None:
        made.report_to(lambda event: states.append(event.available))
    try:
        await made.start()
        yield made
    finally:
        await made.close()


async def until_true(condition) -> None:
    """Waits for an asynchronous condition."""
    async with asyncio.timeout(20):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


@pytest.fixture
async def store(tmp_path) -> AsyncIterator[Counted]:
    made = store_in(tmp_path)
    await made.start()
    await made.create_tenant(ACME, "ops")
    await made.create_key(api_key(), "ops")
    yield made
    await made.close()


async def test_a_key_identifies_its_tenant(store: Counted, tmp_path: Path) -> None:
    """With its scopes, and its id as the subject; an unknown key identifies nobody."""
    async with replica(store_in(tmp_path)) as directory:
        found = await directory.find_key(DIGEST)
        assert found == Identity(tenant=ACME, subject="k1", scopes=TENANT_SCOPES)
        assert await directory.find_key("another") is None
        assert await directory.find_tenant("acme") == ACME
        assert await directory.find_tenant("nobody") is None


async def test_changes_count_on_another_replica_without_a_restart(store: Counted, tmp_path: Path) -> None:
    """Limits, revocations, new keys, deletions: each within a look."""
    async with replica(store_in(tmp_path)) as there:
        await store.update_tenant(Tenant(name="acme", max_generations=1), {"max_generations"}, "ops")
        await until(lambda: there.is_current(2 + 1))
        found = await there.find_key(DIGEST)
        assert found is not None
        assert found.tenant.max_generations == 1
        # What is new counts with the first call that has it.
        await store.create_key(api_key("k2"), "ops")
        assert await there.find_key("digest of k2") is not None
        await store.create_tenant(Tenant(name="new"), "ops")
        assert await there.find_tenant("new") == Tenant(name="new")
        await store.revoke_key("k1", "ops")
        await there.refresh()
        assert await there.find_key(DIGEST) is None
        await store.delete_tenant("acme", "ops")
        await store.create_tenant(ACME, "ops")
        await there.refresh()
        assert await there.find_tenant("acme") == ACME
        assert await there.find_key("digest of k2") is None


async def test_an_expired_key_identifies_nobody(store: Counted, tmp_path: Path) -> None:
    """From the nanosecond at which it expires."""
    now = 10**18
    await store.create_key(api_key("brief", expire_time_ns=2 * 10**18), "ops")
    settings = SettingsTenants(Settings())
    directory = TenantDirectory(
        settings, store_in(tmp_path), call_timeout=5.0, outage_time=300.0, now_ns=lambda: now
    )
    await directory.start()
    now = 2 * 10**18 - 1
    assert await directory.find_key("digest of brief") is not None
    now += 1
    assert await directory.find_key("digest of brief") is None
    await directory.close()


async def test_unknown_keys_share_a_look(store: Counted, tmp_path: Path) -> None:
    """A flood of them costs the database no more than a few callers would."""
    other = store_in(tmp_path)
    async with replica(other) as directory:
        before = other.looks
        found = await asyncio.gather(*(directory.find_key(f"guess {n}") for n in range(2000)))
        assert not any(found)
        assert other.looks - before <= 3


async def test_what_is_known_counts_while_the_database_is_away(store: Counted, tmp_path: Path) -> None:
    """For the stated time; what is unknown cannot be told meanwhile. Tenants of the settings always count."""
    other = store_in(tmp_path)
    states: list[bool] = []
    async with replica(other, "static", outage_time=1.0, states=states) as directory:
        other.is_away = True
        with pytest.raises(StoreUnavailable):
            await directory.find_key("another")
        assert await directory.find_key(DIGEST) is not None
        assert await directory.find_tenant("acme") == ACME

        async def refused() -> bool:
            try:
                return await directory.find_key(DIGEST) is None
            except StoreUnavailable:
                return True

        looks = other.looks
        await until_true(refused)
        assert other.looks > looks
        for lookup in (directory.find_key(DIGEST), directory.find_tenant("acme")):
            with pytest.raises(StoreUnavailable, match="may have changed"):
                await lookup
        static = await directory.find_tenant("static")
        assert static is not None
        assert states == [False]
        other.is_away = False
        await directory.refresh()
        assert await directory.find_key(DIGEST) is not None
        assert states == [False, True]


async def test_a_database_that_is_away_at_the_start(store: Counted, tmp_path: Path) -> None:
    """Without strict, it counts from when it comes up; until then, nothing is told of it."""
    other = store_in(tmp_path)
    other.is_away = True
    with pytest.raises(StoreUnavailable):
        async with replica(other):
            pass
    other, states = store_in(tmp_path), []
    other.is_away = True
    async with replica(other, "static", strict=False, states=states) as directory:
        for lookup in (directory.find_key(DIGEST), directory.find_tenant("acme")):
            with pytest.raises(StoreUnavailable, match="could not be read yet"):
                await lookup
        assert await directory.find_tenant("static") is not None
        other.is_away = False
        await until(lambda: states == [False, True])
        assert await directory.find_key(DIGEST) is not None
        assert await directory.find_tenant("acme") == ACME


async def test_what_was_read_before_a_cut_is_read_again(store: Counted, tmp_path: Path) -> None:
    """A key that was revoked meanwhile identifies nobody."""
    other = store_in(tmp_path)
    other.is_cut_off = True
    async with replica(other, strict=False) as directory:
        await store.revoke_key("k1", "ops")
        await store.delete_tenant("acme", "ops")
        other.is_cut_off = False
        await directory.refresh()
        assert await directory.find_key(DIGEST) is None
        assert await directory.find_tenant("acme") is None


async def test_a_name_in_both_places_is_refused(store: Counted, tmp_path: Path) -> None:
    """When the server starts, and when its settings are read again."""
    with pytest.raises(ConfigError, match="tenants: acme is in the database too"):
        async with replica(store_in(tmp_path), "acme"):
            pass
    async with replica(store_in(tmp_path), "other") as directory:
        with pytest.raises(ConfigError, match="acme"):
            directory.check(Settings(tenants=(TenantSettings(name="acme", key_env="KEY"),)))
        # One that another replica creates meanwhile does not count here.
        await store.create_tenant(Tenant(name="other", weight=9), "ops")
        await store.create_key(api_key("theirs", "other"), "ops")
        assert await directory.find_key("digest of theirs") is None
        found = await directory.find_tenant("other")
        assert found is not None
        assert found.weight == 1


async def test_the_last_use_is_noted_when_the_server_stops(store: Counted, tmp_path: Path) -> None:
    """And at most once a minute before."""
    async with replica(store_in(tmp_path)) as directory:
        await directory.find_key(DIGEST)
    found = await store.find_key("k1")
    assert found.last_use_time_ns is not None


async def test_a_key_takes_less_than_a_kibibyte(store: Counted, tmp_path: Path) -> None:
    """As docs/credentials.md says."""
    count = 500
    for n in range(count):
        described, _ = created_key("acme", frozenset([*TENANT_SCOPES]), n, display_name=f"the key of job {n}")
        await store.create_key(described, "ops")
    tracemalloc.start()
    try:
        known = KnownTenants()
        await known.load(store)
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(known.keys) == count + 1
    assert used / count < 1024
