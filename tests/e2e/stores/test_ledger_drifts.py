"""How the counts of other gateways drift from what was used. Prices: tests/core/test_prices.py."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.anthropic_dialect import ANTHROPIC, CACHED_TOKENS, INPUT_TOKENS
from tests.support.endings import ENDINGS, LIMITS, forgotten
from tests.support.harness import collect, read_until, serving, until, upstream
from tests.support.ledger_outages import check_books
from tests.support.ledgers import sqlite_ledger
from tests.support.records import finished_record
from tests.support.scripted_engine import Done, Drop, Finish, ScriptedEngine, Stall, Text, UsageChunk
from tests.support.several_engines import two_engines
from tokengrpc.config import model_settings
from tokengrpc.core.model import Usage, UsageSource
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import Grouping, RecordQuery
from tokengrpc.errors import BudgetExhausted, StoreUnavailable
from tokengrpc.stores.memory_ledger import MemoryLedger
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import SqlLedger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.harness import Served
    from tokengrpc.core.ports.budget import BudgetRequest
    from tokengrpc.core.ports.ledger import UsageRecord


async def only_record(server: Served) -> UsageRecord:
    """Waits for the end of the only generation, and returns its record."""
    await until(lambda: not server.registry.active, "the generation has ended")
    (record,) = (await check_books(server.ledger)).values()
    return record


class CountingBudget:
    """A budget that counts what it is told, and the grant of each generation. `spend` raises `bug`."""

    def __init__(self, bug: Exception | None = None) -> None:
        self.reserved = 0
        self.settled: list[Usage] = []
        self._bug = bug

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def reserve(self, request: BudgetRequest) -> CountingBudget:
        self.reserved += 1
        return self

    def spend(self, usage: Usage) -> bool:
        if self._bug is not None and usage.output:
            raise self._bug
        return True

    def refusal(self) -> BudgetExhausted:
        return BudgetExhausted("the budget is spent")

    async def settle(self, usage: Usage) -> None:
        self.settled.append(usage)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_no_ending_goes_unbilled_or_keeps_its_permit(tmp_path: Path, ending: str) -> None:
    """Cancel, timeout, error, retry: one record of each accepted generation, and its permit returned."""
    of_engines = {"extra_capabilities": ("CONTINUE_TEXT",), "max_event_bytes": 65_536}
    async with two_engines(
        of_a=of_engines, of_b=of_engines, limits=LIMITS, ledger=sqlite_ledger(tmp_path)
    ) as two:
        await ENDINGS[ending](two)
        await forgotten(two.server)
        accepted = {
            record.record_id: record for record in two.ended.records if record.first_token_time_ns is not None
        }
        stored = {record.record_id: record for record in (await check_books(two.server.ledger)).values()}
        assert accepted.keys() <= stored.keys()
        assert {record.state for record in stored.values()} <= {RecordState.CLOSED}
        for id_, record in accepted.items():
            assert stored[id_].usage == record.usage
            assert record.usage.output >= 1
        # As many as there are permits can run again.
        two.a.script(Text("One"), Stall())
        calls = [two.server.stream(f"again-{n}") for n in range(LIMITS["max_generations"])]
        for call in calls:
            await read_until(call, lambda message: message.tokens)


async def test_requests_without_an_id_are_not_one_record(server: Served, engine: ScriptedEngine) -> None:
    """The key of a record is the server's own, not what a caller left empty."""
    engine.script(Text("One"), Finish(), UsageChunk(7, 1), Done())
    for _ in range(3):
        assert (await collect(server.stream(""))).code is grpc.StatusCode.OK
    records = await server.ledger.list_records(RecordQuery(), None, 10)
    assert len({record.record_id for record in records}) == 3
    assert len({record.generation_id for record in records}) == 3


async def test_an_interrupted_stream_is_recorded(server: Served, engine: ScriptedEngine) -> None:
    """Also if the engine never sent its usage: what it sent is counted, and flagged."""
    engine.script(Text("One", " two"), Drop())
    assert (await collect(server.stream("g"))).code is not grpc.StatusCode.OK
    record = await only_record(server)
    assert record.error_reason == "ENGINE_LOST"
    assert record.usage.output == engine.calls[0].token_count == 2
    assert record.usage.source is not UsageSource.ENGINE


