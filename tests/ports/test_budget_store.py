"""The contract of every ledger that keeps budgets."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec import structs

from tests.support.ledgers import LEDGERS
from tests.support.records import usage_record
from tokengrpc.core.budget import Account
from tokengrpc.core.model import Cost, Usage
from tokengrpc.core.ports.budget import LeaseRequest
from tokengrpc.core.tenant import Period

DAY = 86_400 * 10**9
START = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * 10**9
NOON = START + DAY // 2
MONTH = Account(tenant="a", period=Period.MONTH, start_ns=START)


@pytest.fixture(params=LEDGERS, ids=lambda make: make.__name__)
async def ledger(request, tmp_path):
    with request.param(request, tmp_path) as made:
        await made.start()
        yield made
        await made.close()


async def lease(ledger, account, limit, wanted, kept=0):
    request = LeaseRequest(account=account, limit=limit, kept=kept, wanted=wanted)
    (granted,) = await ledger.lease_budgets([request], 30.0)
    return granted.amount, granted.used


def record(name, output=10, **fields):
    made = usage_record(name)
    given = {
        "tenant": "a",
        "model": "m",
        "create_time_ns": NOON,
        "usage": Usage(input=0, output=output),
        **fields,
    }
    return structs.replace(made, **{"end_time_ns": NOON + 1, **given})


async def test_a_lease_is_at_most_what_is_left(ledger):
    """Beyond closed records and what is kept. A lease replaces the earlier one of the same process."""
    assert await lease(ledger, MONTH, 100, 30) == (30, 0)
    await ledger.finish(record("one", 25))
    # What was used is not kept any more.
    assert await lease(ledger, MONTH, 100, 60, kept=5) == (65, 25)
    assert await lease(ledger, MONTH, 100, 60, kept=65) == (75, 25)
    assert await lease(ledger, MONTH, 100, 60, kept=75) == (75, 25)
    assert await lease(ledger, MONTH, 10, 60) == (0, 25)


async def test_records_count_once_where_they_belong(ledger):
    """By tenant, model, label, period and currency. Open records do not count, nor does a second finish."""
    day = Account(tenant="a", period=Period.DAY, start_ns=START)
    accounts = {
        "month": MONTH,
        "day": day,
        "model": structs.replace(MONTH, model="m"),
        "label": structs.replace(day, label_key="team", label_value="x"),
        "money": structs.replace(MONTH, currency="EUR"),
        "other": structs.replace(MONTH, tenant="b"),
    }
    requests = [LeaseRequest(account=a, limit=10**9, kept=0, wanted=0) for a in accounts.values()]
    await ledger.lease_budgets(requests, 30.0)
    await ledger.begin(record("open", 1000, end_time_ns=None))
    closed = record("one", 1, labels={"team": "x"}, cost=Cost(7, "EUR"))
    await ledger.finish(closed)
    await ledger.finish(closed)
    await ledger.finish(record("two", 2, labels={"team": "y"}, cost=Cost(70, "USD")))
    await ledger.finish(record("three", 4, model="n", create_time_ns=NOON + DAY))
    await ledger.finish(record("four", 8, create_time_ns=NOON + 31 * DAY))
    await ledger.finish(record("five", 16, create_time_ns=START))
    used = [lease.used for lease in await ledger.lease_budgets(requests, 30.0)]
    assert dict(zip(accounts, used, strict=True)) == {
        "month": 1 + 2 + 4 + 16,
        "day": 1 + 2 + 16,
        "model": 1 + 2 + 16,
        "label": 1,
        "money": 7,
        "other": 0,
    }


async def test_a_new_account_begins_with_earlier_records(ledger):
    """A budget that is added in the middle of a period counts all of it."""
    await ledger.finish(record("one", 3, labels={"team": "x"}, cost=Cost(5, "EUR")))
    await ledger.finish(record("two", 4, labels={"team": "y"}))
    await ledger.begin(record("open", 1000, end_time_ns=None))
    assert await lease(ledger, MONTH, 100, 0) == (0, 7)
    assert await lease(ledger, structs.replace(MONTH, label_key="team", label_value="x"), 9, 0) == (0, 3)
    assert await lease(ledger, structs.replace(MONTH, currency="EUR"), 9, 0) == (0, 5)
    assert await lease(ledger, structs.replace(MONTH, model="n"), 9, 0) == (0, 0)


async def test_the_use_of_a_tenant_is_told(ledger):
    """What closed records used, and what is leased, of the periods that are asked for."""
    label = structs.replace(MONTH, label_key="team", label_value="x")
    before = structs.replace(MONTH, start_ns=START - 31 * DAY)
    for account in (MONTH, label, before, structs.replace(MONTH, tenant="b")):
        await lease(ledger, account, 100, 30)
    await ledger.finish(record("one", 3, labels={"team": "x"}))
    found = await ledger.budget_use("a", START)
    assert sorted((use.account.label_value, use.used, use.leased) for use in found) == [
        ("", 3, 30),
        ("x", 3, 30),
    ]


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("key", ["k\ud800", 'a"b', "a\\", "$.k", "\u00e9", "[0]"])
async def test_odd_texts_are_accounts_of_their_own(ledger, key, is_new):
    """Also those that databases do not take as they are, and of an account that is newer than its records."""
    account = structs.replace(MONTH, tenant="a\0b", label_key=key, label_value="v\0")
    if not is_new:
        await lease(ledger, account, 100, 1)
    await ledger.finish(record("one", 3, tenant="a\0b", labels={key: "v\0", "k": "v"}))
    assert await lease(ledger, account, 100, 1) == (1, 3)
