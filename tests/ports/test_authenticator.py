"""The contract of every authenticator."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.tenant_stores import api_key
from tokengrpc.config import Settings, TenantSettings
from tokengrpc.core.ports.auth import Peer
from tokengrpc.core.tenant import ANYBODY, Tenant
from tokengrpc.errors import Unauthenticated
from tokengrpc.identity.api_keys import digest_of, new_key
from tokengrpc.identity.chain import AuthenticatorChain
from tokengrpc.identity.database_keys import DatabaseKeyAuthenticator
from tokengrpc.identity.directory import TenantDirectory
from tokengrpc.identity.jwt import create as create_jwt
from tokengrpc.identity.static_keys import StaticKeyAuthenticator
from tokengrpc.identity.tenants import SettingsTenants
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.tenants import SqlTenantStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tokengrpc.core.ports.auth import Authenticator

Metadata = tuple[tuple[str, str | bytes], ...]
SEARCH, MAIL = Tenant(name="search"), Tenant(name="mail")
HERE = Peer(address="ipv4:127.0.0.1:1234")


def bearer(key: str) -> Metadata:
    return (("user-agent", "x"), ("authorization", f"Bearer {key}"))


@asynccontextmanager
async def static_keys() -> AsyncIterator[tuple[Authenticator, dict[str, Metadata]]]:
    keys = [(SEARCH, "key-1"), (MAIL, "key-2"), (MAIL, "key-3")]
    yield StaticKeyAuthenticator(keys), {"search": bearer("key-1"), "mail": bearer("key-3")}


@asynccontextmanager
async def tokens() -> AsyncIterator[tuple[Authenticator, dict[str, Metadata]]]:
    async with Issuer() as issuer:
        tenants = tuple(TenantSettings(name=name, key_env="KEY") for name in ("search", "mail"))
        settings = Settings(tenants=tenants)
        options = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": issuer.url}
        made = create_jwt("jwt", options, settings)
        made.use_tenants(SettingsTenants(settings))
        yield made, {name: bearer(issuer.token(tenant=name)) for name in ("search", "mail")}


@asynccontextmanager
async def database_keys() -> AsyncIterator[tuple[Authenticator, dict[str, Metadata]]]:
    keys = {name: new_key() for name in ("search", "mail")}
    with TemporaryDirectory() as directory:
        store = SqlTenantStore(database.sqlite(Path(directory) / "tenants.sqlite3", 5.0))
        made = TenantDirectory(SettingsTenants(Settings()), store, call_timeout=5.0, outage_time=300.0)
        await made.start()
        for name, key in keys.items():
            await store.create_tenant(Tenant(name=name), "ops")
            await store.create_key(api_key(name, name, digest=digest_of(key)), "ops")
        authenticator = DatabaseKeyAuthenticator()
        authenticator.use_keys(made)
        yield authenticator, {name: bearer(key) for name, key in keys.items()}
        await made.close()


@asynccontextmanager
async def chain() -> AsyncIterator[tuple[Authenticator, dict[str, Metadata]]]:
    async with tokens() as (made, known), static_keys() as (keys, others):
        yield AuthenticatorChain({"jwt": made, "static": keys}), {**known, "mail": others["mail"]}


@pytest.fixture(params=[static_keys, tokens, database_keys, chain])
async def known(request) -> AsyncIterator[tuple[Authenticator, dict[str, Metadata]]]:
    """An authenticator, and metadata by which it identifies the tenants `search` and `mail`."""
    async with request.param() as (authenticator, callers):
        await authenticator.start()
        yield authenticator, callers
        await authenticator.close()


async def test_callers_are_identified_by_their_credentials(known) -> None:
    """Whatever else is in the metadata."""
    authenticator, callers = known
    for name, metadata in callers.items():
        assert (await authenticator.authenticate(metadata, HERE)).tenant.name == name
        more = (("x-trace", b"\x00"), *metadata, ("authorization", "Bearer later"))
        assert (await authenticator.authenticate(more, HERE)).tenant.name == name


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        bearer(""),
        bearer("key"),
        (("authorization", "Basic key-1"),),
        (("authorization", b"Bearer key-1"),),
    ],
    ids=["none", "empty", "unknown", "another scheme", "bytes"],
)
async def test_unknown_callers_are_refused(known, metadata: Metadata) -> None:
    """The message says what to send instead, and does not repeat what they sent."""
    authenticator, _ = known
    with pytest.raises(Unauthenticated, match="authorization") as caught:
        await authenticator.authenticate(metadata, HERE)
    assert "key-1" not in str(caught.value)


async def test_without_keys_everybody_may_call() -> None:
    """This is the default of a server without tenants."""
    assert await StaticKeyAuthenticator([], is_open=True).authenticate((), HERE) == ANYBODY
