"""Authentication: who calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from tokengrpc.core.tenant import Identity  # noqa: TC001 - plugins import it from here

if TYPE_CHECKING:
    from collections.abc import Sequence


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """The other end of a connection: its address as the transport writes it, and the names that TLS verified.

    `certificate_names` are the subject alternative names of a client certificate, empty without one.
    """

    address: str = ""
    certificate_names: tuple[str, ...] = ()


class Authenticator(Protocol):
    """Finds out who calls. `start` and `close` are called once each."""

    async def start(self) -> None:
        """Loads keys or connects. Raises ConfigError when it cannot."""

    async def close(self) -> None:
        """Releases everything."""

    async def authenticate(self, metadata: Sequence[tuple[str, str | bytes]], peer: Peer) -> Identity:
        """Returns the caller's identity. Called once per call, before the request is parsed.

        Raises Unauthenticated, or StoreUnavailable when it cannot tell now.
        """
