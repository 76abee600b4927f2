"""Several authenticators at once: the first one that takes the kind of a call's credential answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokengrpc.config import ConfigError
from tokengrpc.config.messages import listed
from tokengrpc.core.ports.auth import (
    CredentialKind,
    LooksUpKeys,
    LooksUpTenants,
    ReloadsKeys,
    ReportsStores,
    TakesKinds,
)
from tokengrpc.errors import Unauthenticated
from tokengrpc.identity.credentials import ALL_KINDS, BEARER_KINDS, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tokengrpc.core.ports.auth import Authenticator, KeyLookup, Peer, TenantLookup
    from tokengrpc.core.ports.observer import ObserverEvent
    from tokengrpc.core.tenant import Identity


class AuthenticatorChain:
    """Authenticator that asks others, in the order of their mapping.

    Each kind of credential has one authenticator, whose answer is final. So a credential that one of them
    refuses is never tried on another, weaker one.
    """

    def __init__(self, authenticators: Mapping[str, Authenticator]) -> None:
        """Takes the authenticators by name. Raises ConfigError if one of them would never be asked."""
        self._all = tuple(authenticators.values())
        self._started: list[Authenticator] = []
        self._by_kind: dict[CredentialKind, Authenticator] = {}
        taken_by: dict[CredentialKind, str] = {}
        for name, authenticator in authenticators.items():
            kinds = authenticator.kinds if isinstance(authenticator, TakesKinds) else ALL_KINDS
            left = kinds - taken_by.keys()
            if not left:
                before = listed([f"`{other}`" for other in dict.fromkeys(taken_by[kind] for kind in kinds)])
                raise ConfigError(
                    f"authenticator: `{name}` is never asked, because {before} before it takes all that it "
                    f"takes; name `{name}` first"
                )
            taken_by.update(dict.fromkeys(left, name))
            self._by_kind.update(dict.fromkeys(left, authenticator))

    def use_tenants(self, tenants: TenantLookup) -> None:
        """See `LooksUpTenants`."""
        for authenticator in self._all:
            if isinstance(authenticator, LooksUpTenants):
                authenticator.use_tenants(tenants)

    def use_keys(self, keys: KeyLookup) -> None:
        """See `LooksUpKeys`."""
        for authenticator in self._all:
            if isinstance(authenticator, LooksUpKeys):
                authenticator.use_keys(keys)

    def report_to(self, emit: Callable[[ObserverEvent], None]) -> None:
        """See `ReportsStores`."""
        for authenticator in self._all:
            if isinstance(authenticator, ReportsStores):
                authenticator.report_to(emit)

    def reload(self, settings: Any) -> None:  # noqa: ANN401 - as the port has it
        """See `ReloadsKeys`."""
        for authenticator in self._all:
            if isinstance(authenticator, ReloadsKeys):
                authenticator.reload(settings)

    async def start(self) -> None:
        """See `Authenticator`."""
        try:
            for authenticator in self._all:
                await authenticator.start()
                self._started.append(authenticator)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """See `Authenticator`."""
        while self._started:
            await self._started.pop().close()

    async def authenticate(self, metadata: Sequence[tuple[str, str | bytes]], peer: Peer) -> Identity:
        """See `Authenticator`."""
        authenticator = self._by_kind.get(kind_of(metadata, peer))
        if authenticator is None:
            raise Unauthenticated(f"the call has no credential that this server takes: {self._advice}")
        return await authenticator.authenticate(metadata, peer)

    @property
    def _advice(self) -> str:
        ways = []
        if not BEARER_KINDS.isdisjoint(self._by_kind):
            ways.append("send a key or a token as metadata `authorization: Bearer KEY`")
        if CredentialKind.CERTIFICATE in self._by_kind:
            ways.append("connect with a client certificate, and send no `authorization`")
        return ", or ".join(ways)
