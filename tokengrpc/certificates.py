"""Checks certificates, keys and trusted certificates in PEM form, and says in one line what is wrong."""

from __future__ import annotations

import ssl
from pathlib import Path


def trusting(ca_file: str, *, setting: str = "ca_file") -> ssl.SSLContext:
    """Returns the context of a client that trusts the certificates of a file; empty: those of the system.

    Raises ValueError, whose message starts with `setting`, if the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise ValueError(f"{setting}: {_unusable(ca_file, error, 'certificates')}") from None


def authorities(ca_file: str) -> bytes | None:
    """Returns the certificates of a file; empty: those that OpenSSL trusts here; None: it has no such file.

    Raises ValueError as `trusting` does.
    """
    if ca_file:
        trusting(ca_file)
    path = ca_file or ssl.get_default_verify_paths().cafile
    return Path(path).read_bytes() if path else None


def end_of(chain: bytes) -> float | None:
    """Returns when the first certificate of a chain in PEM form expires, or one behind it if that is sooner.

    In seconds since 1970. None if OpenSSL takes a certificate that cannot be decoded here.
    """
    # The server's extra has it; the client, which uses the other functions, needs no dates.
    from cryptography import x509  # noqa: PLC0415 - see above

    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError:
        return None
    return min(certificate.not_valid_after_utc.timestamp() for certificate in certificates)


def load_pair(
    context: ssl.SSLContext,
    cert_file: str,
    key_file: str = "",
    *,
    settings: tuple[str, str] = ("cert_file", "key_file"),
) -> None:
    """Loads a certificate with its chain, and its key. Without `key_file`, the key is in the same file.

    Raises ValueError, whose message starts with one of `settings`, if they cannot be used or do not match.
    """
    if key_file and not Path(key_file).is_file():
        raise ValueError(f"{settings[1]}: the file {key_file} cannot be read: it does not exist")
    try:
        # Without a password, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert_file, key_file or None, password=lambda: "")
    except (OSError, ValueError) as error:
        raise ValueError(_unusable_pair(cert_file, key_file, settings, error)) from None


def _unusable_pair(cert_file: str, key_file: str, settings: tuple[str, str], error: Exception) -> str:
    """Returns which of two files cannot be used, and why: OpenSSL's error does not tell."""
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        files = f"the certificate in {cert_file} and the key in {key_file or cert_file}"
        return f"{settings[0]}: {files} do not belong together (key values mismatch)"
    if not key_file:
        content = (
            f"a certificate with its unencrypted key in PEM form, or {settings[1]} must name the key's file"
        )
        return f"{settings[0]}: {_unusable(cert_file, error, content, form='')}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cert_file)
    except (OSError, ValueError):
        return f"{settings[0]}: {_unusable(cert_file, error, 'a certificate')}"
    return f"{settings[1]}: {_unusable(key_file, error, 'an unencrypted key')}"


def _unusable(file: str, error: Exception, content: str, *, form: str = " in PEM form") -> str:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return f"the file {file} cannot be read: {error.strerror}"
    reason = getattr(error, "reason", None)
    why = f" ({reason.replace('_', ' ').lower()})" if reason else ""
    return f"the file {file} must contain {content}{form}{why}"
