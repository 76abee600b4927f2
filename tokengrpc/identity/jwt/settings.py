"""Settings of the authenticator `jwt`: the table `[plugins.jwt]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from tokengrpc.config import ConfigError, Settings, TenantSettings
from tokengrpc.config.messages import Problem, convert
from tokengrpc.config.values import Seconds, SecondsOrNone, is_loopback
from tokengrpc.core.tenant import Scope
from tokengrpc.identity.jwt.verification_keys import ALGORITHMS
from tokengrpc.identity.tenants import tenant_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.tenant import Tenant

Text = Annotated[str, Meta(min_length=1, max_length=1024)]

_UNSET_OF_TEMPLATE = ("name", "key_env", "key_file", "admin")
"""What a template of tenants cannot have: an issuer would make admins by names that nobody has chosen."""


class JwtSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tokens are accepted, and what their claims mean. Times are in seconds."""

    issuer: Annotated[Text, Meta(description="the claim `iss` of every token, exactly")]
    audience: Annotated[Text, Meta(description="what the claim `aud` of every token must contain")]
    jwks: Annotated[
        Text, Meta(description="the issuer's public keys: an https:// URL, or the path of a file with a JWKS")
    ]
    ca_file: Annotated[
        str, Meta(description="authorities in PEM form for the URL; empty: those of the system")
    ] = ""
    algorithms: Annotated[
        tuple[str, ...], Meta(min_length=1, description="signature algorithms that are accepted")
    ] = ("ES256", "RS256")
    tenant_claim: Annotated[Text, Meta(description="claim with the name of the tenant")] = "tenant"
    scope_claim: Annotated[
        str, Meta(description="claim with the scopes, a text or a list; empty: all that the tenant may do")
    ] = ""
    scopes: Annotated[
        dict[str, str],
        Meta(description="scopes by the words of the claim; empty: generate, read_usage and admin"),
    ] = {}
    required_claims: Annotated[
        tuple[str, ...], Meta(description="further claims that every token must have")
    ] = ()
    max_lifetime: Annotated[
        SecondsOrNone, Meta(description="longest time from issue to expiry that is accepted; 0: any")
    ] = 86_400.0
    leeway: Annotated[
        float, Meta(ge=0, le=300, description="difference that clocks may have from the issuer's")
    ] = 30.0
    refresh_interval: Annotated[Seconds, Meta(description="age at which keys are fetched again")] = 300.0
    min_refresh_interval: Annotated[
        Seconds, Meta(description="shortest time between fetches, also for tokens with an unknown key")
    ] = 10.0
    keep_time: Annotated[
        Seconds, Meta(description="age up to which keys are used while the JWKS cannot be fetched")
    ] = 3600.0
    fetch_timeout: Annotated[Seconds, Meta(description="time limit of a fetch")] = 3.0
    unknown_tenants: Annotated[
        Literal["refuse", "create"],
        Meta(description="tokens of unknown tenants are refused, or get the limits of `default_tenant`"),
    ] = "refuse"
    default_tenant: Annotated[
        dict[str, Any],
        Meta(description="models and limits of a tenant that is created so, as in [[tenants]]"),
    ] = {}

    @property
    def is_url(self) -> bool:
        """Whether the keys come from a URL, not from a file."""
        return "://" in self.jwks

    @property
    def scope_words(self) -> Mapping[str, Scope]:
        """The scopes by the words of the claim."""
        return {word: Scope(name) for word, name in self.scopes.items()} or {
            str(scope): scope for scope in Scope
        }

    def template(self) -> Tenant:
        """Returns the tenant whose limits unknown tenants get. Raises Problem."""
        for key in _UNSET_OF_TEMPLATE:
            if key in self.default_tenant:
                raise Problem(f"default_tenant.{key}", "cannot be set here; it belongs in [[tenants]]")
        try:
            return tenant_of(convert({**self.default_tenant, "name": "default"}, TenantSettings))
        except Problem as problem:
            raise Problem(f"default_tenant.{problem.path}", problem.message) from None


def read_settings(options: Mapping[str, Any], settings: Settings) -> JwtSettings:
    """Converts the table. Raises ConfigError with one line."""
    try:
        made = convert(dict(options), JwtSettings)
        _check(made, settings)
    except Problem as problem:
        raise ConfigError(f"plugins.jwt.{problem}" if problem.path else f"plugins.jwt{problem}") from None
    return made


def _check(made: JwtSettings, settings: Settings) -> None:
    for index, name in enumerate(made.algorithms):
        if name not in ALGORITHMS:
            raise Problem(
                f"algorithms[{index}]",
                f"must be one of {', '.join(ALGORITHMS)}: keys that are public can only verify these",
            )
    if made.is_url:
        _check_url(made.jwks, settings)
    elif made.ca_file:
        raise Problem("ca_file", "is for a URL, and jwks is a file; remove it")
    if made.keep_time < made.refresh_interval:
        raise Problem("keep_time", f"must be at least refresh_interval, which is {made.refresh_interval:g}")
    if made.default_tenant and made.unknown_tenants != "create":
        raise Problem("default_tenant", 'needs unknown_tenants = "create"')
    for word, name in made.scopes.items():
        if name not in [*Scope]:
            raise Problem(f"scopes.{word}", f"must be one of {', '.join(Scope)}")
    if made.scopes and not made.scope_claim:
        raise Problem("scopes", "needs a scope_claim")
    made.template()


def _check_url(url: str, settings: Settings) -> None:
    """Checks that nobody on the network can replace the keys."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or parts.username is not None:
        raise Problem("jwks", "must be https://HOST/PATH, without user and password, or the path of a file")
    if parts.scheme == "http" and not (is_loopback(host) or settings.insecure):
        raise Problem("jwks", "must be https://, because whoever can change the keys can make tokens")
