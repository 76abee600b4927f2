"""Reasons of failed connections, in words that callers may read: they name no address and no secret."""

from __future__ import annotations

import os
import ssl

from tokengrpc.engines.http.head import HTTPError


class ProxyFailed(ConnectionError):
    """The proxy in front of a server cannot be reached, or did not connect to the server."""


class ProxyDenied(ProxyFailed):
    """The proxy did not accept the user and password that it was given, or was given none."""


def cause(error: Exception) -> str:
    """Returns why a connection failed, without the address in such errors, because callers see it."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.replace('_', ' ').lower()}"
    if isinstance(error, UnicodeError):
        return "its base_url has no valid host name"
    if isinstance(error, OSError) and error.errno is not None:
        # asyncio's own message about a refused connection contains the address.
        return os.strerror(error.errno) if error.errno > 0 else error.strerror or type(error).__name__
    if isinstance(error, HTTPError | ConnectionError | TimeoutError):
        return str(error) or type(error).__name__
    return type(error).__name__
