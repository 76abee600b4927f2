"""Addresses of stores: URLs of one server, of Sentinels, or of a cluster."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from tokengrpc.config import ConfigError

_PORT, _SENTINEL_PORT = 6379, 26379


class Layout(Enum):
    """How the servers of a store find each other."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class Host(NamedTuple):
    """Address of a server."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


class StoreAddress(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL says. `service` is the name of the primary that Sentinels watch."""

    layout: Layout
    hosts: tuple[Host, ...]
    tls: bool
    database: int = 0
    service: str = ""
    user: str = ""
    password: str = ""


SCHEMES = {
    f"{product}{tls}{suffix}": (layout, bool(tls))
    for product in ("redis", "valkey")
    for tls in ("", "s")
    for suffix, layout in (("", Layout.SINGLE), ("+sentinel", Layout.SENTINEL), ("+cluster", Layout.CLUSTER))
}
"""Schemes of URLs: how the servers are found, and whether connections use TLS."""

_EXAMPLES = {
    Layout.SINGLE: "redis://HOST:6379/0",
    Layout.SENTINEL: "redis+sentinel://HOST:26379,HOST2/SERVICE",
    Layout.CLUSTER: "redis+cluster://HOST:6379,HOST2",
}


def read_address(url: str) -> StoreAddress:
    """Reads a URL. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        layout, tls = SCHEMES[parts.scheme]
    except (KeyError, ValueError):
        raise ConfigError(f"store: not a URL such as {_EXAMPLES[Layout.SINGLE]}") from None
    if parts.query or parts.fragment:
        raise ConfigError("store: the URL has no options: set them in [plugins.redis]")
    try:
        hosts = _hosts(parts, _SENTINEL_PORT if layout is Layout.SENTINEL else _PORT)
        database, service = _path(layout, parts.path.strip("/"))
    except ValueError as error:
        raise ConfigError(f"store: {error}: a URL such as {_EXAMPLES[layout]} is needed") from None
    user, password = _credentials(parts)
    return StoreAddress(
        layout=layout,
        hosts=hosts,
        tls=tls,
        database=database,
        service=service,
        user=user,
        password=password,
    )


def _hosts(parts: SplitResult, port: int) -> tuple[Host, ...]:
    listed = parts.netloc.rpartition("@")[2]
    hosts = tuple(_host(host, port) for host in listed.split(",") if host)
    if not hosts:
        raise ValueError("the URL has no host")
    if parts.scheme in ("redis", "rediss", "valkey", "valkeys") and len(hosts) > 1:
        raise ValueError("several hosts need +sentinel or +cluster after the scheme")
    return hosts


def _host(text: str, default: int) -> Host:
    parsed = urlsplit(f"//{text}")
    try:
        port = parsed.port
    except ValueError:
        raise ValueError(f"the port of {text!r} is not a number from 1 to 65535") from None
    if not parsed.hostname or port == 0:
        raise ValueError(f"{text!r} is no host")
    return Host(parsed.hostname, port or default)


def _path(layout: Layout, path: str) -> tuple[int, str]:
    """Returns the database and the service that a URL's path names."""
    if layout is Layout.SINGLE:
        if path and not (path.isascii() and path.isdigit()):
            raise ValueError(f"the database {path!r} is not a number")
        return int(path or 0), ""
    if layout is Layout.CLUSTER:
        if path not in ("", "0"):
            raise ValueError("a cluster has no databases")
        return 0, ""
    if not path or "/" in path:
        raise ValueError("the name of the service that the Sentinels watch is missing")
    return 0, unquote(path)


def _credentials(parts: SplitResult) -> tuple[str, str]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return unquote(user), unquote(password)
