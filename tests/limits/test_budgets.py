"""Budgets of tenants on real servers: what is used is what the records say, and no more is served."""

from __future__ import annotations

import asyncio
import random
import time

import grpc
import pytest
from google.rpc import error_details_pb2

from tests.support.harness import collect, read_until, serving, until, upstream
from tests.support.ledgers import LEDGERS
from tests.support.one_tenant import OneTenant
from tests.support.scripted_engine import Done, Finish, ScriptedEngine, Stall, Text, UsageChunk
from tokengrpc.config import PriceSettings, engine_settings, model_settings
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import RecordQuery
from tokengrpc.core.tenant import BudgetRule, Period
from tokengrpc.errors import StoreUnavailable
from tokengrpc.stores.memory_ledger import MemoryLedger
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import SqlLedger

BUILTIN = model_settings(name="m", kind="builtin")
DAY = 86_400


@pytest.fixture(params=LEDGERS, ids=lambda make: make.__name__)
def ledger(request, tmp_path):
    with request.param(request, tmp_path) as made:
        yield made


def tokens(amount: int, **rule) -> BudgetRule:
    return BudgetRule(amount=amount, period=Period.DAY, **rule)


async def used(ledger) -> list[int]:
    return [use.used for use in await ledger.budget_use("a", 0)]


async def billed(ledger) -> int:
    """Returns the tokens of all records, which are closed."""
    found = await ledger.list_records(RecordQuery(), None, 100_000)
    assert {record.state for record in found} <= {RecordState.CLOSED, RecordState.LOST}
    return sum(record.usage.input + record.usage.output for record in found)


async def test_a_budget_that_runs_out_ends_the_stream(ledger, engine: ScriptedEngine):
    """With the partial output and its exact usage. Then new requests are refused until the period ends."""
    caller = OneTenant(budgets=(tokens(60),))
    async with serving(upstream(engine.base_url), authenticator=caller, ledger=ledger) as server:
        engine.script(*(Text(" a") for _ in range(200)), Stall())
        outcome = await collect(server.stream("g", prompt="four characters each"))
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED")
        usage = outcome.messages[-1].usage
        assert outcome.text == " a" * usage.output_token_count
        total = usage.input_token_count + usage.output_token_count
        assert total > 60
        assert await used(ledger) == [total] == [await billed(ledger)]
        refused = await collect(server.stream("h"))
        assert (refused.code, refused.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED")
        (violation,) = refused.detail(error_details_pb2.QuotaFailure).violations
        assert violation.subject == "tenant:a"
        assert violation.description.startswith("budget_day: tenant a has spent its budget")
        left = refused.detail(error_details_pb2.RetryInfo).retry_delay.seconds
        assert abs(DAY - time.time() % DAY - left) < 600
        assert len(engine.calls) == 1
        caller.limit(budgets=(tokens(10_000),))
        engine.script(Text("One"), Finish(), UsageChunk(3, 1), Done())
        assert (await collect(server.stream("i"))).finished


async def test_budgets_are_by_model_and_label(ledger):
    """Each value of a label has its own. Requests without the label do not count."""
    caller = OneTenant(budgets=(tokens(30, label_key="team"), tokens(10_000, model="other")))
    async with serving(BUILTIN, authenticator=caller, ledger=ledger) as server:

        async def reason(**labels: str) -> str:
            outcome = await collect(server.stream(labels=labels, max_output_token_count=40))
            return outcome.info.reason if outcome.info else ""

        assert await reason(team="x") == "BUDGET_EXHAUSTED"
        assert await reason(team="x") == "BUDGET_EXHAUSTED"
        assert await reason() == ""
        assert await reason(other="x") == ""
        assert await reason(team="y") == "BUDGET_EXHAUSTED"
        found = {use.account.label_value: use.used for use in await ledger.budget_use("a", 0)}
        assert found.keys() == {"x", "y"}
        assert min(found.values()) > 30


async def test_money_is_spent_as_records_cost(ledger):
    """To the millionth. Usage in another currency does not count."""
    prices = (PriceSettings(model="m", currency="EUR", input="1000", output="2000"),)
    budgets = (BudgetRule(amount=200_000, period=Period.MONTH, currency="EUR"), tokens(5, currency="USD"))
    caller = OneTenant(budgets=budgets)
    async with serving(BUILTIN, authenticator=caller, ledger=ledger, prices=prices) as server:
        outcomes = [await collect(server.stream(max_output_token_count=30)) for _ in range(6)]
        reasons = [outcome.info.reason if outcome.info else "" for outcome in outcomes]
        assert reasons == sorted(reasons)
        assert set(reasons) == {"", "BUDGET_EXHAUSTED"}
        records = await ledger.list_records(RecordQuery(), None, 10)
        cost = sum(record.cost.amount_micros for record in records)
        by_currency = {use.account.currency: use.used for use in await ledger.budget_use("a", 0)}
        assert by_currency == {"EUR": cost}
        assert 200_000 <= cost <= 200_000 + 64 * 2_000


async def test_the_books_agree_after_a_mixed_load(ledger):
    """With callers that leave, cancel, and run out of the budget: used is the sum of the records."""
    chance = random.Random(3)
    caller = OneTenant(budgets=(tokens(9_000), tokens(6_000, model="m")))
    paced = model_settings(name="m", engines=(engine_settings(kind="builtin", pace=2000),))
    async with serving(paced, authenticator=caller, ledger=ledger) as server:

        async def call(number: int) -> None:
            stream = server.stream(f"g{number}", max_output_token_count=chance.randint(1, 200))
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.05)
                stream.cancel()
            elif chance.random() < 0.3:
                task = asyncio.create_task(collect(stream))
                await asyncio.sleep(chance.random() * 0.05)
                await asyncio.gather(task, server.cancel(f"g{number}"), return_exceptions=True)
                return
            await collect(stream)

        await asyncio.gather(*map(call, range(120)))
        await until(lambda: not server.registry.active)
        total = await billed(ledger)
        assert await used(ledger) == [total, total]
        records = await ledger.list_records(RecordQuery(), None, 1000)
        ended = sum(record.error_reason == "BUDGET_EXHAUSTED" for record in records)
        # Beyond a slice, at most what one read of the engine has: 32 tokens.
        assert 0 < total <= 6_000 + 6_000 // 100 + ended * 32


