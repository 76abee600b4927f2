"""Prints sums, records and entries: as tables, as JSON or as comma-separated values."""

from __future__ import annotations

import csv
from contextlib import aclosing
from io import StringIO
from typing import TYPE_CHECKING, Any, cast

from tokengrpc.cli.output import write, write_json, write_note
from tokengrpc.cli.usage.options import Form
from tokengrpc.cli.usage.tables import cut_to_terminal, table
from tokengrpc.cli.usage.texts import (
    ENTRY,
    RECORD,
    SUMMARY,
    cost_text,
    end_text,
    kind_text,
    local_time,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
    from datetime import tzinfo

    from tokenstreaming.v1 import usage_service_pb2 as pb

_BUCKETS = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "month": "%Y-%m"}


def print_summary(found: Sequence[pb.UsageSummary], by: Sequence[str], zone: tzinfo, form: Form) -> None:
    """Prints sums by what they are grouped by."""
    if form is not Form.TABLE:
        _print_lines(found, SUMMARY, form)
        return
    if not found:
        write_note("there is no usage: choose another time with --since and --until, or other filters")
        return
    costs = any(sums.costs for sums in found)
    lost = any(sums.lost_generation_count for sums in found)
    header = [*(_group_name(word, zone) for word in by), "generations", "input", "output"]
    header += ["lost"] * lost + ["cost"] * costs
    rows: list[list[str | int]] = [
        [
            *(_group(sums, word, zone) for word in by),
            sums.generation_count,
            sums.input_token_count,
            sums.output_token_count,
            *([sums.lost_generation_count] * lost),
            *([cost_text(sums.costs)] * costs),
        ]
        for sums in found
    ]
    bars = [sums.input_token_count + sums.output_token_count for sums in found]
    for line in table(header, rows, bars):
        write(line, end="\n")


async def print_records(
    records: AsyncIterator[pb.UsageRecord], limit: int | None, zone: tzinfo, form: Form
) -> None:
    """Prints up to `limit` records; a table when all have arrived, because widths depend on them."""
    kept: list[pb.UsageRecord] = []
    printed = 0
    if form is Form.CSV:
        _print_names(RECORD)
    async with aclosing(cast("AsyncGenerator[pb.UsageRecord]", records)) as pages:
        async for record in pages:
            if printed == limit:
                if form is Form.TABLE:
                    write_note(f"only the newest {limit} generations are shown: see --limit and --since")
                break
            printed += 1
            if form is Form.TABLE:
                kept.append(record)
            else:
                _print_line(record, RECORD, form)
    if form is Form.TABLE:
        _print_record_table(kept, zone)


class EntryPrinter:
    """Prints entries as they come."""

    def __init__(self, zone: tzinfo, form: Form) -> None:
        self._zone = zone
        self._form = form
        if form is Form.CSV:
            _print_names(ENTRY)

    def print(self, entry: pb.UsageEntry) -> None:
        """Prints an entry in one line."""
        if self._form is not Form.TABLE:
            _print_line(entry, ENTRY, self._form)
            return
        record = entry.usage_record
        usage = record.usage
        told = (
            f"{entry.sequence:>8}  {local_time(entry.entry_time, self._zone)}  {kind_text(entry.kind):<6}",
            f"{usage.input_token_count:>7} {usage.output_token_count:>7}",
            f"{record.generation_id}  {record.model}  {end_text(record)}",
        )
        write(cut_to_terminal("  ".join(told)), end="\n")


def _print_record_table(records: Sequence[pb.UsageRecord], zone: tzinfo) -> None:
    if not records:
        write_note("there are no such generations: check the filters, and --since and --until")
        return
    tenants = len({record.tenant for record in records}) > 1
    costs = any(record.HasField("cost") for record in records)
    header = [f"began ({zone})", "generation", *(["tenant"] * tenants), "model", "end", "input", "output"]
    rows: list[list[str | int]] = [
        [
            local_time(record.create_time, zone),
            record.generation_id,
            *([record.tenant] * tenants),
            record.model,
            end_text(record),
            record.usage.input_token_count,
            record.usage.output_token_count,
            *([cost_text([record.cost] if record.HasField("cost") else [])] * costs),
        ]
        for record in records
    ]
    for line in table([*header, *(["cost"] * costs)], rows):
        write(line, end="\n")


def _group_name(word: str, zone: tzinfo) -> str:
    return f"{word} ({zone})" if word in _BUCKETS else word.removeprefix("label:")


def _group(sums: pb.UsageSummary, word: str, zone: tzinfo) -> str:
    if word in _BUCKETS:
        return local_time(sums.bucket_start_time, zone, _BUCKETS[word])
    return str(getattr(sums, word)) if word in {"tenant", "model"} else sums.label_value


def _print_lines(messages: Iterable[Any], columns: Mapping[str, Callable[[Any], object]], form: Form) -> None:
    if form is Form.CSV:
        _print_names(columns)
    for message in messages:
        _print_line(message, columns, form)


def _print_names(columns: Mapping[str, object]) -> None:
    write(_csv(columns))


def _print_line(message: Any, columns: Mapping[str, Callable[[Any], object]], form: Form) -> None:  # noqa: ANN401 - of the kind that the columns take
    if form is Form.JSON:
        write_json(message)
    else:
        write(_csv(tell(message) for tell in columns.values()))


def _csv(values: Iterable[object]) -> str:
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
