"""Credentials for servers with TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from tokengrpc.certificates import authorities, load_pair


def tls_credentials(*, ca_file: str = "", cert_file: str = "", key_file: str = "") -> grpc.ChannelCredentials:
    """Returns the credentials of a client for a server with TLS. All files are in PEM form.

    `ca_file` has the authorities that are trusted; empty: those of the system. `cert_file` has the client's
    own certificate with its chain, if the server requires one, and `key_file` its unencrypted key; empty: the
    key is in the same file. The files are read once: a client with a new certificate is a new client.

    Raises ValueError, which names the argument, for a file that cannot be used.
    """
    if key_file and not cert_file:
        raise ValueError(f"key_file: {key_file} is the key of a certificate, which is missing")
    key = chain = None
    if cert_file:
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), cert_file, key_file)
        key, chain = Path(key_file or cert_file).read_bytes(), Path(cert_file).read_bytes()
    return grpc.ssl_channel_credentials(authorities(ca_file), private_key=key, certificate_chain=chain)
