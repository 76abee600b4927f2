"""The port's TLS: reads the certificate, the key and the client authorities, and again once they change."""

from __future__ import annotations

import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import structlog

from tokengrpc.certificates import end_of, load_pair, trusting
from tokengrpc.config import ConfigError

if TYPE_CHECKING:
    import os

    from tokengrpc.config import TLSSettings

_MAX_BYTES = 4 << 20
"""Bytes of a file. All authorities of an operating system have less than one MiB."""

log = structlog.get_logger(__name__)


class CertificateFiles:
    """The files of the settings, as of the last time when all of them could be used together."""

    def __init__(self, settings: TLSSettings) -> None:
        """Reads the files. Raises ConfigError if they cannot be used."""
        self._settings = settings
        self._lock = threading.Lock()
        self._refused = ""
        self._signature: tuple[tuple[int, ...], ...] | None = self._stat()
        try:
            self._contents = self._shown = self._read()
        except ValueError as error:
            raise ConfigError(f"tls.{error}") from None
        self._end = end_of(self._contents[0])
        if _is_past(self._end):
            log.error("the certificate has expired, clients refuse it: renew it", file=settings.cert_file)

    def credentials(self) -> grpc.ServerCredentials:
        """Returns credentials of a port, which ask for the files before each handshake."""
        return grpc.dynamic_ssl_server_credentials(
            self._configured(),
            self.changed,  # type: ignore[arg-type] # gRPC documents None, which its types forget
            require_client_authentication=bool(self._settings.client_ca_file),
        )

    def end(self) -> float | None:
        """Returns when the certificate in use expires, in seconds since 1970; None if that is unknown.

        For any thread. It looks for changed files as a handshake does.
        """
        with self._lock:
            self._update()
            return self._end

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Returns what handshakes use from now on; None if nothing has changed, which costs gRPC less.

        gRPC calls this for each connection, on threads of its own. Files that cannot be used, such as
        half-written ones or an expired certificate, change nothing, and are logged once.
        """
        with self._lock:
            self._update()
            if self._contents == self._shown:
                return None
            self._shown = self._contents
            return self._configured()

    def _update(self) -> None:
        """Takes over the files if they have changed and can be used."""
        signature = self._stat()
        if signature == self._signature:
            return
        self._signature = signature  # before they are read: they may change meanwhile
        try:
            contents, end = self._read_valid()
        except ValueError as error:
            self._signature = None  # try again: the cause may not be in the files, such as no file descriptor
            if str(error) != self._refused:
                self._refused = str(error)
                log.error("the changed certificate is not used, the previous one stays", error=f"tls.{error}")  # noqa: TRY400 - one line
            return
        is_same, was_refused = contents == self._contents, bool(self._refused)
        self._contents, self._end, self._refused = contents, end, ""
        if not is_same or was_refused:  # the same, if what was refused has been taken back
            log.info("the certificate was reloaded", file=self._settings.cert_file)

    def _read_valid(self) -> tuple[tuple[bytes, bytes, bytes | None], float | None]:
        """Returns the contents of all files, and when the certificate expires.

        Raises ValueError as `_read` does, and if another certificate than the one in use has expired.
        """
        contents = self._read()
        end = end_of(contents[0])
        if contents != self._contents and _is_past(end):
            raise ValueError(f"cert_file: the certificate in {self._settings.cert_file} has expired")
        return contents, end

    def _configured(self) -> grpc.ServerCertificateConfiguration:
        cert, key, authorities = self._contents
        return grpc.ssl_server_certificate_configuration([(key, cert)], root_certificates=authorities)

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        """Returns the contents of all files, which are read before and after OpenSSL has checked the files.

        Raises ValueError, whose message starts with the setting, if they cannot be used.
        """
        settings = self._settings
        before = self._bytes()
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings.cert_file, settings.key_file)
        if settings.client_ca_file:
            trusting(settings.client_ca_file, setting="client_ca_file")
        if self._bytes() != before:
            raise ValueError(f"cert_file: the file {settings.cert_file} or one beside it is being written")
        return before

    def _bytes(self) -> tuple[bytes, bytes, bytes | None]:
        settings = self._settings
        return (
            _read("cert_file", settings.cert_file),
            _read("key_file", settings.key_file or settings.cert_file),
            _read("client_ca_file", settings.client_ca_file) if settings.client_ca_file else None,
        )

    def _stat(self) -> tuple[tuple[int, ...], ...]:
        """Returns what changes with the files, and with the symbolic links on the way to them."""
        settings = self._settings
        files = (settings.cert_file, settings.key_file, settings.client_ca_file)
        return tuple(_identity(Path(file)) for file in files if file)


def _is_past(end: float | None) -> bool:
    return end is not None and end <= time.time()


def _identity(file: Path) -> tuple[int, ...]:
    """Returns what tells a file from another version of it; empty if there is none."""
    try:
        told: os.stat_result = file.stat()
    except OSError:
        return ()
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns


def _read(setting: str, file: str) -> bytes:
    if Path(file).exists() and not Path(file).is_file():
        raise ValueError(f"{setting}: {file} is not a regular file, which can be read again")
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{setting}: the file {file} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{setting}: the file {file} has more than {_MAX_BYTES >> 20} MiB: check its name")
    return content
