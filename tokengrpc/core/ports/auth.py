"""The port of authentication."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from tokengrpc.core.tenant import Identity  # noqa: TC001 - plugins import it from here

if TYPE_CHECKING:
    from collections.abc import Sequence


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Other end of a connection. `address` is written as the transport writes it.

    `certificate_names` are the subject alternative names of a verified client certificate; empty without one.
    """

    address: str = ""
    certificate_names: tuple[str, ...] = ()


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
