"""Opens connections: names, IPv4 and IPv6, TLS, Unix sockets, proxies.

Why not aiohappyeyeballs: docs/decisions/own-connect.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from tokengrpc.engines.http.connection import Connection
from tokengrpc.engines.http.failures import ProxyFailed, cause
from tokengrpc.engines.http.tunnel import Tunnel
from tokengrpc.shortages import lacks_ports, shortage_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine

    from tokengrpc.engines.http.origin import Origin
    from tokengrpc.engines.http.proxy import Proxy

# The delay after which the next address is tried beside the one before (RFC 8305, 5).
_NEXT_ADDRESS_SECONDS = 0.25


class Place(Protocol):
    """The server or proxy to connect to."""

    @property
    def host(self) -> str:
        """Name or address."""

    @property
    def port(self) -> int:
        """TCP port."""


Resolve: TypeAlias = Callable[[Place], Awaitable[list[str]]]

C = TypeVar("C", Connection, Tunnel)


async def resolve(place: Place) -> list[str]:
    """Returns a host's addresses, alternating between IPv6 and IPv4. Raises OSError or UnicodeError."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, place.host)
            return [place.host]
    found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    families: dict[int, list[str]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append(str(address[0]))
    turns = chain.from_iterable(zip_longest(*families.values()))
    return list(dict.fromkeys(address for address in turns if address is not None))


async def dial(origin: Origin, make: Callable[[], Connection], resolve_host: Resolve = resolve) -> Connection:
    """Opens a connection by the address that is connected first, TLS included.

    Cancelling it leaves nothing open. Raises OSError, or UnicodeError for an invalid host name.
    The OSError is a ProxyFailed if a proxy is the cause.
    """
    if origin.socket_path:
        return await _dial_unix(origin.socket_path, make)
    if origin.proxy is None:
        addresses = await resolve_host(origin)
        return await _race(addresses, lambda address: _dial_address(origin, address, make, origin))
    if origin.tls is None:
        return await _reach(origin.proxy, make, resolve_host)
    return await _dial_through(origin, origin.tls, await _reach(origin.proxy, Tunnel, resolve_host), make)


async def _reach(proxy: Proxy, make: Callable[[], C], resolve_host: Resolve) -> C:
    """Connects to a proxy. Raises ProxyFailed."""
    try:
        addresses = await resolve_host(proxy)
        return await _race(addresses, lambda address: _dial_address(proxy, address, make))
    except (OSError, UnicodeError) as error:
        why = "its host name is not valid" if isinstance(error, UnicodeError) else cause(error)
        raise ProxyFailed(f"its proxy cannot be reached: {why}") from error


async def _dial_through(
    origin: Origin, tls: ssl.SSLContext, tunnel: Tunnel, make: Callable[[], Connection]
) -> Connection:
    """Opens a tunnel through a connected proxy, and TLS in it."""
    connection = make()
    try:
        transport = await tunnel.open(origin)
        loop = asyncio.get_running_loop()
        secured = await loop.start_tls(transport, connection, tls, server_hostname=origin.host)
        if secured is not None:  # else it was closed after the handshake
            connection.connection_made(secured)
    except BaseException:
        tunnel.abort()
        raise
    return connection


async def _race(addresses: list[str], dial_address: Callable[[str], Coroutine[None, None, C]]) -> C:
    """Connects by the address that is connected first."""
    if len(addresses) == 1:
        return await dial_address(addresses[0])
    # As in RFC 8305; uvloop's create_connection has no happy_eyeballs_delay.
    attempts: list[asyncio.Task[C]] = []
    try:
        for address in addresses:
            attempts.append(asyncio.ensure_future(dial_address(address)))
            running = [attempt for attempt in attempts if not attempt.done()]
            await asyncio.wait(running, timeout=_NEXT_ADDRESS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if (connection := _take_connected(attempts)) is not None:
                return connection
        while running := [attempt for attempt in attempts if not attempt.done()]:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if (connection := _take_connected(attempts)) is not None:
                return connection
        # Raises the error of the preferred address, unless a shortage has failed another one.
        failed = next((attempt for attempt in attempts if shortage_of(attempt.exception())), attempts[0])
        return failed.result()
    finally:
        _give_up(attempts)


def _take_connected(attempts: list[asyncio.Task[C]]) -> C | None:
    for attempt in attempts:
        if attempt.done() and attempt.exception() is None:
            attempts.remove(attempt)
            return attempt.result()
    return None


def _give_up(attempts: list[asyncio.Task[C]]) -> None:
    """Ends attempts that are no longer needed."""
    for attempt in attempts:
        attempt.cancel()
        attempt.add_done_callback(_drop)


def _drop(attempt: asyncio.Task[C]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().abort()


async def _dial_address(
    place: Place, address: str, make: Callable[[], C], secured: Origin | None = None
) -> C:
    """Connects to one address; with TLS if the server is given and uses it."""
    connection = make()
    tls = secured.tls if secured is not None else None
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: connection,
            address,
            place.port,
            ssl=tls,
            server_hostname=place.host if tls else None,
        )
    except BaseException as error:
        connection.abort()
        no_port = isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL
        if no_port and not lacks_ports(address, place.port):
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH)) from None
        raise
    return connection


async def _dial_unix(path: str, make: Callable[[], Connection]) -> Connection:
    connection = make()
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: connection, path)
    except BaseException:
        connection.abort()
        raise
    return connection
