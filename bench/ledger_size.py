"""Prints how many bytes a generation takes in the usage ledger: `python -m bench.ledger_size [COUNT]`.

Each generation has one attempt and two labels, and is begun and finished, as without an engine's failure.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import uuid
from pathlib import Path

from msgspec import structs

from tokengrpc.core.attempts import Attempt
from tokengrpc.core.model import Cost, FinishReason, Usage, UsageSource
from tokengrpc.core.ports.ledger import UsageRecord
from tokengrpc.stores.sql import database
from tokengrpc.stores.sql.ledger import SqlLedger

_SECOND = 1_000_000_000
_START = 1_800_000_000 * _SECOND
_GROUP = 500


def _records(number: int) -> tuple[UsageRecord, UsageRecord]:
    """Returns the record of a generation at its begin, and at its end."""
    began = _START + number * _SECOND
    common = {
        "record_id": uuid.uuid4().hex,
        "generation_id": uuid.uuid4().hex,
        "tenant": "search",
        "model": "chat-large",
        "labels": {"team": "search", "feature": "suggest"},
        "create_time_ns": began,
        "server": "server-7d9f8",
        "engines": ("gpu-1",),
    }
    attempt = Attempt(engine="gpu-1", server="server-7d9f8", began=began)
    begun = UsageRecord(**common, usage=Usage(input=900), attempts=(attempt,))
    finished = UsageRecord(
        **common,
        usage=Usage(900, 400, 512, source=UsageSource.ENGINE),
        attempts=(
            structs.replace(
                attempt, ended=began + _SECOND, output=400, response_id=f"chatcmpl-{uuid.uuid4().hex}"
            ),
        ),
        first_token_time_ns=began + _SECOND // 5,
        end_time_ns=began + _SECOND,
        finish_reason=FinishReason.END,
        event_bytes=30_000,
        delivered_sequence=402,
        cost=Cost(375_000, "USD", "2026-01"),
    )
    return begun, finished


async def _write(ledger: SqlLedger, count: int) -> None:
    await ledger.start()
    for first in range(0, count, _GROUP):
        pairs = [_records(number) for number in range(first, min(first + _GROUP, count))]
        await asyncio.gather(*(ledger.begin(begun) for begun, _ in pairs))
        await asyncio.gather(*(ledger.finish(finished) for _, finished in pairs))
    await ledger.close()


def main() -> None:
    """Writes the generations and prints the size."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "ledger.sqlite3"
        asyncio.run(_write(SqlLedger(database.sqlite(file, 30.0), "server-7d9f8"), count))
        print(f"{count} generations: {file.stat().st_size / count:.0f} bytes each")


if __name__ == "__main__":
    main()
