"""The tables of docs/simulator.md, as the code has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import inspect

from tests.engines.simulator.outcomes import OUTCOMES, STATUS_REASONS
from tokengrpc.config import FaultSettings
from tokengrpc.wire.status import CODES

if TYPE_CHECKING:
    from collections.abc import Iterator


def meanings() -> dict[str, str]:
    """What each key means, in the schema's words."""
    info = inspect.type_info(FaultSettings)
    return {field.name: field.type.extra_json_schema["description"] for field in info.fields}


def fault_rows() -> Iterator[str]:
    """A row for each fault: what happens, and what the caller sees."""
    for key, outcome in OUTCOMES.items():
        told = ", ".join(f"{CODES[reason].name} `{reason}`" for reason in outcome.reasons)
        sees = ": ".join(filter(None, (outcome.words, told)))
        yield f"| `{key}` | {meanings()[key]} | {sees} |"


def condition_rows() -> Iterator[str]:
    """A row for each key that says which calls it happens to."""
    for key in FaultSettings.__struct_fields__:
        if key not in OUTCOMES:
            yield f"| `{key}` | {meanings()[key]} |"


def status_rows() -> Iterator[str]:
    """A row for the statuses of each reason."""
    for reason in dict.fromkeys(STATUS_REASONS.values()):
        statuses = ", ".join(str(status) for status, told in STATUS_REASONS.items() if told == reason)
        yield f"| {statuses} | {CODES[reason].name} `{reason}` |"
