"""The rows of records and entries: values as databases take them, and bodies in JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from tokengrpc.core.model import Cost, Usage, UsageSource
from tokengrpc.core.ports.ledger import RecordState, UsageRecord
from tokengrpc.core.ports.usage_reader import EntryKind
from tokengrpc.stores.sql.schema import USAGE_COLUMNS
from tokengrpc.stores.sql.stored_text import encodable, storable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

    from tokengrpc.core.ports.usage_reader import LedgerEntry


class _EntryBody(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A LedgerEntry whose record is JSON already: it is encoded once, for both rows."""

    sequence: int
    kind: EntryKind
    time_ns: int
    record: msgspec.Raw
    previous_usage: Usage | None
    previous_cost: Cost | None


_decoder = msgspec.json.Decoder(UsageRecord)
_encoder = msgspec.json.Encoder()


def usage_columns(usage: Usage) -> dict[str, int]:
    """Returns the columns of a usage."""
    columns: dict[str, int] = {name: getattr(usage, name) for name in USAGE_COLUMNS}
    columns["source"] = usage.source.value
    return columns


def record_of(row: sa.Row[Any]) -> UsageRecord:
    """Returns the record of a row of `usage_records`."""
    record = _decoder.decode(row.body)
    if row.state != RecordState.OPEN:
        return record
    return structs.replace(
        record, usage=Usage(**{n: getattr(row, n) for n in USAGE_COLUMNS}, source=UsageSource(row.source))
    )


def record_row(record: UsageRecord, body: bytes, run_id: str) -> dict[str, object]:
    """Returns the row of a record; `body` is `encoded(record)`, `run_id` the id of the writing process."""
    cost = record.cost
    return {
        "record_id": record.record_id,
        "run_id": run_id,
        "state": record.state.value,
        "tenant": storable(record.tenant),
        "generation_id": storable(record.generation_id),
        "model": storable(record.model),
        "create_time_ns": record.create_time_ns,
        **usage_columns(record.usage),
        "cost_micros": cost.amount_micros if cost else 0,
        "currency": cost.currency if cost else "",
        "price_version": cost.price_version if cost else "",
        "labels": _labels(record.labels),
        "body": body.decode(),
    }


def entry_row(entry: LedgerEntry, record_body: bytes) -> dict[str, object]:
    """Returns the row of an entry; `record_body` is `encoded(entry.record)`."""
    body = _EntryBody(
        sequence=entry.sequence,
        kind=entry.kind,
        time_ns=entry.time_ns,
        record=msgspec.Raw(record_body),
        previous_usage=entry.previous_usage,
        previous_cost=entry.previous_cost,
    )
    return {
        "sequence": entry.sequence,
        "record_id": entry.record.record_id,
        "tenant": storable(entry.record.tenant),
        "kind": entry.kind.value,
        "time_ns": entry.time_ns,
        "body": _encoder.encode(body).decode(),
    }


def encoded(record: UsageRecord) -> bytes:
    """Returns a record as JSON."""
    try:
        return _encoder.encode(record)
    except UnicodeEncodeError:
        return encodable(json.dumps(msgspec.to_builtins(record), ensure_ascii=False)).encode()


def _labels(labels: Mapping[str, str]) -> str:
    return _encoder.encode({storable(key): storable(value) for key, value in labels.items()}).decode()
