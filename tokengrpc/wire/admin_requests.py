"""Conversion of requests to the AdminService: new keys, and pages of its listings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tokengrpc.core.ports.tenant_store import KeyPlace
from tokengrpc.core.tenant import TENANT_SCOPES, Scope
from tokengrpc.wire.checks import Checks
from tokengrpc.wire.page_tokens import place_of, timed_place, token_of
from tokengrpc.wire.tables import SCOPES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokenstreaming.v1 import admin_service_pb2 as pb

    from tokengrpc.core.ports.tenant_store import ApiKey, AuditEntry, StoredTenant

P = TypeVar("P")

MAX_PAGE_SIZE = 1000
_DEFAULT_PAGE_SIZE = 50
_MAX_DISPLAY_NAME = 128
_MAX_LENGTH = 1024
"""Characters of a value in a filter."""
_SECOND = 1_000_000_000
_MAX_SECONDS = 2**63 // _SECOND - 1


class WantedKey(NamedTuple):
    """What a caller wants a new key to be."""

    tenant: str
    display_name: str
    scopes: frozenset[Scope]
    expire_time_ns: int | None


class TenantPage(NamedTuple):
    """Tenants that a caller asks for: after which name, and how many."""

    after: str
    size: int


class KeyPage(NamedTuple):
    """Keys that a caller asks for: which, after which one, and how many."""

    tenant: str
    prefix: str
    after: KeyPlace | None
    size: int


class AuditPage(NamedTuple):
    """Entries that a caller asks for: of which tenant, before which sequence, and how many."""

    tenant: str
    before: int | None
    size: int


def wanted_key(request: pb.CreateApiKeyRequest, now_ns: int) -> WantedKey:
    """Converts a request. Raises InvalidRequest."""
    checks = Checks()
    checks.that(request.tenant, "tenant", "is required")
    name = request.display_name
    rule = f"must have at most {_MAX_DISPLAY_NAME} characters, all of them printable"
    checks.that(len(name) <= _MAX_DISPLAY_NAME and (not name or name.isprintable()), "display_name", rule)
    scopes = [
        checks.enum(f"scopes[{index}]", scope, SCOPES.back) for index, scope in enumerate(request.scopes)
    ]
    expires = None
    if request.HasField("expire_time"):
        time = request.expire_time
        checks.that(0 <= time.nanos < _SECOND, "expire_time", "must be a valid time")
        expires = min(time.seconds, _MAX_SECONDS) * _SECOND + time.nanos
        checks.that(expires > now_ns, "expire_time", "must be in the future")
    checks.done()
    return WantedKey(request.tenant, name, frozenset(filter(None, scopes)) or TENANT_SCOPES, expires)


def tenant_page(request: pb.ListTenantsRequest) -> TenantPage:
    """Converts a request. Raises InvalidRequest."""
    checks = Checks()
    size = _page_size(request.page_size, checks)
    after = _place(request.page_token, lambda token: place_of(token, "tenants"), checks)
    checks.done()
    return TenantPage(after or "", size)


def key_page(request: pb.ListApiKeysRequest) -> KeyPage:
    """Converts a request. Raises InvalidRequest."""
    checks = Checks()
    _bounded(request.tenant, "tenant", checks)
    _bounded(request.prefix, "prefix", checks)
    size = _page_size(request.page_size, checks)
    listing = ("keys", request.tenant, request.prefix)
    after = _place(request.page_token, lambda token: KeyPlace(*timed_place(token, listing)), checks)
    checks.done()
    return KeyPage(request.tenant, request.prefix, after, size)


def audit_page(request: pb.ListAuditEntriesRequest) -> AuditPage:
    """Converts a request. Raises InvalidRequest."""
    checks = Checks()
    _bounded(request.tenant, "tenant", checks)
    size = _page_size(request.page_size, checks)
    listing = ("audit", request.tenant)
    before = _place(request.page_token, lambda token: timed_place(token, listing)[0], checks)
    checks.done()
    return AuditPage(request.tenant, before, size)


def after_tenant(last: StoredTenant) -> str:
    """Returns the token of the page after a tenant."""
    return token_of(last.tenant.name, "tenants")


def after_key(last: ApiKey, page: KeyPage) -> str:
    """Returns the token of the page after a key."""
    return token_of(f"{last.create_time_ns}/{last.id}", ("keys", page.tenant, page.prefix))


def after_entry(last: AuditEntry, page: AuditPage) -> str:
    """Returns the token of the page after an entry."""
    return token_of(f"{last.sequence}/", ("audit", page.tenant))


def next_token(found: Sequence[P], size: int, token: Callable[[P], str]) -> str:
    """Returns the token of the next page, if one more was found than this one has; otherwise nothing."""
    return token(found[size - 1]) if len(found) > size else ""


def _place(token: str, read: Callable[[str], P], checks: Checks) -> P | None:
    if not token:
        return None
    try:
        return read(token)
    except ValueError:
        rule = "must be a next_page_token of this method for the same filter"
        checks.that(holds=False, path="page_token", rule=rule)
        return None


def _page_size(asked: int, checks: Checks) -> int:
    checks.that(asked >= 0, "page_size", "must not be negative")
    return min(asked or _DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def _bounded(value: str, path: str, checks: Checks) -> None:
    checks.that(len(value) <= _MAX_LENGTH, path, f"must have at most {_MAX_LENGTH} characters")
