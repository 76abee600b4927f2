"""Writes docs/faults.md from a run of the tests, and reads it back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PAGE = ROOT / "docs" / "faults.md"
WRITE_DOCS = os.environ.get("TOKENGRPC_WRITE_DOCS") == "1"

_HEAD = """# Outcomes of engine faults

This page is written by `TOKENGRPC_WRITE_DOCS=1 pytest tests/e2e/test_fault_table.py`. Every run of the tests
compares each line with its result. Each fault is provoked over real sockets: a scripted engine, which keeps
its own log, serves a real tokengrpc server. HTTP engines do so on the chat and completions APIs of these
dialects: {columns} (which has an API of its own). `gRPC` is vLLM's own gRPC service (kind `vllm`).

In every case, at the end of the stream the caller had received exactly the text that the engine's log says it
sent: nothing was lost or duplicated. The engine received one request, and its connection was released. A call
of vLLM's gRPC service that still ran was aborted by its id.

- *Code and reason*: the caller's status. It is OK only if the engine had sent its finish reason.
- *Usage*: `reported` is the engine's own count, equal to its log; `counted` is the server's count (`source`
  COUNTED or ESTIMATED); `none`: no engine accepted the request, so nothing is billed.
- If dialects differ, the cell names those that deviate from the first value.
"""
_TABLE = "\n## {section}\n\n| Fault | APIs | Code and reason | Usage |\n|---|---|---|---|\n"


def line(name: str, apis: str, seen: Mapping[str, tuple[str, str]]) -> str:
    """Returns a line of the table. `seen` has the outcome and the usage of each column."""
    ends = _differing({column: end for column, (end, _) in seen.items()})
    usages = _differing({column: usage for column, (_, usage) in seen.items()})
    return f"| {name} | {apis} | {ends} | {usages} |"


def _differing(cells: Mapping[str, str]) -> str:
    """Returns the most frequent cell, followed by the columns that deviate from it."""
    columns_of: dict[str, list[str]] = {}
    for column, cell in cells.items():
        columns_of.setdefault(cell, []).append(column)
    most_frequent = max(columns_of, key=lambda cell: len(columns_of[cell]))
    others = [f"{_named(columns)}: {cell}" for cell, columns in columns_of.items() if cell != most_frequent]
    return "; ".join([most_frequent, *others])


def _named(columns: Sequence[str]) -> str:
    """Returns the columns' names. If both APIs of a server are among them, only the server's name."""
    servers = [name.split()[0] for name in columns]
    pairs = zip(columns, servers, strict=True)
    return ", ".join(dict.fromkeys(server if servers.count(server) == 2 else name for name, server in pairs))


def write(
    columns: Sequence[str],
    sections: Mapping[str, Iterable[str]],
    written: Mapping[tuple[str, str], str],
) -> None:
    """Writes the page. Raises KeyError if `written` lacks a line."""
    parts = [_HEAD.format(columns=_named(columns))]
    for section, names in sections.items():
        rows = "".join(f"{written[section, name]}\n" for name in names)
        parts.append(_TABLE.format(section=section) + rows)
    PAGE.write_text("".join(parts), encoding="utf-8")


def lines() -> dict[str, list[str]]:
    """Returns the lines of each section's table on the page."""
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {
        section.partition("\n")[0]: [row for row in section.splitlines()[4:] if row.startswith("| ")]
        for section in sections
    }


def name_of(row: str) -> str:
    """Returns the name of a line's fault."""
    return row.removeprefix("| ").partition(" | ")[0]
