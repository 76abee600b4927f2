"""Certificates for servers of tests."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def make_certificate(folder: Path) -> Path:
    """Makes a certificate for localhost that nobody trusts by itself.

    Returns the path of a file with the key and the certificate. Beside it, with the suffix `.crt`, is the
    certificate alone. Skips the test if there is no `openssl` program.
    """
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs the openssl program")
    path = folder / "server.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run([program, *options.split(), *names, *files], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path
