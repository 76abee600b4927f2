"""Tenants that only tokens name."""

from __future__ import annotations

import time

from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tokengrpc.config import Settings
from tokengrpc.core.ports.auth import Peer
from tokengrpc.core.tenant import Tenant
from tokengrpc.identity.jwt.authenticator import JwtAuthenticator
from tokengrpc.identity.jwt.created_tenants import RECHECK_TIME, CreatedTenants
from tokengrpc.identity.jwt.jwks import IssuerKeys
from tokengrpc.identity.jwt.settings import read_settings


async def test_a_created_tenant_is_seldom_looked_up(tmp_path):
    """A look at a database takes a while. One that is created there counts after half a second."""
    issuer, asked, clock = Issuer(), [], [0.0]

    class Looked:
        async def find_tenant(self, name):
            asked.append(name)
            return Tenant(name=name, max_generations=9) if len(asked) > 1 else None

    created = CreatedTenants(Tenant(name="default", max_generations=3), lambda: clock[0])
    assert created.recent("new") is None
    assert created.create("new").max_generations == 3
    clock[0] = RECHECK_TIME - 0.01
    assert created.recent("new").name == "new"
    clock[0] = RECHECK_TIME
    assert created.recent("new") is None
    jwks = issuer.write(tmp_path / "jwks.json")
    options = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": str(jwks), "unknown_tenants": "create"}
    settings, now = read_settings(options, Settings(authenticator="jwt")), time.time()
    made = JwtAuthenticator(settings, IssuerKeys(settings), lambda: now)
    made.use_tenants(Looked())
    await made.start()
    metadata = (("authorization", f"Bearer {issuer.token(tenant='new')}"),)
    for _ in range(3):
        identity = await made.authenticate(metadata, Peer())
        assert identity.tenant.max_generations == 0
    assert asked == ["new"]
