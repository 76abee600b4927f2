"""Conversion of requests to the UsageService, with all their bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tokenstreaming.v1 import usage_service_pb2 as pb

from tokengrpc.core.ports.usage_reader import Buckets, Grouping, PageStart, RecordQuery
from tokengrpc.core.tenant import Scope
from tokengrpc.errors import AdminRequired
from tokengrpc.wire.checks import Checks
from tokengrpc.wire.page_tokens import page_start
from tokengrpc.wire.tables import TIME_UNITS

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from tokengrpc.core.tenant import Identity

MAX_PAGE_SIZE = 1000
MAX_GROUPS = 10_000
NEWEST = -1
"""`after_sequence` of a caller that wants no entries, only the sequence of the newest one."""

_MAX_LABELS = 16
_MAX_LENGTH = 1024
"""Characters of a value in a filter."""
_MAX_ZONE = 64
"""Characters of a time zone's name: twice as many as the longest one has."""
_MINUTE = 60.0
_SECOND = 1_000_000_000
_INT64 = 2**63


class Page(NamedTuple):
    """A page that a caller asks for: which records, after which one, and how many."""

    query: RecordQuery
    after: PageStart | None
    size: int


class Entries(NamedTuple):
    """Entries that a caller asks for: after which sequence, how many, and of which tenant."""

    after: int
    size: int
    tenant: str


def page_of(request: pb.ListUsageRecordsRequest, caller: Identity) -> Page:
    """Converts a request. Raises InvalidRequest, AdminRequired."""
    checks = Checks()
    query = _query(request.filter, checks, caller)
    size = _page_size(request.page_size, 50, checks)
    after = None
    if request.page_token:
        try:
            after = page_start(request.page_token, query)
        except ValueError:
            rule = "must be a next_page_token of this method for the same filter"
            checks.that(holds=False, path="page_token", rule=rule)
    _raise(checks)
    return Page(query, after, size)


def summary_of(request: pb.SummarizeUsageRequest, caller: Identity) -> tuple[RecordQuery, Grouping]:
    """Converts a request. Raises InvalidRequest, AdminRequired."""
    checks = Checks()
    query = _query(request.filter, checks, caller)
    known = {*pb.UsageDimension.values()} - {pb.USAGE_DIMENSION_UNSPECIFIED}
    checks.that(set(request.group_by) <= known, "group_by", "must be dimensions that this server knows")
    by_label = pb.USAGE_DIMENSION_LABEL in request.group_by
    rule = "is required with USAGE_DIMENSION_LABEL, and must be empty without it"
    checks.that(bool(request.label_key) == by_label, "label_key", rule)
    _bounded(request.label_key, "label_key", checks)
    grouping = Grouping(
        tenant=pb.USAGE_DIMENSION_TENANT in request.group_by,
        model=pb.USAGE_DIMENSION_MODEL in request.group_by,
        label=request.label_key,
        buckets=_buckets(request, checks),
    )
    _raise(checks)
    return query, grouping


def entries_of(request: pb.ListUsageEntriesRequest, caller: Identity) -> Entries:
    """Converts a request. Raises InvalidRequest, AdminRequired."""
    checks = Checks()
    checks.that(request.after_sequence >= NEWEST, "after_sequence", f"must be at least {NEWEST}")
    _bounded(request.tenant, "tenant", checks)
    size = _page_size(request.page_size, 100, checks)
    _raise(checks)
    return Entries(request.after_sequence, size, _tenant_to_read(request.tenant, caller))


def _tenant_to_read(asked: str, caller: Identity) -> str:
    """Returns the tenant whose records a caller reads; empty for all. Raises AdminRequired."""
    if caller.may(Scope.ADMIN):
        return asked
    if asked not in {"", caller.tenant.name}:
        raise AdminRequired("only an admin may read the usage of other tenants: leave `tenant` empty")
    return caller.tenant.name


def _page_size(asked: int, default: int, checks: Checks) -> int:
    checks.that(asked >= 0, "page_size", "must not be negative")
    return min(asked or default, MAX_PAGE_SIZE)


def _query(wanted: pb.UsageFilter, checks: Checks, caller: Identity) -> RecordQuery:
    for name in ("tenant", "model", "generation_id"):
        _bounded(getattr(wanted, name), f"filter.{name}", checks)
    few = len(wanted.labels) <= _MAX_LABELS
    if checks.that(few, "filter.labels", f"must have at most {_MAX_LABELS} entries"):
        for key, value in wanted.labels.items():
            short = len(key) <= _MAX_LENGTH and len(value) <= _MAX_LENGTH
            checks.that(short, "filter.labels", f"must have at most {_MAX_LENGTH} characters each")
    return RecordQuery(
        tenant=_tenant_to_read(wanted.tenant, caller),
        model=wanted.model,
        generation_id=wanted.generation_id,
        labels=dict(wanted.labels),
        start_ns=_nanoseconds(wanted.start_time) if wanted.HasField("start_time") else None,
        end_ns=_nanoseconds(wanted.end_time) if wanted.HasField("end_time") else None,
    )


def _bounded(value: str, path: str, checks: Checks) -> None:
    """Checks a value that is compared with a column. No name has a NUL, which PostgreSQL does not take."""
    rule = f"must have at most {_MAX_LENGTH} characters, and no NUL"
    checks.that(len(value) <= _MAX_LENGTH and "\0" not in value, path, rule)


def _buckets(request: pb.SummarizeUsageRequest, checks: Checks) -> Buckets | None:
    by_time = pb.USAGE_DIMENSION_TIME in request.group_by
    length = checks.duration("bucket_duration", request)
    unit = checks.enum("bucket_unit", request.bucket_unit, {0: None, **TIME_UNITS.back})
    rule = "either this or `bucket_unit` is required with USAGE_DIMENSION_TIME, and none without it"
    if not checks.that((length is not None) + (unit is not None) == by_time, "bucket_duration", rule):
        return None
    checks.that(length is None or length >= _MINUTE, "bucket_duration", "must be at least 1 minute")
    checks.that(unit or not request.time_zone, "time_zone", "needs `bucket_unit`")
    zone = _zone(request.time_zone, checks)
    if not by_time:
        return None
    return Buckets(length_ns=round((length or 0) * _SECOND), unit=unit, zone=zone)


def _zone(name: str, checks: Checks) -> ZoneInfo | None:
    """Returns a time zone; None for UTC, which needs no database on the machine."""
    try:
        # Python looks for a zone by recursion over its parts. The beginning of a longer name is none either.
        return None if name in {"", "UTC"} else ZoneInfo(name[:_MAX_ZONE])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        checks.that(holds=False, path="time_zone", rule="must be a name of the IANA database, such as UTC")
        return None


def _nanoseconds(time: Timestamp) -> int:
    """Converts a time; one beyond the years 1677 to 2262 becomes the nearest that databases can compare."""
    return max(-_INT64, min(time.seconds * _SECOND + time.nanos, _INT64 - 1))


def _raise(checks: Checks) -> None:
    checks.done()
