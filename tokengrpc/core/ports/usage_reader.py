"""The port of a ledger that can be read: its records, sums of their usage, and its entries."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable
from zoneinfo import ZoneInfo

import msgspec

from tokengrpc.core.model import Cost, Usage
from tokengrpc.core.ports.ledger import UsageRecord

if TYPE_CHECKING:
    from collections.abc import Sequence


class RecordQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects records, which must match all fields; an empty or None field does not restrict.

    Times are in nanoseconds since the Unix epoch and concern `create_time_ns`: from `start_ns`, before
    `end_ns`. A record must have all `labels`.
    """

    tenant: str = ""
    model: str = ""
    generation_id: str = ""
    labels: Mapping[str, str] = {}
    start_ns: int | None = None
    end_ns: int | None = None


class PageStart(NamedTuple):
    """The last record of a page, after which the next one begins."""

    create_time_ns: int
    record_id: str


class TimeUnit(StrEnum):
    """A calendar unit, in a time zone, that sums are grouped by."""

    HOUR = "HOUR"
    DAY = "DAY"
    MONTH = "MONTH"


class Buckets(msgspec.Struct, frozen=True, kw_only=True):
    """Buckets of time: of a length, counted from the Unix epoch, or of a calendar unit in a time zone."""

    length_ns: int = 0
    unit: TimeUnit | None = None
    zone: ZoneInfo | None = None


class Grouping(msgspec.Struct, frozen=True, kw_only=True):
    """What sums are grouped by. Nothing: one group with all records. `label` is the key of a label."""

    tenant: bool = False
    model: bool = False
    label: str = ""
    buckets: Buckets | None = None


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """Sum of the usage in one group. What is not grouped by is empty; `bucket_ns` is the start of the bucket.

    The source is the weakest one. `lost` is how many of the records are LOST: estimates. `costs` has a sum
    for each currency, ordered by its code.
    """

    tenant: str = ""
    model: str = ""
    label_value: str = ""
    bucket_ns: int | None = None
    count: int
    lost: int
    usage: Usage
    costs: tuple[Cost, ...] = ()


class EntryKind(StrEnum):
    """Kind of an entry. FINISH or LOST closes a record, once; ADJUST replaces what closed it.

    A server that was believed dead may still finish: that is an ADJUST after a LOST.
    """

    BEGIN = "BEGIN"
    FINISH = "FINISH"
    SETTLE = "SETTLE"
    LOST = "LOST"
    ADJUST = "ADJUST"


class LedgerEntry(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Entry of the ledger. Entries are numbered 1, 2, 3 and so on, without gaps, and never change.

    `record` is the record as of this entry. `previous_usage` and `previous_cost` are what an ADJUST replaces.
    """

    sequence: int
    kind: EntryKind
    time_ns: int
    record: UsageRecord
    previous_usage: Usage | None = None
    previous_cost: Cost | None = None


@runtime_checkable
class UsageReader(Protocol):
    """A ledger that can be read. Each call may raise StoreUnavailable.

    Once `finish` of a record has returned, every call knows it.
    """

    async def find(self, tenant: str, generation_id: str) -> UsageRecord | None:
        """Returns the latest record of a generation, or None."""

    async def list_records(
        self, query: RecordQuery, after: PageStart | None, limit: int
    ) -> Sequence[UsageRecord]:
        """Returns up to `limit` records, newest first, after the given one. New ones do not shift pages."""

    async def summarize(self, query: RecordQuery, grouping: Grouping, limit: int) -> Sequence[UsageSum]:
        """Returns the sums of all groups, ordered by group, but at most `limit`: more groups are cut off."""

    async def entries(self, after: int, limit: int, tenant: str = "") -> Sequence[LedgerEntry]:
        """Returns up to `limit` entries after a sequence, in order: of one tenant, or of all if empty."""

    async def newest_sequence(self, tenant: str = "") -> int:
        """Returns the sequence of the newest entry, of one tenant or of all if empty; 0 if there is none."""
