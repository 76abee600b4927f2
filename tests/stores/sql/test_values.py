"""Values that a database does not take as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.ledgers import LEDGERS, postgresql, sqlite
from tests.support.records import finished_record
from tokengrpc.core.model import Usage
from tokengrpc.core.ports.ledger import RecordRefused
from tokengrpc.core.ports.usage_reader import Grouping, RecordQuery
from tokengrpc.errors import StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path

ODD = (
    "nul\0inside",
    "half \ud83e of a pair",
    "'; DROP TABLE usage_records; --",
    "%s %(x)s :x ?",
    "é🦜" * 5000,
)
ANY = pytest.mark.parametrize("make", LEDGERS, ids=[make.__name__ for make in LEDGERS])
SQL = pytest.mark.parametrize("make", [sqlite, postgresql], ids=["sqlite", "postgresql"])


@ANY
@pytest.mark.parametrize("text", ODD, ids=["NUL", "surrogate", "quotes", "parameters", "long"])
async def test_any_text_is_stored_and_found(request, tmp_path: Path, make, text: str) -> None:
    """In each field that callers or engines choose."""
    record = finished_record(
        "r",
        generation_id=text,
        tenant=text,
        model=text,
        labels={text: text},
        error_reason=text,
        engines=(text,),
    )
    with make(request, tmp_path) as ledger:
        await ledger.start()
        await ledger.begin(record)
        await ledger.finish(record)
        found = await ledger.find(text, text)
        (listed,) = await ledger.list_records(
            RecordQuery(tenant=text, model=text, generation_id=text, labels={text: text}), None, 10
        )
        await ledger.close()
    assert found == listed
    assert found is not None
    assert found.usage == record.usage
    if "\ud83e" not in text:
        assert found == record


@SQL
async def test_a_number_that_is_too_large_is_refused(request, tmp_path: Path, make) -> None:
    """It alone: the ledger goes on, and says which failure cannot be repeated."""
    with make(request, tmp_path) as ledger:
        await ledger.start()
        with pytest.raises(RecordRefused):
            await ledger.finish(finished_record("huge", usage=Usage(output=2**63)))
        await ledger.finish(finished_record("good"))
        records = await ledger.list_records(RecordQuery(), None, 10)
        entries = await ledger.entries(0, 10)
        await ledger.close()
    assert [record.record_id for record in records] == ["good"]
    assert [entry.sequence for entry in entries] == [1]
    assert issubclass(RecordRefused, StoreUnavailable)


@SQL
async def test_sums_of_the_largest_counts(request, tmp_path: Path, make) -> None:
    """Engines report at most 2**31 - 1 tokens. Their sum is exact."""
    most = 2**31 - 1
    with make(request, tmp_path) as ledger:
        await ledger.start()
        for n in range(20):
            await ledger.finish(finished_record(f"r{n}", usage=Usage(input=most, output=most)))
        (whole,) = await ledger.summarize(RecordQuery(), Grouping(), 2)
        await ledger.close()
    assert (whole.usage.input, whole.usage.output) == (20 * most, 20 * most)
