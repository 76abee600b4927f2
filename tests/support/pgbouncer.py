"""A real PgBouncer in transaction mode before a PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.support.ports import reserved_port
from tests.support.toolchains import REQUIRE_ALL

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTINGS = """
[databases]
* = host=127.0.0.1 port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {directory}/users
pool_mode = transaction
default_pool_size = 2
server_login_retry = 0
"""


@contextmanager
def pgbouncer(url: str) -> Iterator[str]:
    """Runs a pooler before the server of a URL. Yields the URL of the same database through it.

    Skips the test if PgBouncer is not installed.
    """
    # Debian keeps it out of PATH.
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        (pytest.fail if REQUIRE_ALL else pytest.skip)("PgBouncer is not installed")
    server = urlsplit(url)
    port = reserved_port()
    through = server._replace(netloc=f"{server.username}@127.0.0.1:{port}").geturl()
    with TemporaryDirectory(prefix="tokengrpc-pgbouncer-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "users").write_text(f'"{server.username}" ""\n')
        settings = directory / "settings.ini"
        settings.write_text(_SETTINGS.format(server_port=server.port, port=port, directory=directory))
        # It refuses to run as root.
        user = ["-u", "postgres"] if os.geteuid() == 0 else []
        with subprocess.Popen([program, "-q", *user, str(settings)], stderr=subprocess.PIPE) as pooler:
            try:
                _wait_until_ready(pooler, through)
                yield through
            finally:
                pooler.kill()


def _wait_until_ready(pooler: subprocess.Popen[bytes], url: str) -> None:
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            if pooler.poll() is not None:
                assert pooler.stderr is not None
                raise RuntimeError(pooler.stderr.read().decode()) from None
        else:
            return
