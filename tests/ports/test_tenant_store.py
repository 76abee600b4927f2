"""The contract of every store of tenants."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from tests.support.tenant_stores import api_key
from tokengrpc.core.ports.tenant_store import KeyPlace
from tokengrpc.core.tenant import BudgetRule, Period, Priority, Rates, Scope, Tenant
from tokengrpc.errors import ApiKeyNotFound, TenantExists, TenantNotFound

if TYPE_CHECKING:
    from tokengrpc.core.ports.tenant_store import AuditEntry, TenantStore

ACME = Tenant(
    name="acme",
    models=frozenset({"large", "small"}),
    max_generations=3,
    requests_per_minute=60,
    tokens_per_minute=2**40,
    max_output_token_count=512,
    priority_ceiling=Priority.STANDARD,
    weight=2,
    model_rates=(("large", Rates(max_generations=1)),),
    budgets=(
        BudgetRule(amount=5_000_000, currency="EUR", period=Period.MONTH),
        BudgetRule(amount=1000, period=Period.DAY, model="large", label_key="team"),
    ),
)
ADMIN = "ops/root"


def actions(entries: list[AuditEntry]) -> list[tuple[int, str, str, str]]:
    return [(entry.sequence, entry.action, entry.tenant, entry.key_id) for entry in entries]


async def test_a_tenant_comes_back_as_it_was_created(tenant_store: TenantStore) -> None:
    """With all fields, and the times of the change."""
    before = time.time_ns()
    created = await tenant_store.create_tenant(ACME, ADMIN)
    assert created.tenant == ACME
    assert before <= created.create_time_ns == created.update_time_ns <= time.time_ns()
    assert await tenant_store.find_tenant("acme") == created
    assert await tenant_store.find_tenant("Acme") is None


async def test_a_name_is_taken_once_by_whoever_comes_first(tenant_store: TenantStore) -> None:
    """Also if several ask at once."""
    tenants = [Tenant(name="acme", weight=n + 1) for n in range(8)]
    made = await asyncio.gather(
        *(tenant_store.create_tenant(tenant, ADMIN) for tenant in tenants), return_exceptions=True
    )
    (created,) = (one for one in made if not isinstance(one, TenantExists))
    assert await tenant_store.find_tenant("acme") == created
    assert len(await tenant_store.changes_after(0, 100)) == 1


async def test_tenants_are_listed_by_name_in_pages(tenant_store: TenantStore) -> None:
    """In the order of their bytes, whatever the database's language is."""
    names = ["B", "a", "a-b", "a.b", "aB", "a_b", "b"]
    for name in reversed(names):
        await tenant_store.create_tenant(Tenant(name=name), ADMIN)
    listed: list[str] = []
    while page := await tenant_store.list_tenants(listed[-1] if listed else "", 2):
        listed += [stored.tenant.name for stored in page]
    assert listed == sorted(names)


async def test_an_update_changes_the_named_fields_alone(tenant_store: TenantStore) -> None:
    """The audit has their old and new values; an update without a difference has no entry."""
    created = await tenant_store.create_tenant(ACME, ADMIN)
    wanted = Tenant(name="acme", max_generations=1, weight=7)
    updated = await tenant_store.update_tenant(wanted, {"max_generations"}, ADMIN)
    assert updated.tenant.max_generations == 1
    assert (updated.tenant.weight, updated.tenant.budgets) == (2, ACME.budgets)
    assert updated.create_time_ns == created.create_time_ns <= updated.update_time_ns
    assert await tenant_store.update_tenant(wanted, {"max_generations"}, ADMIN) == updated
    _, entry = await tenant_store.changes_after(0, 100)
    assert json.loads(entry.change) == {"max_generations": {"old": 3, "new": 1}}
    assert (entry.actor, entry.time_ns) == (ADMIN, updated.update_time_ns)
    with pytest.raises(TenantNotFound, match="nobody"):
        await tenant_store.update_tenant(Tenant(name="nobody"), {"weight"}, ADMIN)


async def test_concurrent_updates_of_other_fields_both_last(tenant_store: TenantStore) -> None:
    """None of them writes back what another one has changed."""
    await tenant_store.create_tenant(Tenant(name="acme"), ADMIN)
    fields = ("max_generations", "requests_per_minute", "tokens_per_minute", "weight")
    await asyncio.gather(
        *(tenant_store.update_tenant(Tenant(name="acme", **{f: 9}), {f}, ADMIN) for f in fields)
    )
    found = await tenant_store.find_tenant("acme")
    assert found is not None
    assert [getattr(found.tenant, field) for field in fields] == [9, 9, 9, 9]


async def test_the_keys_of_a_deleted_tenant_are_revoked(tenant_store: TenantStore) -> None:
    """They stay revoked when the name is given to another tenant; other tenants keep theirs."""
    for name in ("acme", "other"):
        await tenant_store.create_tenant(Tenant(name=name), ADMIN)
        await tenant_store.create_key(api_key(f"of-{name}", name), ADMIN)
    await tenant_store.delete_tenant("acme", ADMIN)
    await tenant_store.create_tenant(Tenant(name="acme"), ADMIN)
    revoked = await tenant_store.find_key("of-acme")
    assert revoked is not None
    assert revoked.revoke_time_ns is not None
    assert [key.id for key in await tenant_store.usable_keys("", 10)] == ["of-other"]
    await tenant_store.delete_tenant("other", ADMIN)
    with pytest.raises(TenantNotFound):
        await tenant_store.delete_tenant("other", ADMIN)
    with pytest.raises(TenantNotFound):
        await tenant_store.create_key(api_key("late", "other"), ADMIN)


