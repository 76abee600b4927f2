"""Certificates that are made for a test, and handshakes with a server that has one."""

from __future__ import annotations

import socket
import ssl
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tokengrpc.config import TLSSettings

if TYPE_CHECKING:
    from collections.abc import Sequence


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


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    cert_file: str
    key_file: str

    @property
    def serial(self) -> int:
        """Serial number of the certificate."""
        return x509.load_pem_x509_certificate(Path(self.cert_file).read_bytes()).serial_number


class Authority:
    """An authority whose certificates and keys are files."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        """Writes the authority's certificate into the folder."""
        self._ca = trustme.CA()
        self._folder = folder
        self.file = str(folder / f"{name}.crt")
        self._ca.cert_pem.write_to_path(self.file)

    def issue(
        self, name: str, *hosts: str, folder: Path | None = None, expired: bool = False, lasts_days: float = 0
    ) -> Pair:
        """Writes a certificate for these hosts, NAME.crt, and its key, NAME.key.

        It lasts for `lasts_days`, or for as long as trustme likes: many years.
        """
        days = -1 if expired else lasts_days
        end = datetime.now(UTC) + timedelta(days=days) if days else None
        leaf = self._ca.issue_cert(*hosts, not_after=end)
        folder = folder or self._folder
        pair = Pair(str(folder / f"{name}.crt"), str(folder / f"{name}.key"))
        Path(pair.cert_file).write_bytes(b"".join(cert.bytes() for cert in leaf.cert_chain_pems))
        # As PKCS #8, because Java takes no other form.
        key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        Path(pair.key_file).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair

    def issue_uri(self, name: str, uri: str) -> Pair:
        """Writes a client certificate whose only name is a URI, such as a SPIFFE id."""
        authority = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        signer = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        made = (
            x509.CertificateBuilder(issuer_name=authority.subject, subject_name=x509.Name([]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
            .sign(signer, hashes.SHA256())
        )
        pair = Pair(str(self._folder / f"{name}.crt"), str(self._folder / f"{name}.key"))
        Path(pair.cert_file).write_bytes(made.public_bytes(serialization.Encoding.PEM))
        Path(pair.key_file).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair


@dataclass(frozen=True)
class Served:
    """What a server chose in a handshake, after which it has spoken HTTP/2."""

    version: str | None
    serial: int


def handshake(
    port: int,
    ca_file: str,
    *,
    version: ssl.TLSVersion | None = None,
    protocols: Sequence[str] = ("h2",),
    client: Pair | None = None,
) -> Served | None:
    """Connects with TLS, of one version if it is given. Returns None if the server does not speak HTTP/2."""
    context = ssl.create_default_context(cafile=ca_file)
    if version is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")  # for the old versions, which OpenSSL itself would refuse
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if client is not None:
        context.load_cert_chain(client.cert_file, client.key_file)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            if not secure.recv(9):  # the head of the first frame
                return None
            certificate = secure.getpeercert(binary_form=True)
            assert certificate is not None
            return Served(secure.version(), x509.load_der_x509_certificate(certificate).serial_number)
    except (ssl.SSLError, ConnectionError):
        return None


@dataclass(frozen=True)
class Meeting:
    """A client and a server that do not agree about TLS. `advice` names the text of clients/error_texts.json.

    `server` and `client` are the certificates that they have, `trusts` is the authority of the client. None
    means plaintext for the server and for `trusts`, and no certificate for the client.
    """

    server: str | None
    trusts: str | None
    advice: str
    client: str | None = None
    requires_client: bool = False


MEETINGS = {
    "wrong authority": Meeting("server", "other", "certificate refused"),
    "expired certificate": Meeting("expired", "ca", "certificate refused"),
    "certificate of another host": Meeting("elsewhere", "ca", "certificate refused"),
    "client without TLS": Meeting("server", None, "closed at once"),
    "server without TLS": Meeting(None, "ca", "server without TLS"),
    "no client certificate": Meeting("server", "ca", "closed at once", requires_client=True),
    "expired client certificate": Meeting(
        "server", "ca", "closed at once", client="expired", requires_client=True
    ),
    "client certificate of another authority": Meeting(
        "server", "ca", "closed at once", client="stranger", requires_client=True
    ),
}


class Certificates:
    """The certificates of all meetings, and those of a client and a server that agree."""

    def __init__(self, folder: Path) -> None:
        """Writes all files into the folder."""
        authority, other = Authority(folder), Authority(folder, "other")
        self._authorities = {"ca": authority.file, "other": other.file}
        self._pairs = {
            "server": authority.issue("server", "localhost", "127.0.0.1"),
            "client": authority.issue("client", "client.example"),
            "expired": authority.issue("expired", "localhost", "127.0.0.1", expired=True),
            "elsewhere": authority.issue("elsewhere", "elsewhere.example"),
            "stranger": other.issue("stranger", "client.example"),
        }

    def of_server(self, name: str | None = "server", *, requires_client: bool = False) -> TLSSettings:
        """Returns the settings of a server with one of the certificates."""
        if name is None:
            return TLSSettings()
        pair, authority = self._pairs[name], self._authorities["ca"]
        return TLSSettings(
            cert_file=pair.cert_file,
            key_file=pair.key_file,
            client_ca_file=authority if requires_client else "",
        )

    def of_client(self, trusts: str | None = "ca", name: str | None = None) -> dict[str, str] | None:
        """Returns the files of a client: the arguments of `tls_credentials`. None means plaintext."""
        if trusts is None:
            return None
        files = {"ca_file": self._authorities[trusts]}
        if name is not None:
            pair = self._pairs[name]
            files |= {"cert_file": pair.cert_file, "key_file": pair.key_file}
        return files
