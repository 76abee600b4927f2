"""Requests to the UsageService, from words and times as callers write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from google.protobuf.timestamp_pb2 import Timestamp
from tokenstreaming.v1 import usage_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from typing import Unpack

# What sums are grouped by, in the words of callers. Those of time name a unit.
DIMENSIONS = {
    "tenant": pb.USAGE_DIMENSION_TENANT,
    "model": pb.USAGE_DIMENSION_MODEL,
}
UNITS = {
    "hour": pb.USAGE_TIME_UNIT_HOUR,
    "day": pb.USAGE_TIME_UNIT_DAY,
    "month": pb.USAGE_TIME_UNIT_MONTH,
}
NEWEST = -1
"""Asks for no entries, only for the sequence of the newest one."""

LABEL = "label:"
"""Begins the word that groups by the value of a label, whose key follows."""


class UsageFilters(TypedDict, total=False):
    """Filters of usage records, which must match all. `since` is inclusive and `until` exclusive."""

    tenant: str
    model: str
    generation_id: str
    labels: Mapping[str, str]
    since: datetime
    until: datetime


def usage_filter(**given: Unpack[UsageFilters]) -> pb.UsageFilter:
    """Returns the filter of a request. Raises TypeError for an unknown one, ValueError for a naive time."""
    known = UsageFilters.__annotations__
    if unknown := given.keys() - known.keys():
        raise TypeError(f"{min(unknown)} is not a filter of usage: use {', '.join(known)}")
    return pb.UsageFilter(
        tenant=given.get("tenant", ""),
        model=given.get("model", ""),
        generation_id=given.get("generation_id", ""),
        labels=given.get("labels"),
        start_time=_timestamp("since", given.get("since")),
        end_time=_timestamp("until", given.get("until")),
    )


def summarize_request(
    by: Iterable[str], zone: str, **filters: Unpack[UsageFilters]
) -> pb.SummarizeUsageRequest:
    """Returns the request for sums by `tenant`, `model`, `label:KEY`, and `hour`, `day` or `month`.

    Raises ValueError for another word, or for two labels or two units of time.
    """
    request = pb.SummarizeUsageRequest(filter=usage_filter(**filters))
    for word in by:
        if word in DIMENSIONS:
            request.group_by.append(DIMENSIONS[word])
        elif word in UNITS:
            _check(not request.bucket_unit, word)
            request.group_by.append(pb.USAGE_DIMENSION_TIME)
            request.bucket_unit = UNITS[word]
            request.time_zone = zone
        else:
            key = word.removeprefix(LABEL)
            _check(word.startswith(LABEL) and key and not request.label_key, word)
            request.group_by.append(pb.USAGE_DIMENSION_LABEL)
            request.label_key = key
    if zone and not request.bucket_unit:
        raise ValueError(f"zone: {zone} needs hour, day or month to group by")
    return request


def _check(holds: object, word: str) -> None:
    if not holds:
        raise ValueError(
            f"by: {word} must be tenant, model, label:KEY, or one of hour, day and month; one label at most"
        )


def _timestamp(name: str, time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError(f"{name}: {time} has no time zone: use a datetime with one, such as UTC")
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
