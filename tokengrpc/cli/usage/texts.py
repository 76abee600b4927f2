"""Usage in words and numbers: what tables and comma-separated values have in common."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from tokenstreaming.v1 import generation_pb2, input_pb2, usage_pb2
from tokenstreaming.v1 import usage_service_pb2 as pb

from tokengrpc.cli.summary import money
from tokengrpc.cli.usage.charges import response_ids
from tokengrpc.client.names import short_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import tzinfo

    from google.protobuf.timestamp_pb2 import Timestamp
    from tokenstreaming.v1.usage_pb2 import Cost

COUNTS = ("input", "output", "cached_input", "cache_write_input", "reasoning", "overhead")
_COUNT_FIELDS = tuple(f"{name}_token_count" for name in COUNTS)


def cost_text(costs: Iterable[Cost]) -> str:
    """Returns exact amounts with their currencies."""
    return " ".join(money(cost.amount_micros, cost.currency) for cost in costs)


def local_time(stamp: Timestamp, zone: tzinfo, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Returns a time in a zone, in whole seconds."""
    return datetime.fromtimestamp(stamp.seconds, UTC).astimezone(zone).strftime(form)


def kind_text(kind: pb.UsageEntryKind) -> str:
    """Returns what an entry says, such as FINISH."""
    return short_name(pb.UsageEntryKind, kind, "USAGE_ENTRY_KIND_")


def end_text(record: pb.UsageRecord) -> str:
    """Returns how a generation ended, in a word of the contract."""
    if record.state != pb.USAGE_RECORD_STATE_CLOSED:
        return short_name(pb.UsageRecordState, record.state, "USAGE_RECORD_STATE_")
    return record.error_reason or finish_text(record.finish_reason)


def finish_text(reason: generation_pb2.FinishReason) -> str:
    """Returns a finish reason, such as END; empty while there is none."""
    return short_name(generation_pb2.FinishReason, reason, "FINISH_REASON_") if reason else ""


def source_text(source: usage_pb2.UsageSource) -> str:
    """Returns where counts come from: ENGINE, COUNTED or ESTIMATED."""
    return short_name(usage_pb2.UsageSource, source, "USAGE_SOURCE_")


def priority_text(priority: input_pb2.Priority) -> str:
    """Returns the priority that a request had, such as BATCH."""
    return short_name(input_pb2.Priority, priority, "PRIORITY_")


def _when(message: pb.UsageRecord | pb.UsageSummary | pb.UsageEntry, field: str) -> str:
    return getattr(message, field).ToJsonString() if message.HasField(field) else ""


# The columns of comma-separated values. Names are those of the contract.
SUMMARY: Mapping[str, Callable[[pb.UsageSummary], object]] = {
    "tenant": lambda found: found.tenant,
    "model": lambda found: found.model,
    "label_value": lambda found: found.label_value,
    "bucket_start_time": lambda found: _when(found, "bucket_start_time"),
    "generation_count": lambda found: found.generation_count,
    "lost_generation_count": lambda found: found.lost_generation_count,
    **{field: attrgetter(field) for field in _COUNT_FIELDS},
    "source": lambda found: source_text(found.source),
    "costs": lambda found: cost_text(found.costs),
}

RECORD: Mapping[str, Callable[[pb.UsageRecord], object]] = {
    "record_id": lambda record: record.record_id,
    "generation_id": lambda record: record.generation_id,
    "tenant": lambda record: record.tenant,
    "model": lambda record: record.model,
    "engines": lambda record: " ".join(attempt.engine for attempt in record.attempts),
    "response_ids": lambda record: " ".join(response_ids(record)),
    "server": lambda record: record.server,
    "session_id": lambda record: record.session_id,
    "priority": lambda record: priority_text(record.priority),
    "state": lambda record: short_name(pb.UsageRecordState, record.state, "USAGE_RECORD_STATE_"),
    "finish_reason": lambda record: finish_text(record.finish_reason),
    "error_reason": lambda record: record.error_reason,
    **{name: partial(_when, field=name) for name in ("create_time", "first_token_time", "end_time")},
    **{field: attrgetter(f"usage.{field}") for field in _COUNT_FIELDS},
    "source": lambda record: source_text(record.usage.source),
    "cost": lambda record: cost_text([record.cost] if record.HasField("cost") else []),
    "event_byte_count": lambda record: record.event_byte_count,
    "last_delivered_sequence": lambda record: record.last_delivered_sequence,
    "labels": lambda record: json.dumps(dict(record.labels), ensure_ascii=False, sort_keys=True),
}


def _of_record(tell: Callable[[pb.UsageRecord], object]) -> Callable[[pb.UsageEntry], object]:
    return lambda entry: tell(entry.usage_record)


ENTRY: Mapping[str, Callable[[pb.UsageEntry], object]] = {
    "sequence": lambda entry: entry.sequence,
    "kind": lambda entry: kind_text(entry.kind),
    "entry_time": lambda entry: _when(entry, "entry_time"),
    **{name: _of_record(tell) for name, tell in RECORD.items()},
}
