"""Authentication with tokens of an issuer (JWT). Nothing outside of this package imports joserfc."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokengrpc.config import ConfigError
from tokengrpc.extras import MissingExtraError, require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.config import Settings
    from tokengrpc.core.ports.auth import Authenticator


def create(value: str, options: Mapping[str, Any], settings: Settings) -> Authenticator:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the authenticator `jwt` from the table `[plugins.jwt]`. Raises ConfigError."""
    try:
        require("jwt", "authenticator: jwt")
    except MissingExtraError as error:
        raise ConfigError(str(error)) from None
    from tokengrpc.identity.jwt.authenticator import JwtAuthenticator  # noqa: PLC0415 - needs the extra
    from tokengrpc.identity.jwt.jwks import IssuerKeys  # noqa: PLC0415 - as above
    from tokengrpc.identity.jwt.settings import read_settings  # noqa: PLC0415 - as above

    chosen = read_settings(options, settings)
    return JwtAuthenticator(chosen, IssuerKeys(chosen))
