"""Certificates that are made for a test."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import trustme


def server_context(authority: trustme.CA, *hosts: str) -> ssl.SSLContext:
    """Returns the TLS context of a server with a certificate of `authority` for its hosts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*hosts).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
