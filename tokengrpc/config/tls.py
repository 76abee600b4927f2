"""Settings of the port's TLS: its certificate, its key, and whose client certificates it requires."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tokengrpc.config.values import ConfigError


class TLSSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files in PEM form of the port's TLS. They are read again when they change."""

    cert_file: Annotated[
        str, Meta(description="certificate of the server with its chain, in PEM form; empty: plaintext")
    ] = ""
    key_file: Annotated[str, Meta(description="its unencrypted key; empty: in the certificate's file")] = ""
    client_ca_file: Annotated[
        str,
        Meta(
            description="authorities in PEM form, of which every caller must have a certificate; "
            "empty: callers need none"
        ),
    ] = ""

    def __post_init__(self) -> None:
        """Checks that nothing is set without a certificate."""
        for name in ("key_file", "client_ca_file"):
            if getattr(self, name) and not self.cert_file:
                raise ConfigError(f"{name}: needs a certificate of the server; set tls.cert_file as well")