async def test_two_servers_share_a_budget(postgres_server):
    """Together they use at most what it has, and a slice each: what is in flight when a slice ends."""
    amount = 20_000
    with postgres_server.database("shared") as url:
        ledgers = [SqlLedger(database.postgresql(url, 5.0), name) for name in ("one", "two")]
        caller = OneTenant(budgets=(tokens(amount),))
        async with (
            serving(BUILTIN, authenticator=caller, ledger=ledgers[0]) as one,
            serving(BUILTIN, authenticator=caller, ledger=ledgers[1]) as two,
        ):

            async def call(server) -> int:
                served = refused = 0
                while refused < 3:
                    outcome = await collect(server.stream(max_output_token_count=200))
                    served += len(outcome.tokens)
                    refused += not outcome.messages
                return served

            served = await asyncio.gather(*(call(server) for server in (one, two) for _ in range(4)))
            assert min(sum(served[:4]), sum(served[4:])) > 0
            total = await billed(ledgers[0])
            assert await used(ledgers[0]) == [total]
            assert amount * 0.99 <= total <= amount + 2 * amount // 100
        uses = await _left_over(url)
        assert uses == 0


async def _left_over(url: str) -> int:
    """Returns what is leased after all servers have stopped."""
    ledger = SqlLedger(database.postgresql(url, 5.0), "after")
    await ledger.start()
    try:
        return sum(use.leased for use in await ledger.budget_use("a", 0))
    finally:
        await ledger.close()


class Away(MemoryLedger):
    """A ledger whose budgets cannot be leased while it is `away`."""

    away = False

    async def lease_budgets(self, requests, seconds):
        if self.away:
            raise StoreUnavailable("away")
        return await super().lease_budgets(requests, seconds)


async def test_a_slice_lasts_while_the_database_is_away(engine: ScriptedEngine):
    """Beyond it, requests are refused as STORE_UNAVAILABLE, and served again when it is back."""
    ledger = Away()
    caller = OneTenant(budgets=(tokens(10_000),))
    async with serving(upstream(engine.base_url), authenticator=caller, ledger=ledger) as server:
        engine.script(Text("One"), Finish(), UsageChunk(20, 10), Done())
        assert (await collect(server.stream(max_output_token_count=10))).finished
        ledger.away = True
        served = 0
        while (outcome := await collect(server.stream(max_output_token_count=10))).finished:
            served += 1
        assert (outcome.code, outcome.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert 1 <= served <= 10_000 // 100 // 11
        ledger.away = False
        assert (await collect(server.stream(max_output_token_count=10))).finished


async def test_a_reservation_is_returned_however_it_ends(engine: ScriptedEngine):
    """Also of a generation that no engine accepted: it has no record, and uses nothing."""
    ledger = MemoryLedger()
    caller = OneTenant(budgets=(tokens(100),))
    async with serving(upstream(engine.base_url), authenticator=caller, ledger=ledger) as server:
        engine.script(Text("One"), Stall())
        running = server.stream("running", max_output_token_count=90)
        await read_until(running, lambda message: message.tokens)
        blocked = await collect(server.stream("blocked", prompt="x" * 60))
        assert (blocked.info.reason, blocked.info.metadata["tenant"]) == ("QUOTA_EXCEEDED", "a")
        assert blocked.detail(error_details_pb2.RetryInfo)
        running.cancel()
        await until(lambda: not server.registry.active)
        engine.script(Text("One"), Finish(), UsageChunk(15, 1), Done())
        assert (await collect(server.stream("next", prompt="x" * 60))).finished
        assert await used(ledger) == [await billed(ledger)]
