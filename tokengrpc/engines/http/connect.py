"""Opens connections: names, IPv4 and IPv6, TLS.

Why not aiohappyeyeballs: docs/decisions/own-connect.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from tokengrpc.engines.http.connection import Connection

# The delay after which the next address is tried beside the one before (RFC 8305, 5).
_NEXT_ADDRESS_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a server is. `authority` is its Host header, `path` the end of its URL, without a slash."""

    host: str
    port: int
    authority: str
    path: str
    tls: ssl.SSLContext | None

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Parses a URL like `https://host:1234/v1`. Reads the system's certificates for https."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host = parts.hostname or ""
        with contextlib.suppress(UnicodeError):  # an invalid host name fails when it is looked up
            host = host.encode("idna").decode("ascii")
        default = 443 if secure else 80
        port = parts.port or default
        name = f"[{host.partition('%')[0]}]" if ":" in host else host
        return cls(
            host=host,
            port=port,
            authority=name if port == default else f"{name}:{port}",
            path=quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~"),
            tls=_tls() if secure else None,
        )


Resolve: TypeAlias = Callable[[Origin], Awaitable[list[str]]]


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def resolve(origin: Origin) -> list[str]:
    """Returns a host's addresses, alternating between IPv6 and IPv4. Raises OSError or UnicodeError."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, origin.host)
            return [origin.host]
    found = await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    families: dict[int, list[str]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append(str(address[0]))
    turns = chain.from_iterable(zip_longest(*families.values()))
    return list(dict.fromkeys(address for address in turns if address is not None))


async def dial(origin: Origin, make: Callable[[], Connection], resolve_host: Resolve = resolve) -> Connection:
    """Opens a connection by the address that is connected first, TLS included.

    Cancelling it leaves nothing open. Raises OSError, or UnicodeError for an invalid host name.
    """
    addresses = await resolve_host(origin)
    if len(addresses) == 1:
        return await _dial_address(origin, addresses[0], make)
    # As in RFC 8305; uvloop's create_connection has no happy_eyeballs_delay.
    attempts: list[asyncio.Task[Connection]] = []
    try:
        for address in addresses:
            attempts.append(asyncio.ensure_future(_dial_address(origin, address, make)))
            running = [attempt for attempt in attempts if not attempt.done()]
            await asyncio.wait(running, timeout=_NEXT_ADDRESS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if (connection := _take_connected(attempts)) is not None:
                return connection
        while running := [attempt for attempt in attempts if not attempt.done()]:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if (connection := _take_connected(attempts)) is not None:
                return connection
        return attempts[0].result()  # raises the error of the preferred address
    finally:
        _give_up(attempts)


def _take_connected(attempts: list[asyncio.Task[Connection]]) -> Connection | None:
    for attempt in attempts:
        if attempt.done() and attempt.exception() is None:
            attempts.remove(attempt)
            return attempt.result()
    return None


def _give_up(attempts: list[asyncio.Task[Connection]]) -> None:
    """Ends attempts that are no longer needed."""
    for attempt in attempts:
        attempt.cancel()
        attempt.add_done_callback(_drop)


def _drop(attempt: asyncio.Task[Connection]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().abort()


async def _dial_address(origin: Origin, address: str, make: Callable[[], Connection]) -> Connection:
    connection = make()
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: connection,
            address,
            origin.port,
            ssl=origin.tls,
            server_hostname=origin.host if origin.tls else None,
        )
    except BaseException:
        connection.abort()
        raise
    return connection
