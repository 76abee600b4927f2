"""The port of authentication."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from urllib.parse import unquote

import msgspec

from tokengrpc.core.tenant import Identity, Tenant  # noqa: TC001 - plugins import them from here

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.core.ports.observer import ObserverEvent


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Other end of a connection. `address` is written as the transport writes it.

    `certificate_names` are the subject alternative names of a verified client certificate, or its common name
    if it has none; empty without a certificate.
    """

    address: str = ""
    certificate_names: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The address as people write it, such as `127.0.0.1:50000` and `[::1]:50000`."""
        kind, colon, rest = self.address.partition(":")
        return unquote(rest) if colon and kind in {"ipv4", "ipv6"} else self.address


class CredentialKind(StrEnum):
    """What a call has to prove who its caller is. `identity/credentials.py` tells the kinds apart."""

    NONE = "none"
    CERTIFICATE = "certificate"
    JWT = "jwt"
    DATABASE_KEY = "database_key"
    KEY = "key"
    OTHER = "other"


class Authenticator(Protocol):
    """Authenticates callers. `start` and `close` are called once each."""

    async def start(self) -> None:
        """Loads keys or connects. Raises ConfigError if this fails."""

    async def close(self) -> None:
        """Releases everything."""

    async def authenticate(self, metadata: Sequence[tuple[str, str | bytes]], peer: Peer) -> Identity:
        """Returns the caller's identity. Called once per call, before the request is parsed.

        Raises Unauthenticated, or StoreUnavailable if the identity cannot be determined now.
        """


@runtime_checkable
class ReloadsKeys(Protocol):
    """Authenticator that can take other keys while calls run."""

    def reload(self, settings: Any) -> None:  # noqa: ANN401 - the server's settings, which ports do not know
        """Takes the keys of new settings, for the calls from now on.

        Raises ConfigError, and keeps the old keys, if one cannot be used.
        """


@runtime_checkable
class TakesKinds(Protocol):
    """Authenticator that takes some kinds of credentials only, so that others can be named after it.

    An authenticator without this takes every kind.
    """

    kinds: frozenset[CredentialKind]


class TenantLookup(Protocol):
    """The tenants that the server knows."""

    async def find_tenant(self, name: str) -> Tenant | None:
        """Returns the tenant of this name as it is now; None if there is none.

        Raises StoreUnavailable if that cannot be determined now.
        """


@runtime_checkable
class LooksUpTenants(Protocol):
    """Authenticator whose credentials name tenants, which it looks up for each call."""

    def use_tenants(self, tenants: TenantLookup) -> None:
        """Takes the tenants of the server. Called once, before `start`."""


class KeyLookup(Protocol):
    """The keys of the database."""

    async def find_key(self, digest: str) -> Identity | None:
        """Returns whom a key with this SHA-256 identifies now; None if it is unknown, expired or revoked.

        Raises StoreUnavailable if that cannot be determined now.
        """


@runtime_checkable
class LooksUpKeys(Protocol):
    """Authenticator that looks keys up in the database, for each call."""

    def use_keys(self, keys: KeyLookup) -> None:
        """Takes the keys of the server's database, if it has one. Called once, before `start`."""


@runtime_checkable
class ReportsStores(Protocol):
    """Authenticator, or what it looks up, that depends on a store which may be away."""

    def report_to(self, emit: Callable[[ObserverEvent], None]) -> None:
        """Takes what is called with a StoreStateChanged when that changes. Called once, before `start`."""