async def test_a_key_comes_back_as_it_was_created(tenant_store: TenantStore) -> None:
    """And is revoked once."""
    await tenant_store.create_tenant(Tenant(name="acme"), ADMIN)
    key = api_key(scopes=frozenset(Scope), display_name="é 🦜", create_time_ns=5, expire_time_ns=2**60)
    await tenant_store.create_key(key, ADMIN)
    assert await tenant_store.find_key("k1") == key
    revoked = await tenant_store.revoke_key("k1", ADMIN)
    assert structs.replace(revoked, revoke_time_ns=None) == key
    assert await tenant_store.revoke_key("k1", "another") == revoked == await tenant_store.find_key("k1")
    assert await tenant_store.usable_keys("", 10) == []
    for unknown in ("k2", "nul\0"):
        assert await tenant_store.find_key(unknown) is None
        with pytest.raises(ApiKeyNotFound):
            await tenant_store.revoke_key(unknown, ADMIN)
    entries = await tenant_store.changes_after(0, 10)
    assert actions(entries)[1:] == [(2, "CreateApiKey", "acme", "k1"), (3, "RevokeApiKey", "acme", "k1")]
    assert not any(key.digest in entry.change for entry in entries)


async def test_keys_are_listed_newest_first_in_pages(tenant_store: TenantStore) -> None:
    """By tenant and beginning; a whole key finds itself by its prefix."""
    for name in ("acme", "other"):
        await tenant_store.create_tenant(Tenant(name=name), ADMIN)
    for n in range(6):
        tenant = "acme" if n % 2 else "other"
        await tenant_store.create_key(api_key(f"k{n}", tenant, create_time_ns=n // 2), ADMIN)
    listed: list[str] = []
    after: KeyPlace | None = None
    while page := await tenant_store.list_keys("", "", after, 4):
        listed += [key.id for key in page]
        after = KeyPlace(page[-1].create_time_ns, page[-1].id)
    assert listed == ["k5", "k4", "k3", "k2", "k1", "k0"]

    async def found(tenant: str, prefix: str) -> list[str]:
        return [key.id for key in await tenant_store.list_keys(tenant, prefix, None, 10)]

    assert await found("acme", "") == ["k5", "k3", "k1"]
    assert await found("", "tg_k3") == ["k3"]
    assert await found("", "tg_k3secret") == ["k3"]
    assert await found("acme", "tg_") == ["k5", "k3", "k1"]
    assert await found("", "%") == await found("", "g_") == await found("", "tg_k9") == []


async def test_usable_keys_are_neither_expired_nor_revoked(tenant_store: TenantStore) -> None:
    """In pages, by id."""
    await tenant_store.create_tenant(Tenant(name="acme"), ADMIN)
    for key_id, expires in (("a", None), ("b", 5), ("c", 2**62), ("d", None), ("e", None)):
        await tenant_store.create_key(api_key(key_id, expire_time_ns=expires), ADMIN)
    await tenant_store.revoke_key("d", ADMIN)
    assert [key.id for key in await tenant_store.usable_keys("", 2)] == ["a", "c"]
    assert [key.id for key in await tenant_store.usable_keys("c", 2)] == ["e"]


async def test_the_last_use_is_the_latest_one_noted(tenant_store: TenantStore) -> None:
    """By whichever replica; keys that do not exist do not matter, and the audit has nothing of it."""
    await tenant_store.create_tenant(Tenant(name="acme"), ADMIN)
    await tenant_store.create_key(api_key("a"), ADMIN)
    await tenant_store.note_use({"a": 20, "gone": 5})
    await tenant_store.note_use({"a": 10})
    await tenant_store.note_use({})
    found = await tenant_store.find_key("a")
    assert found is not None
    assert found.last_use_time_ns == 20
    assert len(await tenant_store.changes_after(0, 10)) == 2


async def test_audit_entries_are_numbered_without_gaps(tenant_store: TenantStore) -> None:
    """Refused changes leave none."""
    await tenant_store.create_tenant(Tenant(name="acme"), ADMIN)
    with pytest.raises(TenantExists):
        await tenant_store.create_tenant(Tenant(name="acme"), ADMIN)
    await asyncio.gather(*(tenant_store.create_key(api_key(f"k{n}"), ADMIN) for n in range(10)))
    await tenant_store.create_tenant(Tenant(name="other"), ADMIN)
    entries = await tenant_store.changes_after(0, 100)
    assert [entry.sequence for entry in entries] == [*range(1, 13)]
    assert await tenant_store.changes_after(10, 1) == entries[10:11]
    assert await tenant_store.list_changes("", None, 100) == entries[::-1]
    assert await tenant_store.list_changes("acme", 3, 100) == entries[1::-1]
    assert await tenant_store.list_changes("other", None, 100) == entries[11:]
