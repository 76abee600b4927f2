"""Records of event logs and usage ledgers, for tests of the ports."""

from __future__ import annotations

from typing import Any

from tokengrpc.core.events import RecordKind
from tokengrpc.core.model import FinishReason, GenerationKey, Usage
from tokengrpc.core.ports.ledger import UsageRecord
from tokengrpc.core.ports.log import Record
from tokengrpc.core.tenant import Priority

KEY = GenerationKey("t", "g")


def log_records(first: int, last: int, *, end: bool = False) -> list[Record]:
    """Returns consecutive records of tokens. With `end`, the last one is FINISHED."""
    kinds = {last: RecordKind.FINISHED} if end else {}
    return [
        Record(n, kinds.get(n, RecordKind.TOKENS), b"body%d;" % n, b"tail%d;" % n)
        for n in range(first, last + 1)
    ]


def usage_record(record_id: str = "r", **more: Any) -> UsageRecord:
    """Returns the usage record of a running generation."""
    given = {
        "generation_id": "g",
        "tenant": "t",
        "model": "m",
        "labels": {"team": "search"},
        "create_time_ns": 1,
        "usage": Usage(input=3),
        "priority": Priority.BATCH,
        **more,
    }
    return UsageRecord(record_id=record_id, **given)


def finished_record(record_id: str = "r", **more: Any) -> UsageRecord:
    """Returns the usage record of an ended generation."""
    given = {
        "usage": Usage(input=3, output=5),
        "end_time_ns": 2,
        "finish_reason": FinishReason.END,
        "engines": ("e",),
        **more,
    }
    return usage_record(record_id, **given)
