"""Where a server is and how it is reached: URL, Unix socket, certificates, proxy."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from tokengrpc.certificates import load_pair, trusting
from tokengrpc.config.values import ConfigError
from tokengrpc.engines.http.proxy import choose_proxy

if TYPE_CHECKING:
    import ssl

    from tokengrpc.engines.http.proxy import Proxy

UNIX = "unix:"

# `unix:/run/engine.sock`, or with the path of requests after it: `unix:/run/engine.sock:/v1`.
_UNIX_URL = re.compile(r"unix:(?P<socket>/[^:?#\s]+)(?::(?P<path>/[^:?#\s]*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFiles:
    """Files in PEM form. Those that are empty are not used."""

    ca: str = ""
    """Certificates that are trusted instead of the system's."""
    client_cert: str = ""
    client_key: str = ""
    """The key of `client_cert`, unless that file contains it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a server is. `authority` is its Host header, `path` what its URL ends with, without a slash."""

    host: str
    port: int
    authority: str
    path: str
    tls: ssl.SSLContext | None
    socket_path: str = ""
    """The Unix socket on which it listens, if it does."""
    proxy: Proxy | None = None

    @classmethod
    def parse(cls, url: str, *, files: TLSFiles | None = None, proxy: str = "") -> Origin:
        """Parses a URL like `https://host:1234/v1` or `unix:/run/engine.sock:/v1`.

        Reads the trusted certificates for https, and the variables that name a proxy unless `proxy` does.
        Raises ValueError for files and proxies that cannot be used.
        """
        if url.startswith(UNIX):
            socket_path, path = split_unix_url(url)
            return cls(
                host="", port=0, authority="localhost", path=_quoted(path), tls=None, socket_path=socket_path
            )
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host = parts.hostname or ""
        with contextlib.suppress(UnicodeError):  # what is no host name fails when it is looked up
            host = host.encode("idna").decode("ascii")
        default = 443 if secure else 80
        port = parts.port or default
        name = f"[{host.partition('%')[0]}]" if ":" in host else host
        return cls(
            host=host,
            port=port,
            authority=name if port == default else f"{name}:{port}",
            path=_quoted(parts.path),
            tls=tls_context(files or TLSFiles()) if secure else None,
            proxy=choose_proxy(proxy, parts.scheme, host, port),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What names the server and its proxy, to be hidden from callers."""
        return (self.host, self.socket_path, self.proxy.host if self.proxy is not None else "")

    @property
    def target(self) -> str:
        """What the target of a request begins with: the path, for a proxy the URL (RFC 9112, 3.2)."""
        if self.proxy is not None and self.tls is None:
            return f"http://{self.authority}{self.path}"
        return self.path


def split_unix_url(url: str) -> tuple[str, str]:
    """Returns the socket and the path of requests. Raises ValueError for what is no such URL."""
    match = _UNIX_URL.fullmatch(url)
    if match is None:
        raise ValueError("must be unix:/PATH/TO/SOCKET or unix:/PATH/TO/SOCKET:/PATH")
    return match["socket"], match["path"] or ""


def _quoted(path: str) -> str:
    return quote(path.rstrip("/"), safe="/%:@!$&'()*+,;=~")


def tls_context(files: TLSFiles) -> ssl.SSLContext:
    """Returns a context with these files. Raises ConfigError if one of them cannot be used."""
    try:
        context = trusting(files.ca)
        context.set_alpn_protocols(["http/1.1"])
        if files.client_cert:
            names = ("client_cert_file", "client_key_file")
            load_pair(context, files.client_cert, files.client_key, settings=names)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return context
