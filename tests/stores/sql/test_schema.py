"""The numbered steps of the schema: newer ones, interrupted ones, and servers that take them together."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tests.support.commands import tokengrpc
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import FILE
from tokengrpc.stores.sql.schema import STEPS, migrate, steps

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASES = pytest.mark.parametrize("kind", ["sqlite", "postgresql"])

# Takes the steps, and two more, the second of which waits forever in the middle.
INTERRUPTED = """
import sys, threading
import sqlalchemy as sa
from pathlib import Path
from tokengrpc.stores.sql import database, schema

def third(connection):
    connection.execute(sa.text("CREATE TABLE half (number INTEGER)"))
    connection.execute(sa.text("INSERT INTO half VALUES (1)"))
    print("half", flush=True)
    threading.Event().wait()

url = sys.argv[1]
engine = database.postgresql(url, 5.0) if "://" in url else database.sqlite(Path(url), 5.0)
schema.migrate(engine, [*schema.STEPS, third])
"""


@contextmanager
def location(request, kind: str, directory: Path) -> Iterator[str]:
    """Returns a path or URL for an empty database."""
    if kind == "sqlite":
        yield str(directory / FILE)
    else:
        with request.getfixturevalue("postgres_server").database("steps") as url:
            yield url


def engine_at(place: str) -> sa.Engine:
    return database.postgresql(place, 5.0) if "://" in place else database.sqlite(Path(place), 5.0)


def last_step(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.max(steps.c.step))) or 0


@DATABASES
def test_a_step_that_was_killed_has_not_happened(request, tmp_path: Path, kind: str) -> None:
    """SIGKILL in the middle of a step: the next start takes it as a whole."""
    with location(request, kind, tmp_path) as place:
        with subprocess.Popen([sys.executable, "-c", INTERRUPTED, place], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"half\n"
            process.kill()
        engine = engine_at(place)
        migrate(engine)
        assert last_step(engine) == len(STEPS)
        assert not sa.inspect(engine).has_table("half")
        migrate(engine, [*STEPS, lambda connection: connection.execute(sa.text("CREATE TABLE half (n INT)"))])
        assert sa.inspect(engine).has_table("half")
        engine.dispose()


@DATABASES
async def test_servers_that_start_together_take_each_step_once(request, tmp_path: Path, kind: str) -> None:
    """They wait for each other."""
    taken: list[int] = []

    def step(connection: sa.Connection) -> None:
        taken.append(1)
        connection.execute(sa.text("CREATE TABLE more (n INT)"))

    with location(request, kind, tmp_path) as place:
        engines = [engine_at(place) for _ in range(6)]
        await asyncio.gather(*(asyncio.to_thread(migrate, engine, [*STEPS, step]) for engine in engines))
        assert last_step(engines[0]) == len(STEPS) + 1
        for engine in engines:
            engine.dispose()
    assert taken == [1]


@DATABASES
def test_a_newer_schema_is_refused(request, tmp_path: Path, kind: str) -> None:
    """In one line that says what to do, by the whole server too. Nothing is changed."""
    with location(request, kind, tmp_path) as place:
        engine = engine_at(place)
        migrate(engine, [*STEPS, lambda _: None])
        with pytest.raises(StoreUnavailable, match=f"step {len(STEPS) + 1}, and this"):
            migrate(engine)
        assert last_step(engine) == len(STEPS) + 1
        engine.dispose()
        ledger = "sqlite" if kind == "sqlite" else place
        done = tokengrpc(
            "serve", "--listen", "127.0.0.1:0", "--ledger", ledger, TOKENGRPC_DATA_DIR=str(tmp_path)
        )
    assert done.returncode not in {0, None}
    (line,) = [line for line in done.stderr.splitlines() if "schema step" in line]
    assert "use the version of tokengrpc that wrote it, or a newer one" in line
