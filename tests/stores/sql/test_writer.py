"""The writer thread: whatever a database does, the thread lives on and each caller learns its outcome."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.harness import until
from tokengrpc.core.ports.ledger import RecordRefused
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.sql.writer import GroupWriter

if TYPE_CHECKING:
    from collections.abc import Sequence


class Database:
    """Writes numbers. Waits while `open` is not set; raises `error`; refuses the number 13."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        self.groups: list[Sequence[int]] = []

    def write(self, group: Sequence[int]) -> None:
        self.open.wait()
        if self.error is not None:
            raise self.error
        if 13 in group:
            raise RecordRefused("13")
        self.groups.append(group)


async def test_what_gathers_is_written_in_one_group() -> None:
    """In order, and each caller returns after the commit."""
    database = Database()
    writer = GroupWriter("test", database.write)
    database.open.clear()
    first = asyncio.create_task(writer.do(0))
    await asyncio.sleep(0)
    others = [asyncio.create_task(writer.do(n)) for n in range(100, 200)]
    await asyncio.sleep(0)
    assert not first.done()
    database.open.set()
    await asyncio.gather(first, *others)
    assert [n for group in database.groups for n in group] == [0, *range(100, 200)]
    assert len(database.groups) <= 2
    await writer.close()


@pytest.mark.parametrize("error", [StoreUnavailable("away"), KeyError("bug"), MemoryError()])
async def test_no_error_ends_the_thread(error: Exception) -> None:
    """Also one that nobody expected."""
    database = Database()
    writer = GroupWriter("test", database.write)
    database.error = error
    with pytest.raises(StoreUnavailable):
        await writer.do(1)
    database.error = None
    await writer.do(2)
    assert database.groups == [[2]]
    await writer.close()


async def test_a_refused_value_fails_alone() -> None:
    """The others of its group are written."""
    database = Database()
    writer = GroupWriter("test", database.write)
    database.open.clear()
    works = [asyncio.create_task(writer.do(n)) for n in range(40)]
    await asyncio.sleep(0)
    database.open.set()
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, RecordRefused)] == [13]
    assert [n for group in database.groups for n in group] == [n for n in range(40) if n != 13]
    await writer.close()


async def test_callers_that_gave_up_leave_nothing() -> None:
    """While a database hangs, the queue has only those who still wait."""
    database = Database()
    writer = GroupWriter("test", database.write)
    database.open.clear()
    for n in range(1000):
        work = asyncio.create_task(writer.do(n))
        await asyncio.sleep(0)
        work.cancel()
        await asyncio.wait({work})
    last = asyncio.create_task(writer.do(1000))
    await asyncio.sleep(0)
    assert writer.waiting == 1
    database.open.set()
    await last
    assert [n for group in database.groups for n in group][-1] == 1000
    assert sum(map(len, database.groups)) <= 2
    await writer.close()


async def test_close_writes_what_waits() -> None:
    """Later works are refused."""
    database = Database()
    writer = GroupWriter("test", database.write)
    database.open.clear()
    work = asyncio.create_task(writer.do(1))
    await asyncio.sleep(0)
    closing = asyncio.create_task(writer.close())
    await until(lambda: writer.closed)
    with pytest.raises(StoreUnavailable, match="closed"):
        await writer.do(2)
    database.open.set()
    await asyncio.gather(work, closing)
    assert database.groups == [[1]]


async def test_works_during_a_rest_are_one_group() -> None:
    """A work that comes first is not delayed, nor is the writer's end."""
    database, seconds = Database(), 0.001
    writer = GroupWriter("test", database.write, lambda: seconds)
    await writer.do(0)
    seconds = 60.0
    await writer.do(1)
    works = []
    for n in range(100, 110):
        works.append(asyncio.create_task(writer.do(n)))
        await asyncio.sleep(0)
    assert database.groups == [[0], [1]]
    await writer.close()
    await asyncio.gather(*works)
    assert database.groups == [[0], [1], list(range(100, 110))]


async def test_callers_go_on_in_turns() -> None:
    """The loop serves others between the callers of a large group."""
    database, seconds = Database(), 0.0
    writer = GroupWriter("test", database.write, lambda: seconds)
    seconds = 60.0
    await writer.do(0)
    turn = 0
    turns: list[int] = []

    async def call(number: int) -> None:
        await writer.do(number)
        turns.append(turn)

    works = [asyncio.create_task(call(n)) for n in range(100, 200)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(writer.close())
    while len(turns) < len(works):
        turn += 1
        await asyncio.sleep(0)
    await asyncio.gather(closing, *works)
    assert [len(group) for group in database.groups] == [1, 100]
    assert max(map(turns.count, turns)) <= 10


async def test_patient_works_go_with_one_that_is_not() -> None:
    """Alone, they would wait for a minute here. The writer's end waits for none."""
    database = Database()
    writer = GroupWriter("test", database.write, patience=lambda: 60.0)
    patient = [asyncio.create_task(writer.do(n, patient=True)) for n in (1, 2)]
    await asyncio.sleep(0.02)  # they would be written by now if they were not patient
    await writer.do(3)
    await asyncio.gather(*patient)
    assert database.groups == [[1, 2, 3]]
    last = asyncio.create_task(writer.do(4, patient=True))
    await asyncio.sleep(0)
    await writer.close()
    await last
    assert database.groups == [[1, 2, 3], [4]]


async def test_patience_ends() -> None:
    """A patient work is written without another one."""
    database = Database()
    writer = GroupWriter("test", database.write, patience=lambda: 0.01)
    await writer.do(1, patient=True)
    assert database.groups == [[1]]
    await writer.close()
