"""A real PostgreSQL server in a temporary directory, killed and started again at will."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.ports import reserved_port
from tests.support.toolchains import REQUIRE_ALL

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPTIONS = ("-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=50")
"""Without fsync, because tests kill the server and not the machine."""


@cache
def _binaries() -> Path:
    """Returns the directory of PostgreSQL's programs. Skips the test if there is none."""
    # Debian keeps them out of PATH.
    found = shutil.which("initdb") or max(
        map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None
    )
    if found is None:
        (pytest.fail if REQUIRE_ALL else pytest.skip)("PostgreSQL is not installed")
    return Path(found).resolve().parent


class Postgres:
    """A server. `url` names the database `postgres` of its only user."""

    def __init__(self, directory: Path, primary: Postgres | None = None) -> None:
        """Makes an empty server, or a standby of another one."""
        self._directory = directory
        # It refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres")
        self.port = reserved_port()
        self._server: subprocess.Popen[bytes] | None = None
        if primary is None:
            self._run("initdb", "--auth=trust", "--no-sync", "--username=tokengrpc", "-D", "data")
        else:
            self._run(
                "pg_basebackup", "-R", "--no-sync", "--checkpoint=fast", "-d", primary.url, "-D", "data"
            )

    @property
    def url(self) -> str:
        """The URL for the ledger."""
        return f"postgresql://tokengrpc@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts the server, and returns once it accepts connections."""
        arguments = ["-D", "data", "-p", str(self.port), "-k", str(self._directory), *_OPTIONS]
        with (self._directory / "log").open("ab") as log:
            self._server = subprocess.Popen(
                self._command("postgres", *arguments), cwd=self._directory, stderr=log, stdout=log
            )
        ready = self._command("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port))
        while subprocess.run(ready, check=False).returncode:
            if self._server.poll() is not None:
                raise RuntimeError((self._directory / "log").read_text()[-2000:])

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stops the server: SIGINT cuts its connections, SIGQUIT is a crash."""
        if self._server is not None:
            subprocess.run(self._command("pg_ctl", "kill", how.name[3:], str(self._postmaster())), check=True)
            self._server.wait()
            self._server = None

    def promote(self) -> None:
        """Makes a standby the primary."""
        self._run("pg_ctl", "promote", "-D", "data")

    def execute(self, *statements: str) -> None:
        """Runs statements, each in a transaction of its own."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Takes no writes for the block, in open sessions too, as a primary that becomes a standby."""
        self._set_read_only("on")
        try:
            yield
        finally:
            self._set_read_only("off")

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """Makes an empty database; its URL."""
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url.removesuffix("postgres") + name
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _set_read_only(self, setting: str) -> None:
        self.execute(f"ALTER SYSTEM SET default_transaction_read_only = {setting}", "SELECT pg_reload_conf()")
        # The postmaster reads its files later, and then notifies open sessions before it begins another.
        shown = ""
        while shown != setting:
            with psycopg.connect(self.url) as connection:
                ((shown,),) = connection.execute("SHOW default_transaction_read_only")

    def _postmaster(self) -> int:
        return int((self._directory / "data/postmaster.pid").read_text().split()[0])

    def _command(self, program: str, *arguments: str) -> list[str]:
        own = (
            ["setpriv", f"--reuid={self._user}", "--regid", self._user, "--clear-groups"]
            if os.geteuid() == 0
            else []
        )
        return [*own, str(_binaries() / program), *arguments]

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            self._command(program, *arguments), cwd=self._directory, check=True, capture_output=True
        )


@contextmanager
def postgres(primary: Postgres | None = None) -> Iterator[Postgres]:
    """Runs a server for the block, by default an empty one, otherwise a standby of `primary`."""
    _binaries()
    with TemporaryDirectory(prefix="tokengrpc-postgres-") as directory:
        server = Postgres(Path(directory), primary)
        server.start()
        try:
            yield server
        finally:
            server.stop()
