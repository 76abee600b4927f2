"""What protects a server that other machines can reach: TLS and authentication, unless `insecure` is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from tokengrpc.config import ConfigError
from tokengrpc.config.values import is_loopback

if TYPE_CHECKING:
    from tokengrpc.config import Settings

_NO_TLS = "without TLS (keys, prompts and answers can be read on the network)"
_NO_AUTHENTICATION = "without authentication (anybody can use all models)"
_REMEDIES = {
    _NO_TLS: "set tls.cert_file and tls.key_file",
    _NO_AUTHENTICATION: "configure tenants, an authenticator or tls.client_ca_file",
}

log = structlog.get_logger(__name__)


def check_exposure(settings: Settings, *, has_authenticator: bool) -> None:
    """Checks that TLS and authentication protect an address that other machines can reach.

    `has_authenticator` is whether an object, instead of the settings, authenticates callers. Raises
    ConfigError if something is missing; with the setting `insecure`, logs a warning instead.
    """
    missing = _missing(settings, has_authenticator=has_authenticator)
    if not missing:
        return
    cause = " and ".join(missing)
    if settings.insecure:
        log.warning("insecure: other machines can reach this server", address=settings.listen, cause=cause)
        return
    remedies = ", and ".join(_REMEDIES[what] for what in missing)
    raise ConfigError(
        f"listen: other machines can reach {settings.listen} {cause}; {remedies}; or listen on 127.0.0.1; "
        "or pass --insecure if a proxy or mesh protects the port"
    )


def _missing(settings: Settings, *, has_authenticator: bool) -> list[str]:
    if is_local(settings.listen):
        return []
    authenticates = (
        has_authenticator
        or bool(settings.tenants)
        or settings.authenticator != "static"
        or bool(settings.tls.client_ca_file)
    )
    return [*([] if settings.tls.cert_file else [_NO_TLS]), *([] if authenticates else [_NO_AUTHENTICATION])]


def is_local(address: str) -> bool:
    """Returns whether only this machine reaches an address: a Unix socket, `localhost` or a loopback address.

    Any other name counts as reachable, whatever it resolves to.
    """
    if address.startswith("unix:"):
        return True
    return is_loopback(address.rpartition(":")[0].strip("[]"))
