"""The authenticators that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc import plugins
from tokengrpc.identity.chain import AuthenticatorChain

if TYPE_CHECKING:
    from tokengrpc.config import Settings
    from tokengrpc.core.ports.auth import Authenticator


def create_authenticator(settings: Settings) -> Authenticator:
    """Creates the authenticator of the settings, or a chain of several. Raises ConfigError."""
    found: dict[str, Authenticator] = {
        name: plugins.create("authenticators", "authenticator", name, settings)
        for name in settings.authenticators
    }
    if len(found) == 1:
        return next(iter(found.values()))
    return AuthenticatorChain(found)
