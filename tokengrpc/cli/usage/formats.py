"""Formats of exported entries: JSON Lines, CSV, CloudEvents 1.0 and FOCUS 1.2. Pure functions."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from tokenstreaming.v1 import usage_pb2, usage_service_pb2

from tokengrpc.cli.usage import focus
from tokengrpc.cli.usage.charges import COUNTS, charge_of, response_ids, utc
from tokengrpc.client.names import short_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Entries = Sequence[usage_service_pb2.UsageEntry]


class Format(StrEnum):
    """Format of an export."""

    JSONL = "jsonl"
    CSV = "csv"
    FOCUS = "focus"
    CLOUDEVENTS = "cloudevents"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a format writes entries: for a file, where the header comes first, and for one HTTP request."""

    content_type: str
    header: str
    lines: Callable[[Entries], str]
    body: Callable[[Entries], str]


CSV_COLUMNS = (
    "sequence",
    "kind",
    "entry_time",
    "record_id",
    "generation_id",
    "tenant",
    "model",
    "state",
    "create_time",
    "end_time",
    *COUNTS,
    "source",
    "cost_micros",
    "currency",
    "price_version",
    "previous_cost_micros",
    "response_ids",
)


def _jsonl(entries: Entries) -> str:
    return "".join(
        f"{json.dumps(MessageToDict(entry, preserving_proto_field_name=True), ensure_ascii=False)}\n"
        for entry in entries
    )


def _csv(entries: Entries) -> str:
    return table(CSV_COLUMNS, map(_csv_row, entries))


def table(columns: Sequence[str], rows: Any) -> str:  # noqa: ANN401 - an iterable of rows
    """Returns lines of CSV (RFC 4180, but with LF)."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writerows(rows)
    return out.getvalue()


def _csv_row(entry: usage_service_pb2.UsageEntry) -> dict[str, Any]:
    record = entry.usage_record
    cost = record.cost if record.HasField("cost") else None
    return {
        "sequence": entry.sequence,
        "kind": short_name(usage_service_pb2.UsageEntryKind, entry.kind, "USAGE_ENTRY_KIND_"),
        "entry_time": utc(entry.entry_time),
        "record_id": record.record_id,
        "generation_id": record.generation_id,
        "tenant": record.tenant,
        "model": record.model,
        "state": short_name(usage_service_pb2.UsageRecordState, record.state, "USAGE_RECORD_STATE_"),
        "create_time": utc(record.create_time),
        "end_time": utc(record.end_time) if record.HasField("end_time") else "",
        **{name: getattr(record.usage, name) for name in COUNTS},
        "source": short_name(usage_pb2.UsageSource, record.usage.source, "USAGE_SOURCE_"),
        "cost_micros": cost.amount_micros if cost else "",
        "currency": cost.currency if cost else "",
        "price_version": cost.price_version if cost else "",
        "previous_cost_micros": entry.previous_cost.amount_micros if entry.HasField("previous_cost") else "",
        "response_ids": " ".join(response_ids(record)),
    }


def _focus(entries: Entries) -> str:
    charges = (charge_of(entry) for entry in entries)
    return table(focus.COLUMNS, (focus.row(one) for one in charges if one is not None and one.currency))


def cloud_events(entries: Entries) -> list[dict[str, Any]]:
    """Returns a CloudEvent for each entry that changes the bill, with the sequence as its id."""
    events = []
    for entry in entries:
        charge = charge_of(entry)
        if charge is None:
            continue
        record = charge.record
        data: dict[str, Any] = {
            "record_id": record.record_id,
            "generation_id": record.generation_id,
            "model": record.model,
            "response_ids": response_ids(record),
            **charge.counts,
            "source": short_name(usage_pb2.UsageSource, record.usage.source, "USAGE_SOURCE_"),
        }
        if charge.currency:
            data |= {"cost_micros": charge.amount_micros, "currency": charge.currency}
        events.append(
            {
                "specversion": "1.0",
                "id": str(entry.sequence),
                "source": "tokengrpc",
                "type": "tokengrpc.usage",
                "subject": record.tenant,
                "time": utc(record.end_time),
                "datacontenttype": "application/json",
                "data": data,
            }
        )
    return events


def _cloud_event_lines(entries: Entries) -> str:
    return "".join(f"{json.dumps(event, ensure_ascii=False)}\n" for event in cloud_events(entries))


def _cloud_event_batch(entries: Entries) -> str:
    events = cloud_events(entries)
    return json.dumps(events, ensure_ascii=False) if events else ""


def _with_header(header: str, lines: Callable[[Entries], str]) -> Callable[[Entries], str]:
    def body(entries: Entries) -> str:
        rows = lines(entries)
        return header + rows if rows else ""

    return body


_CSV_HEADER = ",".join(CSV_COLUMNS) + "\n"
_FOCUS_HEADER = ",".join(focus.COLUMNS) + "\n"

ENCODINGS = {
    Format.JSONL: Encoding("application/x-ndjson", "", _jsonl, _jsonl),
    Format.CSV: Encoding("text/csv", _CSV_HEADER, _csv, _with_header(_CSV_HEADER, _csv)),
    Format.FOCUS: Encoding("text/csv", _FOCUS_HEADER, _focus, _with_header(_FOCUS_HEADER, _focus)),
    Format.CLOUDEVENTS: Encoding(
        "application/cloudevents-batch+json", "", _cloud_event_lines, _cloud_event_batch
    ),
}
