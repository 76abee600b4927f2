"""Authentication with client certificates: the names in a certificate say which tenant calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from tokengrpc.config import ConfigError
from tokengrpc.config.messages import Problem, convert
from tokengrpc.config.values import Name
from tokengrpc.core.ports.auth import CredentialKind
from tokengrpc.core.tenant import Identity, Scope
from tokengrpc.errors import Unauthenticated
from tokengrpc.identity.credentials import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokengrpc.config import Settings
    from tokengrpc.core.ports.auth import Peer, TenantLookup

_PATTERN_END = "/*"
_MAX_SUBJECT = 128


class CertificateRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of `[[plugins.certificate.names]]`: whom the holder of a certificate is."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            description="an alternative name of the certificate, or its common name if it has none; or a "
            "SPIFFE id with /* at its end, for all ids below",
        ),
    ]
    tenant: Annotated[Name, Meta(description="name of the tenant")]
    scopes: Annotated[
        tuple[Scope, ...],
        Meta(description="what the certificate may be used for; empty: all that the tenant may do"),
    ] = ()

    def __post_init__(self) -> None:
        """Checks that a pattern cannot match more than was meant."""
        if "*" not in self.name:
            return
        domain, _, path = self.name.removeprefix("spiffe://").partition("/")
        is_pattern = self.name.startswith("spiffe://") and self.name.count("*") == 1
        if not (is_pattern and domain and f"/{path}".endswith(_PATTERN_END)):
            raise ConfigError("name: `*` may only end a SPIFFE id, such as spiffe://example.org/ns/search/*")


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    names: Annotated[tuple[CertificateRow, ...], Meta(min_length=1)]


class CertificateAuthenticator:
    """Authenticator of callers whose connection has a verified client certificate, and who send no key.

    An exact name counts before a pattern, and a longer pattern before a shorter one.
    """

    kinds = frozenset({CredentialKind.CERTIFICATE})

    def __init__(self, rows: Sequence[CertificateRow]) -> None:
        """Takes the rows. Raises ConfigError if two have the same name."""
        self._exact = {row.name: row for row in rows if not row.name.endswith(_PATTERN_END)}
        patterns = {row.name: row for row in rows if row.name.endswith(_PATTERN_END)}
        if len(self._exact) + len(patterns) < len(rows):
            raise ConfigError("plugins.certificate.names: a name occurs twice; each has one tenant")
        self._patterns = sorted(patterns.values(), key=lambda row: -len(row.name))
        self._tenants: TenantLookup | None = None

    def use_tenants(self, tenants: TenantLookup) -> None:
        """See `LooksUpTenants`."""
        self._tenants = tenants

    async def start(self) -> None:
        """See `Authenticator`."""

    async def close(self) -> None:
        """See `Authenticator`."""

    async def authenticate(self, metadata: Sequence[tuple[str, str | bytes]], peer: Peer) -> Identity:
        """See `Authenticator`."""
        if kind_of(metadata, peer) is not CredentialKind.CERTIFICATE:
            raise Unauthenticated(
                "this server requires a client certificate: connect with one, and send no `authorization`"
            )
        found = [(name, row) for name in peer.certificate_names if (row := self._row(name)) is not None]
        if not found:
            raise Unauthenticated("the names of the client certificate are unknown here: use another")
        (name, row), *others = found
        if any((other.tenant, other.scopes) != (row.tenant, row.scopes) for _, other in others):
            raise Unauthenticated("the names of the client certificate are of several tenants: use another")
        tenant = await self._tenants.find_tenant(row.tenant) if self._tenants is not None else None
        if tenant is None:
            raise Unauthenticated("the tenant of the client certificate is unknown here: use another")
        scopes = frozenset(row.scopes) if row.scopes else None
        return Identity(tenant=tenant, subject=name[:_MAX_SUBJECT], scopes=scopes)

    def _row(self, name: str) -> CertificateRow | None:
        exact = self._exact.get(name)
        if exact is not None or not _is_spiffe_id(name):
            return exact
        return next((row for row in self._patterns if name.startswith(row.name[:-1])), None)


def _is_spiffe_id(name: str) -> bool:
    """Returns whether a name is a SPIFFE id in its only form, in which no path leads out of another one."""
    parts = name.removeprefix("spiffe://").split("/")
    return name.startswith("spiffe://") and all(part not in {"", ".", ".."} for part in parts)


def create(value: str, options: Mapping[str, Any], settings: Settings) -> CertificateAuthenticator:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the authenticator `certificate` from the rows `[[plugins.certificate.names]]`.

    Raises ConfigError, also if callers cannot have certificates, because `tls.client_ca_file` is not set.
    """
    if not settings.tls.client_ca_file:
        raise ConfigError("authenticator: `certificate` needs tls.client_ca_file, by which they are verified")
    try:
        table = convert(dict(options), _Table)
    except Problem as problem:
        raise ConfigError(f"plugins.certificate.{problem}" if problem.path else str(problem)) from None
    return CertificateAuthenticator(table.names)
