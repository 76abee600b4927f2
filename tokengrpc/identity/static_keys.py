"""Authentication with static keys: `authorization: Bearer KEY` is compared with the tenants' keys."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from tokengrpc.config import ConfigError
from tokengrpc.core.tenant import ANYBODY, Identity, Tenant
from tokengrpc.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tokengrpc.config import Settings
    from tokengrpc.core.ports.auth import Peer


class StaticKeyAuthenticator:
    """Authenticator with one key per tenant. If there are no keys, every caller is `ANYBODY`.

    Keys are kept and compared as digests, so that neither memory nor timing reveals them.
    """

    def __init__(self, keys: Iterable[tuple[Tenant, str]]) -> None:
        self._identities = _identities(keys)

    def reload(self, settings: Settings) -> None:
        """See `ReloadsKeys`. Whether callers need a key at all changes only with a restart."""
        if bool(settings.tenants) != bool(self._identities):
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
        if not self._identities:
            return ANYBODY
        for name, value in metadata:
            if name == "authorization" and isinstance(value, str):
                scheme, _, key = value.partition(" ")
                identity = self._identities.get(_digest(key.strip())) if scheme.lower() == "bearer" else None
                if identity is not None:
                    return identity
                raise Unauthenticated(
                    "the key is unknown to this server: check the metadata `authorization: Bearer KEY`"
                )
        raise Unauthenticated("this server requires a key: send the metadata `authorization: Bearer KEY`")


def _identities(keys: Iterable[tuple[Tenant, str]]) -> dict[bytes, Identity]:
    return {_digest(key): Identity(tenant=tenant) for tenant, key in keys}


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def create(value: str, options: Mapping[str, Any], settings: Settings) -> StaticKeyAuthenticator:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the authenticator `static` with the keys of the settings' tenants.

    Raises ConfigError if a key is missing, or if two tenants have the same key.
    """
    return StaticKeyAuthenticator(_read_keys(settings))


def _read_keys(settings: Settings) -> list[tuple[Tenant, str]]:
    """Returns the settings' tenants with their keys. Raises ConfigError, see `create`."""
    keys = [
        (
            Tenant(
                name=tenant.name,
                models=frozenset(tenant.models),
                admin=tenant.admin,
                max_generations=tenant.max_generations,
            ),
            tenant.read_key(),
        )
        for tenant in settings.tenants
    ]
    owners: dict[str, str] = {}
    for tenant, key in keys:
        if owners.setdefault(key, tenant.name) != tenant.name:
            raise ConfigError(
                f"tenants: {owners[key]} and {tenant.name} have the same key; use a different key for each"
            )
    return keys
