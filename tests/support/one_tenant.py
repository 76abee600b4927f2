"""An authenticator for which every caller is one tenant, whose limits can be changed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tokengrpc.core.tenant import Identity, Tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.ports.auth import Peer


class OneTenant:
    """Authenticator of the tenant `a`. `tenant` is the tenant of calls from now on."""

    def __init__(self, **limits: Any) -> None:
        self.tenant = Tenant(name="a", admin=True, **limits)

    def limit(self, **limits: Any) -> None:
        """Changes limits, for the calls from now on."""
        self.tenant = dataclasses.replace(self.tenant, **limits)

    async def start(self) -> None:
        """See `Authenticator`."""

    async def close(self) -> None:
        """See `Authenticator`."""

    async def authenticate(self, metadata: Sequence[tuple[str, str | bytes]], peer: Peer) -> Identity:
        """See `Authenticator`."""
        return Identity(tenant=self.tenant)
