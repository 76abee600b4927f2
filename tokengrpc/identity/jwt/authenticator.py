"""Authentication with tokens of an issuer (JWT): `authorization: Bearer TOKEN`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from joserfc import jws
from joserfc.errors import (
    ClaimError,
    ExpiredTokenError,
    JoseError,
    MissingClaimError,
    UnsupportedAlgorithmError,
)
from joserfc.jwt import JWTClaimsRegistry

from tokengrpc.core.ports.auth import CredentialKind
from tokengrpc.core.tenant import Identity
from tokengrpc.errors import Unauthenticated
from tokengrpc.identity.credentials import bearer_token, kind_of
from tokengrpc.identity.jwt.created_tenants import CreatedTenants

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tokengrpc.core.ports.auth import Peer, TenantLookup
    from tokengrpc.core.ports.observer import ObserverEvent
    from tokengrpc.core.tenant import Scope, Tenant
    from tokengrpc.identity.jwt.jwks import IssuerKeys
    from tokengrpc.identity.jwt.settings import JwtSettings

_MAX_BYTES = 12 * 1024
"""Size of a token. gRPC takes at most 16 KiB of metadata."""
_MAX_SUBJECT = 128
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""Values of the header `typ`. Other kinds of tokens, such as those of logouts, are not for calls."""
_MALFORMED = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class _Pinned(jws.JWSRegistry):
    """The algorithms of the settings, and no others. Headers may have a chain of certificates."""

    max_header_length = 8 * 1024
    max_payload_length = _MAX_BYTES

    def get_alg(self, name: str) -> Any:  # noqa: ANN401 - the library has no public type for it
        """Returns an algorithm of the settings, without the library's warning about the name `EdDSA`."""
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


class JwtAuthenticator:
    """Authenticator of callers with a token that the issuer has signed for this audience.

    What a token says of its own keys (`jwk`, `jku`, `x5u`, `x5c`) is ignored: only the issuer's JWKS counts.
    """

    kinds = frozenset({CredentialKind.JWT})

    def __init__(self, settings: JwtSettings, keys: IssuerKeys, now: Callable[[], float] = time.time) -> None:
        """Takes the settings, the issuer's keys, and a clock in seconds since the Unix epoch."""
        self._settings = settings
        self._keys = keys
        self._now = now
        self._registry = _Pinned(algorithms=settings.algorithms, strict_check_header=False)
        self._claims = JWTClaimsRegistry(now=lambda: int(now()), leeway=round(settings.leeway))
        # Not as arguments: a claim may have any name.
        required = (*settings.required_claims, settings.tenant_claim, "exp")
        self._claims.options = {
            **{name: {"essential": True} for name in required},
            "iss": {"essential": True, "value": settings.issuer},
            "aud": {"essential": True, "value": settings.audience},
        }
        creates = settings.unknown_tenants == "create"
        self._created = CreatedTenants(settings.template(), now) if creates else None
        self._tenants: TenantLookup | None = None

    def use_tenants(self, tenants: TenantLookup) -> None:
        """See `LooksUpTenants`."""
        self._tenants = tenants

    def report_to(self, emit: Callable[[ObserverEvent], None]) -> None:
        """See `ReportsStores`."""
        self._keys.report_to(emit)

    async def start(self) -> None:
        """See `Authenticator`."""
        await self._keys.start()

    async def close(self) -> None:
        """See `Authenticator`."""
        await self._keys.close()

    async def authenticate(self, metadata: Sequence[tuple[str, str | bytes]], peer: Peer) -> Identity:
        """See `Authenticator`."""
        if kind_of(metadata, peer) is not CredentialKind.JWT:
            raise Unauthenticated(
                "this server requires a token of its issuer, which is a JWT: send the metadata"
                " `authorization: Bearer TOKEN`"
            )
        claims = self._checked(await self._verified(bearer_token(metadata)))
        return Identity(
            tenant=await self._tenant(claims[self._settings.tenant_claim]),
            subject=str(claims.get("sub", ""))[:_MAX_SUBJECT],
            scopes=self._scopes(claims),
        )

    async def _verified(self, token: str) -> bytes:
        """Returns what a token contains. Raises Unauthenticated if the issuer has not signed it."""
        if len(token) > _MAX_BYTES:
            raise _refused(f"it has more than {_MAX_BYTES} bytes")
        try:
            signed = jws.extract_compact(token.encode(), None, self._registry)
            header = signed.headers()
            self._registry.check_header(header)
        except _MALFORMED:
            raise _refused("it is malformed") from None
        if header["alg"] not in self._settings.algorithms:
            raise _refused("its algorithm is not one that this server accepts")
        if "crit" in header or "b64" in header:
            raise _refused("it has an extension that this server does not know")
        if header.get("typ", "JWT").lower() not in _TYPES:
            raise _refused("it is of another type, and not for calls")
        key = await self._keys.find(header.get("kid"), header["alg"])
        if key is None:
            raise _refused("the issuer has no such key")
        try:
            valid = jws.validate_compact(signed, key, registry=self._registry)
        except _MALFORMED:
            valid = False
        if not valid or signed.payload is None:
            raise _refused("its signature is wrong")
        return signed.payload

    def _checked(self, payload: bytes) -> dict[str, Any]:
        """Returns the claims of a token. Raises Unauthenticated if it is not for this server and moment."""
        try:
            claims = msgspec.json.decode(payload, type=dict[str, Any])
            self._claims.validate(claims)
        except ExpiredTokenError:
            raise _refused("it has expired") from None
        except MissingClaimError as error:
            raise _refused(f"it lacks the claim {error.claim}") from None
        except ClaimError as error:
            raise _refused(f"its claim {error.claim} is not valid here or now") from None
        except (msgspec.MsgspecError, *_MALFORMED):
            raise _refused("it is malformed") from None
        limit = self._settings.max_lifetime
        if limit and claims["exp"] - claims.get("iat", self._now() + self._settings.leeway) > limit:
            raise _refused(f"it is valid for longer than {limit:g} s")
        return claims

    async def _tenant(self, name: object) -> Tenant:
        """Returns the tenant of a token. Raises Unauthenticated if there is none."""
        if isinstance(name, str) and len(name) <= _MAX_SUBJECT and self._tenants is not None:
            created = self._created
            tenant = created.recent(name) if created is not None else None
            tenant = tenant or await self._tenants.find_tenant(name)
            if tenant is None and created is not None:
                tenant = created.create(name)
            if tenant is not None:
                return tenant
        raise _refused("its tenant is unknown to this server")

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[Scope] | None:
        if not self._settings.scope_claim:
            return None
        told = claims.get(self._settings.scope_claim, "")
        words = told.split() if isinstance(told, str) else told if isinstance(told, list) else ()
        known = self._settings.scope_words
        return frozenset(known[word] for word in words if isinstance(word, str) and word in known)


def _refused(cause: str) -> Unauthenticated:
    return Unauthenticated(f"the token in `authorization` is refused, because {cause}: get a new one")
