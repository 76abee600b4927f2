"""Conversion of the ledger's records, sums and entries to protobuf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import structs
from tokenstreaming.v1 import usage_service_pb2 as pb

from tokengrpc.core.model import Usage, UsageReport, UsageSource
from tokengrpc.wire.generation import attempt_message, cost_message, timestamp, usage_fields, usage_message
from tokengrpc.wire.page_tokens import page_token
from tokengrpc.wire.tables import ENTRY_KINDS, FINISH_REASONS, PRIORITIES, RECORD_STATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.usage_reader import LedgerEntry, UsageSum
    from tokengrpc.wire.usage_requests import Page

_SECOND = 1_000_000_000


def page_message(page: Page, records: Sequence[UsageRecord]) -> pb.ListUsageRecordsResponse:
    """Returns a page, of records that may be one more than it has."""
    shown = records[: page.size]
    token = page_token(shown[-1], page.query) if len(records) > page.size else ""
    return pb.ListUsageRecordsResponse(usage_records=map(record_message, shown), next_page_token=token)


def record_message(record: UsageRecord) -> pb.UsageRecord:
    """Converts a record."""
    settled = record.settled_usage
    return pb.UsageRecord(
        record_id=record.record_id,
        generation_id=record.generation_id,
        tenant=record.tenant,
        model=record.model,
        usage=usage_message(record.usage),
        state=RECORD_STATES.there[record.state],
        finish_reason=FINISH_REASONS.there[record.finish_reason] if record.finish_reason else None,
        error_reason=record.error_reason,
        create_time=timestamp(record.create_time_ns),
        end_time=timestamp(record.end_time_ns or 0),
        labels=record.labels,
        settled_usage=None if settled is None else usage_message(_reported(settled)),
        attempts=map(attempt_message, record.attempts),
        server=record.server,
        session_id=record.session_id,
        first_token_time=timestamp(record.first_token_time_ns or 0),
        event_byte_count=record.event_bytes,
        last_delivered_sequence=record.delivered_sequence,
        cost=cost_message(record.cost),
        priority=PRIORITIES.there[record.priority],
    )


def sum_message(found: UsageSum) -> pb.UsageSummary:
    """Converts the sum of a group."""
    return pb.UsageSummary(
        tenant=found.tenant,
        model=found.model,
        label_value=found.label_value,
        bucket_start_time=None if found.bucket_ns is None else _instant(found.bucket_ns),
        generation_count=found.count,
        lost_generation_count=found.lost,
        **usage_fields(found.usage),
        costs=filter(None, map(cost_message, found.costs)),
    )


def entry_message(entry: LedgerEntry) -> pb.UsageEntry:
    """Converts an entry."""
    previous = entry.previous_usage
    return pb.UsageEntry(
        sequence=entry.sequence,
        kind=ENTRY_KINDS.there[entry.kind],
        entry_time=timestamp(entry.time_ns),
        usage_record=record_message(entry.record),
        previous_usage=None if previous is None else usage_message(previous),
        previous_cost=cost_message(entry.previous_cost),
    )


def _reported(report: UsageReport) -> Usage:
    """Returns what an engine reported, with 0 for what it did not."""
    counts = {name: count or 0 for name, count in structs.asdict(report).items()}
    return Usage(**counts, source=UsageSource.ENGINE)


def _instant(time_ns: int) -> Timestamp:
    """Converts a time, which may be the epoch itself."""
    return Timestamp(seconds=time_ns // _SECOND, nanos=time_ns % _SECOND)
