"""The tables of docs/simulator.md, generated from the code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import inspect

from tests.support.simulator_outcomes import OUTCOMES, STATUS_REASONS
from tokengrpc.config import FaultSettings
from tokengrpc.wire.status import CODES

if TYPE_CHECKING:
    from collections.abc import Iterator


def meanings() -> dict[str, str]:
    """Returns the description of each key from the schema."""
    info = inspect.type_info(FaultSettings)
    assert isinstance(info, inspect.StructType)
    return {field.name: _description(field.type) for field in info.fields}


def _description(schema: inspect.Type) -> str:
    assert isinstance(schema, inspect.Metadata)
    assert schema.extra_json_schema is not None
    return str(schema.extra_json_schema["description"])


def fault_rows() -> Iterator[str]:
    """Yields a row for each fault: what happens, and what the caller sees."""
    for key, outcome in OUTCOMES.items():
        failures = ", ".join(f"{CODES[reason].name} `{reason}`" for reason in outcome.reasons)
        sees = ": ".join(filter(None, (outcome.words, failures)))
        yield f"| `{key}` | {meanings()[key]} | {sees} |"


def condition_rows() -> Iterator[str]:
    """Yields a row for each key that selects the affected calls."""
    for key in FaultSettings.__struct_fields__:
        if key not in OUTCOMES:
            yield f"| `{key}` | {meanings()[key]} |"


def status_rows() -> Iterator[str]:
    """Yields a row for the statuses of each reason."""
    for reason in dict.fromkeys(STATUS_REASONS.values()):
        statuses = ", ".join(str(status) for status, mapped in STATUS_REASONS.items() if mapped == reason)
        yield f"| {statuses} | {CODES[reason].name} `{reason}` |"
