"""Connections to the ledger's database."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)

from tokengrpc.core.ports.ledger import RecordRefused
from tokengrpc.errors import StoreUnavailable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

READERS = 2
"""Queries at the same time."""

TENANT_CONNECTIONS = 2
"""Transactions on tenants and keys at the same time: one to follow changes, one for an admin's call."""

_POOL = {"pool_size": 1 + READERS + TENANT_CONNECTIONS, "max_overflow": 0}
"""Connections: one for the writer, one for each reader and so on, so that none waits for another."""

_READ_ONLY = "25006"
"""PostgreSQL's code of the error that its server takes no writes: a failover has made it a replica."""

_STEPS = 100_000
"""Instructions of SQLite, some milliseconds, after which a reader looks at its time."""


def sqlite(path: Path, timeout: float, *, read_only: bool = False) -> sa.Engine:
    """Returns the database in a file. A statement waits up to `timeout` seconds for a lock.

    A transaction that only reads is interrupted after `timeout` seconds. A commit is on disk when it returns,
    also after a power cut (`synchronous=FULL`).
    """
    url = sa.URL.create("sqlite", database=str(path))
    if read_only:
        url = url.set(database=f"file:{quote(str(path.absolute()))}", query={"mode": "ro", "uri": "true"})
    arguments = {"timeout": timeout, "check_same_thread": False, "isolation_level": None}
    engine = sa.create_engine(url, connect_args=arguments, poolclass=sa.QueuePool, **_POOL)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

    # The module begins no transaction by itself (isolation_level=None). A writer takes its lock at once,
    # instead of failing when it turns from reading to writing.
    @event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        writes = not connection.get_execution_options().get("reads")
        end = time.monotonic() + timeout
        raw = cast("sqlite3.Connection", connection.connection.driver_connection)
        raw.set_progress_handler(None if writes else lambda: time.monotonic() > end, _STEPS)
        raw.execute("BEGIN IMMEDIATE" if writes and not read_only else "BEGIN")

    return engine


def postgresql(url: str, timeout: float, password: str = "") -> sa.Engine:
    """Returns a PostgreSQL database. A statement may take `timeout` seconds.

    Statements are not prepared in advance, so that a pooler in transaction mode may be between. A server that
    takes no writes is left, for another host of the URL or by connecting again. Raises ValueError if the URL
    cannot be read.
    """
    try:
        parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
    except (SQLAlchemyError, ValueError) as error:  # a ValueError of a port that is no number
        raise ValueError("not a URL such as postgresql://USER@HOST/DATABASE") from error
    if password:
        parsed = parsed.set(password=password)
    milliseconds = max(1, round(timeout * 1000))
    # It warns of statements that were sent after one that failed, with the database's address.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    engine = sa.create_engine(
        parsed,
        **_POOL,
        pool_pre_ping=True,
        # The lock on the counter must be followed by a new snapshot, whatever the database's default is.
        isolation_level="READ COMMITTED",
        connect_args={
            "connect_timeout": max(2, round(timeout)),
            "prepare_threshold": None,
            "application_name": "tokengrpc",
            "tcp_user_timeout": milliseconds,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "target_session_attrs": parsed.query.get("target_session_attrs", "read-write"),
        },
    )

    # Per transaction, because a session behind a pooler is not ours. The second limit frees the lock on the
    # counter if a process stops or cannot be reached within a transaction. All others would wait for it.
    limits = ", ".join(
        f"set_config('{name}', '{milliseconds}', true)"
        for name in ("statement_timeout", "idle_in_transaction_session_timeout")
    )

    @event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SELECT {limits}")

    @event.listens_for(engine, "handle_error")
    def _on_error(context: sa.ExceptionContext) -> None:
        if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
            context.is_disconnect = True

    return engine


@contextmanager
def translated(store: str) -> Iterator[None]:
    """Raises StoreUnavailable for whatever a database raises, without its statement and values."""
    try:
        yield
    except DBAPIError as error:
        said = str(error.orig).strip().partition("\n")[0] or type(error.orig).__name__
        kind = RecordRefused if isinstance(error, (DataError, IntegrityError)) else StoreUnavailable
        raise kind(f"the {store} failed: {said}") from error
    except OverflowError as error:  # of sqlite3
        raise RecordRefused(f"the {store} failed: {error}") from error
    except (SQLAlchemyError, OSError) as error:
        raise StoreUnavailable(f"the {store} failed: {type(error).__name__}") from error


def is_away(error: StoreUnavailable) -> bool:
    """Returns whether an error of `translated` is that of a server that cannot be reached or takes no calls.

    A server that refuses a user or a database when it is connected to cannot be told from that.
    """
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and (
        cause.connection_invalidated or isinstance(cause, OperationalError | InterfaceError)
    )


class DirectoryLock:
    """Lock on a directory while a process writes there; the system drops it with the process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock. Raises StoreUnavailable if another process has it, or nobody can."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreUnavailable(
                f"{self._directory} cannot be the ledger's directory ({error.strerror}): "
                "name one that this user may write to"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StoreUnavailable(
                f"another server uses {self._directory}: give each server a data_dir of its own, "
                "or use PostgreSQL"
            ) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Drops the lock, if it was taken."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