async def test_a_record_needs_no_response(server: Served, engine: ScriptedEngine) -> None:
    """A caller that leaves before any output, with no object to take a usage from, has a record."""
    engine.script(Text("One"), Stall())
    call = server.stream("g")
    await read_until(call, lambda message: message.tokens)
    call.cancel()
    record = await only_record(server)
    assert record.error_reason == "CANCELLED"
    assert record.usage.input > 0


async def test_a_bug_is_billed(engine: ScriptedEngine) -> None:
    """A generation that ends by an unexpected exception has a record of what was used."""
    budget = CountingBudget(ZeroDivisionError("a bug"))
    engine.script(Text("One"), Stall())
    async with serving(upstream(engine.base_url), budget=budget) as server:
        assert (await collect(server.stream("g"))).code is grpc.StatusCode.INTERNAL
        record = await only_record(server)
    assert record.error_reason == "INTERNAL"
    assert record.usage.output >= 1
    assert budget.settled == [record.usage]


async def test_an_outage_drops_no_reservation(engine: ScriptedEngine) -> None:
    """While the ledger fails, budgets are settled once for each reservation, and records follow once each."""

    class Failing(MemoryLedger):
        away = True

        async def _fail(self) -> None:
            if self.away:
                raise StoreUnavailable("away")

        async def begin(self, record: Any) -> None:
            await self._fail()
            await super().begin(record)

        async def finish(self, record: Any) -> None:
            await self._fail()
            await super().finish(record)

        async def checkpoint(self, usages: Any) -> None:
            await self._fail()
            await super().checkpoint(usages)

    ledger, budget = Failing(), CountingBudget()
    engine.script(Text("One"), Finish(), UsageChunk(7, 1), Done())
    async with serving(upstream(engine.base_url), ledger=ledger, budget=budget) as server:
        await asyncio.gather(*(collect(server.stream(f"g{n}")) for n in range(10)))
        assert budget.reserved == len(budget.settled) == 10
        ledger.away = False
        await until(lambda: not server.server.billing.waiting)
        (whole,) = await ledger.summarize(RecordQuery(), Grouping(), 2)
    assert (whole.count, whole.usage.output) == (10, 10)
    assert sum(usage.output for usage in budget.settled) == 10


async def test_sums_of_all_servers_are_current(postgres_server: Any) -> None:
    """Once `finish` has returned on one server, every other one's sums have it."""
    with postgres_server.database("pods") as url:
        pods = [SqlLedger(database.postgresql(url, 5.0), f"pod{n}") for n in range(3)]
        for pod in pods:
            await pod.start()
        for n in range(30):
            await pods[n % 3].finish(finished_record(f"r{n}", usage=Usage(input=1, output=n)))
            (whole,) = await pods[(n + 1) % 3].summarize(RecordQuery(), Grouping(), 2)
            assert (whole.count, whole.usage.output) == (n + 1, sum(range(n + 1)))
        for pod in pods:
            await pod.close()


async def test_cached_tokens_are_part_of_the_input(engine: ScriptedEngine) -> None:
    """OpenAI counts them within the input, Anthropic beside it. In a record they are within."""
    details = {"prompt_tokens_details": {"cached_tokens": 40}}
    engine.script(Text("One"), Finish(), UsageChunk(100, 1, details), Done())
    async with serving(upstream(engine.base_url)) as server:
        await collect(server.stream("g"))
        inside = await only_record(server)
    async with ScriptedEngine(ANTHROPIC) as other:
        other.script(Text("One"), Finish("end_turn"), Done())
        async with serving(model_settings(name="m", kind="anthropic", base_url=other.base_url)) as server:
            await collect(server.stream("g", max_output_token_count=5))
            beside = await only_record(server)
    assert (inside.usage.input, inside.usage.cached_input) == (100, 40)
    assert (beside.usage.input, beside.usage.cached_input) == (INPUT_TOKENS, CACHED_TOKENS)
    assert Counter([inside.usage.source, beside.usage.source]) == {UsageSource.ENGINE: 2}
