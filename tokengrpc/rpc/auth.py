"""Who is calling: `authorization: Bearer …` → a tenant."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tokengrpc.core.tenant import Tenant
from tokengrpc.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterable

NOBODY = Tenant(name="")
"""Who calls until that is known."""

ANYBODY = Tenant(name="default", admin=True)
"""Who calls a server that has no tenants configured."""


class Authenticator:
    """Keys are kept and compared as digests, so that neither memory nor timing tells them."""

    def __init__(self, tenants: Iterable[tuple[Tenant, str]]) -> None:
        self._tenants = {_digest(key): tenant for tenant, key in tenants}

    def tenant(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> Tenant:
        """The caller. Raises Unauthenticated."""
        if not self._tenants:
            return ANYBODY
        for name, value in metadata or ():
            if name == "authorization" and isinstance(value, str):
                scheme, _, key = value.partition(" ")
                tenant = self._tenants.get(_digest(key.strip())) if scheme.lower() == "bearer" else None
                if tenant is not None:
                    return tenant
                raise Unauthenticated(
                    "the key is not known here: check the metadata `authorization: Bearer KEY`"
                )
        raise Unauthenticated("this server wants a key: send the metadata `authorization: Bearer KEY`")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
