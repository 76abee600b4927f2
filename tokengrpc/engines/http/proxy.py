"""Forward proxies: which one a connection uses, from its own setting or from the environment. No I/O."""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined] # documented nowhere, but the counterpart of the first

if TYPE_CHECKING:
    from collections.abc import Mapping

DIRECT = "none"
"""The setting with which no proxy is used, whatever the environment says."""

ALLOWED = "must be http://HOST:PORT or http://USER:PASSWORD@HOST:PORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A forward proxy that speaks plain HTTP. `user` and `password` are empty if it needs none."""

    host: str
    port: int
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Parses the URL of a proxy. Raises ValueError, which says what is allowed and does not quote it."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(ALLOWED) from None
        rest = parts.path.strip("/") or parts.query or parts.fragment
        if parts.scheme != "http" or not parts.hostname or port == 0 or rest or any(map(str.isspace, url)):
            raise ValueError(ALLOWED)
        return cls(
            host=parts.hostname,
            port=port or 80,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )

    @property
    def headers(self) -> dict[str, str]:
        """The header with the user and password, if there are any (RFC 7617)."""
        if not (self.user or self.password):
            return {}
        credentials = b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")
        return {"Proxy-Authorization": f"Basic {credentials}"}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must not reach callers and logs."""
        return tuple(filter(None, (self.password, *self.headers.values())))


def choose_proxy(setting: str, scheme: str, host: str, port: int) -> Proxy | None:
    """Returns the proxy for connections to a server; None if they are direct.

    `setting` is a proxy's URL, DIRECT, or empty. If it is empty, HTTPS_PROXY or HTTP_PROXY, then ALL_PROXY
    name the proxy, and loopback addresses are reached directly. NO_PROXY names hosts that are reached
    directly, wherever the proxy comes from. Raises ValueError for a proxy that is not supported.
    """
    if setting == DIRECT:
        return None
    environment = getproxies_environment()
    if _is_excluded(environment, host, port):
        return None
    if setting:
        return Proxy.parse(setting)
    url = environment.get(scheme) or environment.get("all")
    if not url or _is_loopback(host):
        return None
    try:
        return Proxy.parse(url if "://" in url else f"http://{url}")
    except ValueError as error:
        name = f"{scheme}_proxy" if environment.get(scheme) else "all_proxy"
        raise ValueError(f"the environment variable {name.upper()} {error}; or set proxy") from None


def _is_excluded(environment: Mapping[str, str], host: str, port: int) -> bool:
    """Returns whether NO_PROXY names a host: by its name, a domain above it, its address or a network."""
    excluded = environment.get("no", "")
    names = {"no": excluded}
    # With the port only for a host name: the last group of an IPv6 address would be taken for a port.
    hosts = [host] if ":" in host else [host, f"{host}:{port}"]
    if excluded and any(proxy_bypass_environment(name, names) for name in hosts):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _networks(excluded))


def _networks(excluded: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    networks = []
    for entry in excluded.split(","):
        try:
            networks.append(ipaddress.ip_network(entry.strip(" []"), strict=False))
        except ValueError:
            continue  # a name
    return networks


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
