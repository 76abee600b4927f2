"""Authentication with static keys: `authorization: Bearer KEY` is compared with the tenants' keys."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from tokengrpc.config import ConfigError
from tokengrpc.core.tenant import ANYBODY, Identity
from tokengrpc.errors import Unauthenticated
from tokengrpc.identity.credentials import ALL_KINDS, BEARER_KINDS, bearer_token
from tokengrpc.identity.tenants import tenant_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tokengrpc.config import Settings
    from tokengrpc.core.ports.auth import Peer
    from tokengrpc.core.tenant import Tenant


class StaticKeyAuthenticator:
    """Authenticator with keys of tenants. If it is `open`, every caller is `ANYBODY`.

    Keys are kept and compared as digests, so that neither memory nor timing reveals them.
    """

    def __init__(self, keys: Iterable[tuple[Tenant, str]], *, is_open: bool = False) -> None:
        self._open = is_open
        self._identities = _identities(keys)
        self.kinds = ALL_KINDS if is_open else BEARER_KINDS

    def reload(self, settings: Settings) -> None:
        """See `ReloadsKeys`. Whether callers need a key at all changes only with a restart."""
        if _is_open(settings) != self._open:
            raise ConfigError("tenants: the first tenant is added, and the last one removed, by a restart")
        self._identities = _identities(_read_keys(settings))

    async def start(self) -> None:
        """See `Authenticator`."""

    async def close(self) -> None:
        """See `Authenticator`."""

    async def authenticate(
        self,
        metadata: Sequence[tuple[str, str | bytes]],
        peer: Peer,  # noqa: ARG002 - keys are in the metadata
    ) -> Identity:
        """See `Authenticator`."""
        if self._open:
            return ANYBODY
        key = bearer_token(metadata)
        if not key:
            raise Unauthenticated("this server requires a key: send the metadata `authorization: Bearer KEY`")
        identity = self._identities.get(_digest(key))
        if identity is None:
            raise Unauthenticated(
                "the key is unknown to this server: check the metadata `authorization: Bearer KEY`"
            )
        return identity


def _identities(keys: Iterable[tuple[Tenant, str]]) -> dict[bytes, Identity]:
    return {_digest(key): Identity(tenant=tenant) for tenant, key in keys}


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def create(value: str, options: Mapping[str, Any], settings: Settings) -> StaticKeyAuthenticator:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the authenticator `static` with the keys of the settings' tenants.

    Raises ConfigError if a key is missing, or if two tenants have the same key.
    """
    return StaticKeyAuthenticator(_read_keys(settings), is_open=_is_open(settings))


def _is_open(settings: Settings) -> bool:
    """Returns whether the server has neither tenants nor another authenticator."""
    return not settings.tenants and len(settings.authenticators) == 1


def _read_keys(settings: Settings) -> list[tuple[Tenant, str]]:
    """Returns the settings' tenants that have keys, with their keys. Raises ConfigError, see `create`."""
    keys = [(tenant_of(tenant), tenant.read_key()) for tenant in settings.tenants if tenant.has_key]
    if not keys and not _is_open(settings):
        raise ConfigError("authenticator: `static` needs a tenant with a key; add one, or remove `static`")
    owners: dict[str, str] = {}
    for tenant, key in keys:
        if owners.setdefault(key, tenant.name) != tenant.name:
            raise ConfigError(
                f"tenants: {owners[key]} and {tenant.name} have the same key; use a different key for each"
            )
    return keys
