"""The usage ledger in memory, which keeps the latest records."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections import OrderedDict, deque
from itertools import groupby
from typing import TYPE_CHECKING, Any

from msgspec import structs

from tokengrpc.core.model import Cost, Usage
from tokengrpc.core.ports.ledger import RecordState
from tokengrpc.core.ports.usage_reader import EntryKind, LedgerEntry, PageStart, UsageSum
from tokengrpc.stores.calendar import bucket_edges
from tokengrpc.stores.memory_budgets import MemoryBudgets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tokengrpc.config import Settings
    from tokengrpc.core.model import UsageReport
    from tokengrpc.core.ports.budget import AccountUse, Lease, LeaseRequest
    from tokengrpc.core.ports.ledger import UsageRecord
    from tokengrpc.core.ports.usage_reader import Buckets, Grouping, RecordQuery


class MemoryLedger:
    """Usage ledger that keeps the latest records and entries. None survives the process."""

    durable = False

    def __init__(self, max_records: int = 10_000) -> None:
        self._max = max_records
        self.records: OrderedDict[str, UsageRecord] = OrderedDict()
        self._entries: deque[LedgerEntry] = deque(maxlen=2 * max_records)
        self._sequence = 0
        self._budgets = MemoryBudgets()

    async def start(self) -> None:
        """See `UsageLedger`."""

    async def close(self) -> None:
        """See `UsageLedger`."""

    async def begin(self, record: UsageRecord) -> None:
        """See `UsageLedger`."""
        if record.record_id not in self.records:
            self._put(EntryKind.BEGIN, record)

    async def checkpoint(self, usages: Mapping[str, Usage]) -> None:
        """See `UsageLedger`."""
        for record_id, usage in usages.items():
            record = self.records.get(record_id)
            if record is not None and record.state is RecordState.OPEN:
                self.records[record_id] = structs.replace(record, usage=usage)

    async def finish(self, record: UsageRecord) -> None:
        """See `UsageLedger`."""
        before = self.records.get(record.record_id)
        if before is None or before.state is RecordState.OPEN:
            settled = before.settled_usage if before is not None else None
            self._put(EntryKind.FINISH, structs.replace(record, settled_usage=settled) if settled else record)
            self._budgets.closed(record)

    async def settle(self, record_id: str, usage: UsageReport) -> None:
        """See `UsageLedger`. Ignores a record that is no longer kept."""
        record = self.records.get(record_id)
        if record is not None and record.settled_usage != usage:
            self._put(EntryKind.SETTLE, structs.replace(record, settled_usage=usage))

    async def lease_budgets(self, requests: Sequence[LeaseRequest], seconds: float) -> Sequence[Lease]:  # noqa: ARG002 - the only process cannot lose its leases
        """See `BudgetStore`."""
        return self._budgets.lease(requests, self.records.values())

    async def budget_use(self, tenant: str, since_ns: int) -> Sequence[AccountUse]:
        """See `BudgetStore`."""
        return self._budgets.use(tenant, since_ns)

    async def find(self, tenant: str, generation_id: str) -> UsageRecord | None:
        """See `UsageReader`."""
        found = [r for r in self.records.values() if (r.tenant, r.generation_id) == (tenant, generation_id)]
        return max(found, key=_position, default=None)

    async def list_records(
        self, query: RecordQuery, after: PageStart | None, limit: int
    ) -> Sequence[UsageRecord]:
        """See `UsageReader`."""
        kept = tuple(self.records.values())

        def matching() -> Sequence[UsageRecord]:
            found = [r for r in _matching(kept, query) if after is None or _position(r) < after]
            return sorted(found, key=_position, reverse=True)[:limit]

        return await asyncio.to_thread(matching)  # thousands take tens of milliseconds

    async def summarize(self, query: RecordQuery, grouping: Grouping, limit: int) -> Sequence[UsageSum]:
        """See `UsageReader`."""
        return await asyncio.to_thread(_summarize, tuple(self.records.values()), query, grouping, limit)

    async def entries(self, after: int, limit: int, tenant: str = "") -> Sequence[LedgerEntry]:
        """See `UsageReader`. Returns those that are kept."""
        later = (entry for entry in self._entries if entry.sequence > after)
        return [entry for entry in later if tenant in {"", entry.record.tenant}][:limit]

    async def newest_sequence(self, tenant: str = "") -> int:
        """See `UsageReader`. Knows entries that are kept."""
        newest_first = reversed(self._entries)
        return next((entry.sequence for entry in newest_first if tenant in {"", entry.record.tenant}), 0)

    def _put(self, kind: EntryKind, record: UsageRecord) -> None:
        self._sequence += 1
        self._entries.append(
            LedgerEntry(sequence=self._sequence, kind=kind, time_ns=time.time_ns(), record=record)
        )
        self.records[record.record_id] = record
        while len(self.records) > self._max:
            self.records.popitem(last=False)


def _summarize(
    kept: Iterable[UsageRecord], query: RecordQuery, grouping: Grouping, limit: int
) -> Sequence[UsageSum]:
    found = list(_matching(kept, query))
    bucket = _bucket_of(grouping.buckets, found) if grouping.buckets and found else None

    def keys(record: UsageRecord) -> dict[str, Any]:
        chosen: dict[str, Any] = {}
        if grouping.tenant:
            chosen["tenant"] = record.tenant
        if grouping.model:
            chosen["model"] = record.model
        if grouping.label:
            chosen["label_value"] = record.labels.get(grouping.label, "")
        if bucket is not None:
            chosen["bucket_ns"] = bucket(record.create_time_ns)
        return chosen

    def group(record: UsageRecord) -> tuple[Any, ...]:
        return tuple(keys(record).values())

    groups = (list(same) for _, same in groupby(sorted(found, key=group), key=group))
    return [_sum(same, keys(same[0])) for same in groups][:limit]


def _matching(kept: Iterable[UsageRecord], query: RecordQuery) -> Iterable[UsageRecord]:
    for record in kept:
        if (
            query.tenant in {"", record.tenant}
            and query.model in {"", record.model}
            and query.generation_id in {"", record.generation_id}
            and query.labels.items() <= record.labels.items()
            and (query.start_ns is None or record.create_time_ns >= query.start_ns)
            and (query.end_ns is None or record.create_time_ns < query.end_ns)
        ):
            yield record


def _position(record: UsageRecord) -> PageStart:
    return PageStart(record.create_time_ns, record.record_id)


def _bucket_of(buckets: Buckets, found: Sequence[UsageRecord]) -> Callable[[int], int]:
    if buckets.unit is None:
        return lambda time_ns: time_ns - time_ns % buckets.length_ns
    times = [record.create_time_ns for record in found]
    edges = bucket_edges(min(times), max(times), buckets.unit, buckets.zone)
    return lambda time_ns: edges[bisect_right(edges, time_ns) - 1]


def _sum(found: Sequence[UsageRecord], keys: Mapping[str, Any]) -> UsageSum:
    counts = {
        name: sum(getattr(record.usage, name) for record in found)
        for name in Usage.__struct_fields__
        if name != "source"
    }
    source = max(record.usage.source for record in found)
    lost = sum(record.lost for record in found)
    usage = Usage(**counts, source=source)
    return UsageSum(**keys, count=len(found), lost=lost, usage=usage, costs=_costs(found))


def _costs(found: Sequence[UsageRecord]) -> tuple[Cost, ...]:
    by_currency: dict[str, list[Cost]] = {}
    for record in found:
        if record.cost is not None:
            by_currency.setdefault(record.cost.currency, []).append(record.cost)
    return tuple(_added(by_currency[currency]) for currency in sorted(by_currency))


def _added(costs: Sequence[Cost]) -> Cost:
    versions = {cost.price_version for cost in costs}
    version = versions.pop() if len(versions) == 1 else ""
    return Cost(sum(cost.amount_micros for cost in costs), costs[0].currency, version)


def create(value: str, options: Mapping[str, Any], settings: Settings) -> MemoryLedger:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the ledger `memory`."""
    return MemoryLedger()
