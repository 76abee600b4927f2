"""Comparison of the ledger's records with a provider's export of usage. Pure functions."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokengrpc.escaping import escape_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tokenstreaming.v1 import usage_service_pb2 as pb

RESPONSE_ID = "response-id"
"""What a provider's ids are if they are those of its responses."""

_ID_COLUMNS = {RESPONSE_ID: "response_id"}
_OTHER_ID_COLUMN = "request_id"

INPUT_COLUMNS = ("input_tokens", "prompt_tokens", "usage.input_tokens", "usage.prompt_tokens")
OUTPUT_COLUMNS = ("output_tokens", "completion_tokens", "usage.output_tokens", "usage.completion_tokens")
_BESIDE_INPUT = (
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "usage.cache_read_input_tokens",
    "usage.cache_creation_input_tokens",
)
"""Columns of Anthropic's, whose tokens are not in its input."""


class StatementError(ValueError):
    """Export that cannot be read. The message is one line."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Input and output tokens of a request. None is a count that is not known, which equals any other."""

    input: int | None = 0
    output: int | None = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(_sum(self.input, other.input), _sum(self.output, other.output))

    def matches(self, other: Tokens | None) -> bool:
        """Whether the other side has the same known counts. A request without any may be missing there."""
        if other is None:
            return self.input is None and self.output is None
        return self.input in {None, other.input} and self.output in {None, other.output}


@dataclass(frozen=True, slots=True)
class Difference:
    """Request whose counts differ; None for the side that does not have it."""

    key: str
    ledger: Tokens | None
    statement: Tokens | None


def choose(first: str, by: str, id_column: str) -> tuple[str, str]:
    """Returns what the ids of a file are, and their column, of which either may be left open (empty).

    `first` is the file's first line. Without `by`, the ids are those of responses if the file has a column
    for them, otherwise those of generations.
    """
    column = _ID_COLUMNS[RESPONSE_ID]
    if not by:
        by = RESPONSE_ID if id_column in {"", column} and _has(first, column) else "generation"
    return by, id_column or _ID_COLUMNS.get(by, _OTHER_ID_COLUMN)


def _has(first: str, column: str) -> bool:
    first = first.removeprefix("\ufeff")
    if not first.startswith("{"):
        return column in next(csv.reader([first]), ())
    try:
        return column in dict(_flat(json.loads(first), ""))
    except ValueError:
        return False


def read(
    lines: Iterable[str], *, key: str, by: str = "generation", inputs: str = "", outputs: str = ""
) -> dict[str, Tokens]:
    """Reads CSV, or JSON Lines if the first line begins with a brace. Sums rows with the same key.

    `key`, `inputs` and `outputs` name columns; in JSON, a dot leads into an object. Without names, the
    columns are those of the common APIs. Ids of responses are cleaned as the ledger's. Raises StatementError.
    """
    clean: Callable[[str], str] = escape_id if by == RESPONSE_ID else str
    found: dict[str, Tokens] = {}
    for number, row in enumerate(_rows(iter(lines)), start=1):
        value = row.get(key)
        if value in {None, ""}:
            raise StatementError(f"row {number} has no {key}: name the column with --id-column")
        beside = sum(_count(row, (name,), number) for name in _BESIDE_INPUT if name in row and not inputs)
        tokens = Tokens(
            _count(row, (inputs,) if inputs else INPUT_COLUMNS, number, "--input-column") + beside,
            _count(row, (outputs,) if outputs else OUTPUT_COLUMNS, number, "--output-column"),
        )
        id_ = clean(str(value))
        found[id_] = found.get(id_, Tokens()) + tokens
    return found


def keyed_tokens(record: pb.UsageRecord, by: str) -> Iterator[tuple[str, Tokens]]:
    """Yields what a record is compared by, with its tokens; by `response-id`, each attempt that has one.

    The record's input is that of the attempt whose prefill is billed: the first with output, or else the
    last. What other attempts read, and the output of those that added none, is overhead of the switch, which
    providers count in their own ways.
    """
    if by != RESPONSE_ID:
        if key := key_of(record, by):
            yield key, tokens_of(record)
        return
    attempts = record.attempts
    billed = next((one for one, attempt in enumerate(attempts) if attempt.output_token_count), -1)
    for number, attempt in enumerate(attempts):
        if attempt.response_id:
            is_billed = number == billed % len(attempts)
            output = attempt.output_token_count
            yield (
                attempt.response_id,
                Tokens(
                    record.usage.input_token_count if is_billed else None,
                    output if is_billed or output else None,
                ),
            )


def key_of(record: pb.UsageRecord, by: str) -> str:
    """Returns what identifies a record: `generation`, `record` or the value of `label:KEY`."""
    if by.startswith("label:"):
        return record.labels.get(by.removeprefix("label:"), "")
    return record.generation_id if by == "generation" else record.record_id


def tokens_of(record: pb.UsageRecord) -> Tokens:
    """Returns the billed tokens. Overhead of engine switches is not in them."""
    return Tokens(record.usage.input_token_count, record.usage.output_token_count)


def differences(ledger: Mapping[str, Tokens], statement: Mapping[str, Tokens]) -> Sequence[Difference]:
    """Returns what differs, in the order of the keys."""
    keys = sorted(ledger.keys() | statement.keys())
    pairs = (Difference(key, ledger.get(key), statement.get(key)) for key in keys)
    return [pair for pair in pairs if pair.ledger is None or not pair.ledger.matches(pair.statement)]


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _rows(lines: Iterator[str]) -> Iterator[Mapping[str, Any]]:
    first = next(lines, "")

    def whole() -> Iterator[str]:
        yield first
        yield from lines

    if not first.lstrip("\ufeff").startswith("{"):
        yield from csv.DictReader(line.removeprefix("\ufeff") for line in whole())
        return
    for number, line in enumerate(whole(), start=1):
        if line.strip():
            try:
                yield dict(_flat(json.loads(line.removeprefix("\ufeff")), ""))
            except (ValueError, AttributeError):
                raise StatementError(f"row {number} is not a JSON object") from None


def _flat(value: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{path}{key}.")
        else:
            yield f"{path}{key}", inner


def _count(row: Mapping[str, Any], names: Sequence[str], number: int, flag: str = "") -> int:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise StatementError(f"row {number} has none of {', '.join(names)}: name the column with {flag}")
    try:
        return int(row[name] or 0)
    except (TypeError, ValueError):
        raise StatementError(f"row {number}: {name} is not a whole number") from None
