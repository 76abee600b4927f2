"""Tenants and keys on several servers that share PostgreSQL: changes, outages of the database, and kills."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from tokenstreaming.v1 import admin_service_pb2 as pb

from tests.support.commands import Server, running, serving, tokengrpc
from tests.support.postgres import postgres
from tokengrpc.client import SyncTokenStreamClient, TokenStreamError
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import FILE
from tokengrpc.stores.sql.tenants import SqlTenantStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import sqlalchemy as sa

    from tokengrpc.core.ports.tenant_store import ApiKey, AuditEntry, StoredTenant

ROUNDS = 10
MOST_CALLS = 5000
"""Calls that the other server may answer as before: more than it can answer in a few looks at the audit."""


def bootstrapped(**where: str) -> str:
    made = tokengrpc("keys", "bootstrap", **where)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@contextmanager
def caller(server: Server, key: str) -> Iterator[SyncTokenStreamClient]:
    with SyncTokenStreamClient(server.target, token=key) as client:
        yield client


def reason(call: Callable[[], object]) -> str:
    """Returns why a call fails; empty if it does not."""
    try:
        call()
    except TokenStreamError as error:
        return error.reason
    return ""


def reason_when_available(call: Callable[[], object]) -> str:
    """Calls until the store is available. Returns why the call fails then; empty if it does not."""
    began = time.monotonic()
    while (why := reason(call)) == "STORE_UNAVAILABLE":
        assert time.monotonic() - began < 60
    return why


def until_refused(call: Callable[[], object], began: float) -> tuple[str, float]:
    """Calls until the call fails. Returns why it did, and how many seconds after a time."""
    for _ in range(MOST_CALLS):
        if why := reason(call):
            return why, time.monotonic() - began
    raise AssertionError(f"{MOST_CALLS} calls went through")


def test_changes_count_on_the_other_replica(postgres_server) -> None:
    """A new key with its first call. A revocation and a lower limit soon after; the time is printed."""
    seconds: dict[str, list[float]] = {"revoked": [], "limited": []}
    with postgres_server.database("replicas") as url, ExitStack() as stack:
        where = {"TOKENGRPC_LEDGER": url, "TOKENGRPC_AUTHENTICATOR": "database"}
        key = bootstrapped(**where)
        here, there = (stack.enter_context(serving(**where)) for _ in range(2))
        admin = stack.enter_context(caller(here, key)).admin
        admin.create_tenant(pb.Tenant(name="acme"))
        lasting = stack.enter_context(caller(there, admin.create_key("acme").key))
        for _ in range(ROUNDS):
            made = admin.create_key("acme")
            with caller(there, made.key) as client:
                assert [model.name for model in client.models()] == ["builtin"]
                lasting.generate("hello", max_tokens=1)
                # Both at once, because each counts with a look at the audit.
                admin.update_tenant(pb.Tenant(name="acme", requests_per_minute=1), ["requests_per_minute"])
                limited_at = time.monotonic()
                admin.revoke_key(made.api_key.id)
                why, passed = until_refused(client.models, time.monotonic())
                assert why == "UNAUTHENTICATED"
                seconds["revoked"].append(passed)
                why, passed = until_refused(lambda: lasting.generate("hello", max_tokens=1), limited_at)
                assert why == "QUOTA_EXCEEDED"
                seconds["limited"].append(passed)
                admin.update_tenant(pb.Tenant(name="acme"), ["requests_per_minute"])
    for what, values in seconds.items():
        print(f"{what} elsewhere after s: median {statistics.median(values):.3f}, most {max(values):.3f}")


def test_known_keys_go_on_for_a_while_without_the_database(tmp_path) -> None:
    """For tenant_outage_time, then every key is refused as unavailable, until the database is back."""
    with postgres() as server_of_all:
        where = {
            "TOKENGRPC_LEDGER": server_of_all.url,
            "TOKENGRPC_AUTHENTICATOR": "database",
            "TOKENGRPC_LIMITS_TENANT_OUTAGE_TIME": "3",
            "TOKENGRPC_LIMITS_STORE_TIMEOUT": "1",
        }
        key = bootstrapped(**where)
        unknown = bootstrapped(**{**where, "TOKENGRPC_LEDGER": f"sqlite:{tmp_path / 'elsewhere.sqlite3'}"})
        with serving(**where) as server, caller(server, key) as known, caller(server, unknown) as stranger:
            assert known.models()
            assert reason(stranger.models) == "UNAUTHENTICATED"
            server_of_all.stop(signal.SIGQUIT)
            # What is known counts; what is not cannot be told.
            assert known.models()
            assert reason(stranger.models) == "STORE_UNAVAILABLE"
            assert known.models()
            began, calls = time.monotonic(), 0
            while not (why := reason(known.models)):
                calls += 1
                assert time.monotonic() - began < 60
            print(f"closed after {time.monotonic() - began:.1f} s more, and {calls} calls")
            assert why == "STORE_UNAVAILABLE"
            assert calls
            server_of_all.start()
            assert not reason_when_available(known.models)


def test_keys_count_when_the_database_comes_up_after_the_server() -> None:
    """Until then they are refused as unavailable."""
    with postgres() as server_of_all:
        where = {
            "TOKENGRPC_LEDGER": server_of_all.url,
            "TOKENGRPC_LEDGER_OUTAGE": "degrade",
            "TOKENGRPC_AUTHENTICATOR": "database",
        }
        key = bootstrapped(**where)
        server_of_all.stop()
        with serving(**where) as server, caller(server, key) as known:
            assert reason(known.models) == "STORE_UNAVAILABLE"
            server_of_all.start()
            assert not reason_when_available(known.models)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_kill_leaves_tenants_keys_and_audit_consistent(request, tmp_path: Path, kind: str) -> None:
    """The audit says exactly what the tables have, and nothing that was acknowledged is lost."""
    with ExitStack() as stack:
        if kind == "sqlite":
            ledger = f"sqlite:{tmp_path / FILE}"
            engine = database.sqlite(tmp_path / FILE, 5.0)
        else:
            ledger = stack.enter_context(request.getfixturevalue("postgres_server").database("kills"))
            engine = database.postgresql(ledger, 5.0)
        where = {"TOKENGRPC_LEDGER": ledger, "TOKENGRPC_AUTHENTICATOR": "database"}
        key = bootstrapped(**where)
        acknowledged: set[str] = set()
        for round_ in range(4):
            changed_until_killed(key, round_, acknowledged, where)
        found, keys, entries = asyncio.run(everything(engine))
        engine.dispose()
    check(found, keys, entries)
    assert len(acknowledged) > 4
    assert acknowledged <= {entry.key_id for entry in entries}
    print(f"{len(acknowledged)} acknowledged keys, {len(entries)} entries")


def changed_until_killed(key: str, round_: int, acknowledged: set[str], where: dict[str, str]) -> None:
    """Makes changes by several threads, until the server is killed in the middle of them."""
    listen = ("serve", "--listen", "127.0.0.1:0", "--log-level", "error")
    with running(*listen, variables=where) as process:
        assert process.stdout is not None
        target = process.stdout.readline().decode().split()[-1]
        enough = threading.Semaphore(0)

        def change(worker: int) -> None:
            with SyncTokenStreamClient(target, token=key) as client:
                for n in range(1000):
                    name = f"t{round_}-{worker}-{n}"
                    try:
                        client.admin.create_tenant(pb.Tenant(name=name))
                        made = client.admin.create_key(name)
                        acknowledged.add(made.api_key.id)
                        enough.release()
                        if n % 2:
                            client.admin.revoke_key(made.api_key.id)
                        else:
                            client.admin.delete_tenant(name)
                    except TokenStreamError:
                        return

        workers = [threading.Thread(target=change, args=(worker,)) for worker in range(3)]
        for worker in workers:
            worker.start()
        for _ in range(6):
            assert enough.acquire(timeout=60)
        os.kill(process.pid, signal.SIGKILL)
        for worker in workers:
            worker.join()


async def everything(engine: sa.Engine) -> tuple[list[StoredTenant], list[ApiKey], list[AuditEntry]]:
    store = SqlTenantStore(engine)
    await store.start()
    found = await store.list_tenants("", 10_000)
    keys = await store.list_keys("", "", None, 10_000)
    entries = await store.changes_after(0, 10_000)
    await store.close()
    return list(found), list(keys), list(entries)


def check(found: list[StoredTenant], keys: list[ApiKey], entries: list[AuditEntry]) -> None:
    """Replays the audit and compares what it makes with the tables."""
    assert [entry.sequence for entry in entries] == [*range(1, len(entries) + 1)]
    tenants: set[str] = set()
    usable: dict[str, str] = {}
    created: set[str] = set()
    for entry in entries:
        match entry.action:
            case "CreateTenant":
                tenants.add(entry.tenant)
            case "DeleteTenant":
                tenants.remove(entry.tenant)
                usable = {key: tenant for key, tenant in usable.items() if tenant != entry.tenant}
            case "CreateApiKey":
                usable[entry.key_id] = entry.tenant
                created.add(entry.key_id)
            case "RevokeApiKey":
                del usable[entry.key_id]
    assert {stored.tenant.name for stored in found} == tenants
    assert {key.id for key in keys} == created
    assert {key.id for key in keys if key.revoke_time_ns is None} == usable.keys()
