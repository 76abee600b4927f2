"""Values of ports for tests: records of logs and ledgers."""

from __future__ import annotations

from typing import Any

from tokengrpc.core.events import RecordKind
from tokengrpc.core.model import FinishReason, GenerationKey, Usage
from tokengrpc.core.ports.ledger import UsageRecord
from tokengrpc.core.ports.log import Record

KEY = GenerationKey("t", "g")


def log_records(first: int, last: int, *, end: bool = False) -> list[Record]:
    """Records of tokens, numbered; with `end` the last one is FINISHED."""
    kinds = {last: RecordKind.FINISHED} if end else {}
    return [
        Record(n, kinds.get(n, RecordKind.TOKENS), b"body%d;" % n, b"tail%d;" % n)
        for n in range(first, last + 1)
    ]


def usage_record(record_id: str = "r", **more: Any) -> UsageRecord:
    """A record of a generation that runs."""
    given = {
        "generation_id": "g",
        "tenant": "t",
        "model": "m",
        "labels": {"team": "search"},
        "create_time_ns": 1,
        "usage": Usage(input=3),
        **more,
    }
    return UsageRecord(record_id=record_id, **given)


def finished_record(record_id: str = "r", **more: Any) -> UsageRecord:
    """The same when it has ended."""
    given = {
        "usage": Usage(input=3, output=5),
        "end_time_ns": 2,
        "finish_reason": FinishReason.END,
        "engines": ("e",),
        **more,
    }
    return usage_record(record_id, **given)
