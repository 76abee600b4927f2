"""Charges: by how much each entry of the ledger changes the bill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenstreaming.v1 import usage_pb2
from tokenstreaming.v1 import usage_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.timestamp_pb2 import Timestamp

COUNTS = tuple(
    field.name for field in usage_pb2.Usage.DESCRIPTOR.fields if field.name.endswith("_token_count")
)
"""The counts of a usage, in the contract's order."""

_CLOSING = {pb.USAGE_ENTRY_KIND_FINISH, pb.USAGE_ENTRY_KIND_LOST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Change of the bill by one entry. An ADJUST changes it by the difference, which may be negative.

    `currency` is empty if there is no cost.
    """

    sequence: int
    record: pb.UsageRecord
    is_correction: bool
    counts: Mapping[str, int]
    amount_micros: int
    currency: str


def charge_of(entry: pb.UsageEntry) -> Charge | None:
    """Returns the charge of an entry; None for BEGIN and SETTLE, which change no bill."""
    is_correction = entry.kind == pb.USAGE_ENTRY_KIND_ADJUST
    if not is_correction and entry.kind not in _CLOSING:
        return None
    record = entry.usage_record
    # Without previous usage and cost, these are 0.
    before, paid = entry.previous_usage, entry.previous_cost
    return Charge(
        sequence=entry.sequence,
        record=record,
        is_correction=is_correction,
        counts={name: getattr(record.usage, name) - getattr(before, name) for name in COUNTS},
        amount_micros=record.cost.amount_micros - paid.amount_micros,
        currency=record.cost.currency or paid.currency,
    )


def response_ids(record: pb.UsageRecord) -> list[str]:
    """Returns the ids of the engines' responses, of those attempts that have one."""
    return [attempt.response_id for attempt in record.attempts if attempt.response_id]


def utc(time: Timestamp) -> str:
    """Formats a time as RFC 3339 in UTC."""
    return time.ToJsonString()
