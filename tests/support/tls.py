"""Certificates that are made for a test."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path


def server_context(authority: trustme.CA, *hosts: str) -> ssl.SSLContext:
    """Returns the TLS context of a server with a certificate of `authority` for its hosts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*hosts).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def make_certificate(folder: Path) -> Path:
    """Makes a certificate for localhost and 127.0.0.1, of an authority that nobody trusts by itself.

    Returns the path of a file with its key and the certificate. Beside it, with the suffix `.crt`, is the
    certificate of the authority.
    """
    authority = trustme.CA()
    path = folder / "server.pem"
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    authority.cert_pem.write_to_path(str(path.with_suffix(".crt")))
    return path
