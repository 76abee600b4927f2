"""All ledgers of this project, for the tests of their port."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from tokengrpc.core.ports.ledger import UsageLedger
from tokengrpc.core.ports.usage_reader import UsageReader
from tokengrpc.stores.memory_ledger import MemoryLedger
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import SqlLedger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


class ReadableLedger(UsageLedger, UsageReader, Protocol):
    """A ledger that can be read."""


@contextmanager
def memory(_request: pytest.FixtureRequest, _directory: Path) -> Iterator[ReadableLedger]:
    """The ledger `memory`."""
    yield MemoryLedger()


@contextmanager
def sqlite(_request: pytest.FixtureRequest, directory: Path) -> Iterator[ReadableLedger]:
    """A ledger in a file of its own."""
    yield sqlite_ledger(directory)


@contextmanager
def postgresql(request: pytest.FixtureRequest, _directory: Path) -> Iterator[ReadableLedger]:
    """A ledger in a database of its own, on the session's server."""
    server = request.getfixturevalue("postgres_server")
    with server.database("ledger") as url:
        yield SqlLedger(database.postgresql(url, 5.0), "here")


LEDGERS = (memory, sqlite, postgresql)


def sqlite_ledger(directory: Path, server: str = "here", timeout: float = 5.0) -> SqlLedger:
    """Returns the ledger in the SQLite file of a directory."""
    lock = database.DirectoryLock(directory)
    return SqlLedger(database.sqlite(directory / "ledger.sqlite3", timeout), server, lock=lock)
