"""Token counts as servers write them: the readable part of a usage object, the newest report."""

from __future__ import annotations

from typing import Any

from tokengrpc.core.model import UsageReport

# The contract's range for counts (int32).
_MAX_COUNT = 2**31 - 1

# Fields of a usage object that are objects of counts themselves; all others are counts.
_DETAILS = "_details"


def readable_counts(value: object) -> dict[str, Any] | None:
    """Returns the counts of a decoded usage object without the values that are no counts.

    5.0 and "5" are counts; -1, 1e20 and {"n": 5} are not. None if it is no object.
    """
    if not isinstance(value, dict):
        return None
    read = {
        name: readable_counts(item) if name.endswith(_DETAILS) else _count(item)
        for name, item in value.items()
    }
    return {name: counts for name, counts in read.items() if counts is not None}


def _count(value: object) -> int | None:
    if isinstance(value, str) and len(value) <= len(str(_MAX_COUNT)) and value.isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        return None
    return value


def first_known(*counts: int | None) -> int | None:
    """Returns the first count that is known, or None."""
    for count in counts:
        if count is not None:
            return count
    return None


def newest(report: UsageReport, before: UsageReport | None) -> UsageReport:
    """Returns the counts of `report`, and those of `before` that it lacks."""
    if before is None:
        return report
    # Called once per chunk by servers that report usage in each.
    return UsageReport(
        input=before.input if report.input is None else report.input,
        output=before.output if report.output is None else report.output,
        cached_input=before.cached_input if report.cached_input is None else report.cached_input,
        cache_write_input=(
            before.cache_write_input if report.cache_write_input is None else report.cache_write_input
        ),
        reasoning=before.reasoning if report.reasoning is None else report.reasoning,
    )
