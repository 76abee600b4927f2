"""Formats of exported entries: what a receiver adds up is the bill."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenstreaming.v1 import usage_pb2
from tokenstreaming.v1 import usage_service_pb2 as pb

from tokengrpc.cli.summary import money
from tokengrpc.cli.usage import focus
from tokengrpc.cli.usage.formats import ENCODINGS, Format, cloud_events

if TYPE_CHECKING:
    from collections.abc import Sequence

MICROS = st.integers(0, 2**50)


def entry(
    sequence: int, kind: str, micros: int | None, output: int = 20, before: tuple[int, int] | None = None
) -> pb.UsageEntry:
    """Returns an entry; `before` is the cost and the output that an ADJUST replaces."""
    record = pb.UsageRecord(
        record_id=f"r{sequence}",
        tenant="search",
        model='chat, "large"',
        usage=usage_pb2.Usage(input_token_count=100, output_token_count=output),
        labels={"team": "x"},
    )
    record.create_time.FromJsonString("2025-12-31T23:59:59.5Z")
    record.end_time.FromJsonString("2026-01-01T00:00:02.25Z")
    if micros is not None:
        record.cost.MergeFrom(usage_pb2.Cost(amount_micros=micros, currency="USD", price_version="v1"))
    made = pb.UsageEntry(sequence=sequence, kind=f"USAGE_ENTRY_KIND_{kind}", usage_record=record)
    if before is not None:
        made.previous_cost.MergeFrom(usage_pb2.Cost(amount_micros=before[0], currency="USD"))
        made.previous_usage.MergeFrom(usage_pb2.Usage(input_token_count=100, output_token_count=before[1]))
    return made


def rows(entries: Sequence[pb.UsageEntry]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(ENCODINGS[Format.FOCUS].body(entries))))


def changes(costs: Sequence[int]) -> list[pb.UsageEntry]:
    """Returns the entries of a record whose cost is each of these in turn."""
    entries = [entry(1, "BEGIN", None), entry(2, "FINISH", costs[0], 1)]
    for n, (before, after) in enumerate(pairwise(costs)):
        entries.append(entry(3 + n, "ADJUST", after, n + 2, (before, n + 1)))
    return [*entries, entry(99, "SETTLE", costs[-1])]


@given(st.lists(MICROS, min_size=1, max_size=6))
def test_charges_add_up_to_the_last_cost(costs: list[int]) -> None:
    """In FOCUS and in CloudEvents, exactly. BEGIN and SETTLE are no charges."""
    entries = changes(costs)
    charged = [row["BilledCost"] for row in rows(entries)]
    assert sum(int(cost.replace(".", "")) for cost in charged) == costs[-1]
    events = cloud_events(entries)
    assert sum(event["data"]["cost_micros"] for event in events) == costs[-1]
    assert sum(event["data"]["output_token_count"] for event in events) == len(costs)
    assert sum(event["data"]["input_token_count"] for event in events) == 100
    assert [event["id"] for event in events] == [str(2 + n) for n in range(len(costs))]


def test_a_focus_row() -> None:
    """Periods include the start and not the end. A lower cost has a negative quantity."""
    finished, lowered = rows([entry(2, "FINISH", 1_500_000), entry(3, "ADJUST", 100, 5, (1_500_000, 20))])
    assert finished["BillingPeriodStart"] == "2025-12-01T00:00:00Z"
    assert finished["BillingPeriodEnd"] == "2026-01-01T00:00:00Z"
    assert finished["ChargePeriodStart"] == "2025-12-31T23:59:59Z"
    assert finished["ChargePeriodEnd"] == "2026-01-01T00:00:03Z"
    assert (finished["ListUnitPrice"], finished["PricingQuantity"]) == ("1.500000", "1.0")
    assert (finished["ResourceId"], finished["SubAccountId"]) == ('chat, "large"', "search")
    assert json.loads(finished["Tags"]) == {"team": "x"}
    assert finished["ChargeClass"] == ""
    assert lowered["ChargeClass"] == "Correction"
    assert (lowered["BilledCost"], lowered["ConsumedQuantity"]) == ("-1.499900", "-15.0")
    assert (lowered["ListUnitPrice"], lowered["PricingQuantity"]) == ("1.499900", "-1.0")
    assert set(finished) == set(focus.COLUMNS)


def test_an_entry_without_a_cost_is_no_focus_row() -> None:
    assert rows([entry(2, "FINISH", None)]) == []
    (event,) = cloud_events([entry(2, "FINISH", None)])
    assert "cost_micros" not in event["data"]


@pytest.mark.parametrize("form", Format)
def test_nothing_to_post_is_an_empty_body(form: Format) -> None:
    """Header lines alone are not posted."""
    assert ENCODINGS[form].body([]) == ""


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0.00 USD"),
        (1, "0.000001 USD"),
        (10_000, "0.01 USD"),
        (12_345_600, "12.3456 USD"),
        (-1_500_000, "-1.50 USD"),
    ],
)
def test_amounts_are_shown_exactly(micros: int, text: str) -> None:
    assert money(micros, "USD") == text
