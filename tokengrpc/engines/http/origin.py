"""Where a server is and how it is reached: URL, Unix socket, certificates, proxy."""

from __future__ import annotations

import contextlib
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from tokengrpc.config.values import ConfigError
from tokengrpc.engines.http.proxy import choose_proxy

if TYPE_CHECKING:
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
            tls=_tls(files or TLSFiles()) if secure else None,
            proxy=choose_proxy(proxy, parts.scheme, host, port),
        )

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


def _tls(files: TLSFiles) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=files.ca or None)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise ConfigError(f"ca_file: {_unusable(files.ca, error, 'certificates')}") from None
    context.set_alpn_protocols(["http/1.1"])
    if files.client_cert:
        _load_client_cert(context, files)
    return context


def _load_client_cert(context: ssl.SSLContext, files: TLSFiles) -> None:
    if files.client_key and not Path(files.client_key).is_file():
        raise ConfigError(f"client_key_file: the file {files.client_key} cannot be read: it does not exist")
    try:
        # Without a password, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(files.client_cert, files.client_key or None, password=lambda: "")
    except (OSError, ValueError) as error:
        text = _unusable(files.client_cert, error, "a certificate with its unencrypted key")
        raise ConfigError(f"client_cert_file: {text}") from None


def _unusable(file: str, error: Exception, content: str) -> str:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return f"the file {file} cannot be read: {error.strerror}"
    reason = getattr(error, "reason", None)
    why = f" ({reason.replace('_', ' ').lower()})" if reason else ""
    return f"the file {file} must contain {content} in PEM form{why}"
