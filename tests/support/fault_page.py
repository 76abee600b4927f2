"""docs/faults.md as it is written from a run, and read back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PAGE = ROOT / "docs" / "faults.md"
WRITE_DOCS = os.environ.get("TOKENGRPC_WRITE_DOCS") == "1"

_HEAD = """# What becomes of an engine's faults

Written by `TOKENGRPC_WRITE_DOCS=1 pytest tests/e2e/test_fault_table.py` from a run; every run of the tests
compares each line with what it sees. A real server stands before a scripted HTTP engine that keeps its own
log, and each fault is provoked over real sockets, on the chat and completions APIs of these dialects:
{columns} (whose API is one of its own).

In every case, when its stream had ended, the caller had exactly the text that the engine's log says it sent:
none lost, none doubled. The engine was asked once, and its connection was let go.

- *Code and reason* is what the caller is told. It is OK only where the engine had said how its output ends.
- *Usage*: `told` is the engine's own count, equal to its log; `flagged` is our own (`source` COUNTED or
  ESTIMATED); `none`: no engine accepted, so nothing is billed.
- A cell that names dialects says what is different on those.
"""
_TABLE = "\n## {section}\n\n| The engine | APIs | Code and reason | Usage |\n|---|---|---|---|\n"


def line(name: str, apis: str, seen: Mapping[str, tuple[str, str]]) -> str:
    """A line of the table, from the ends and usages by dialect."""
    ends = _differing({column: end for column, (end, _) in seen.items()})
    usages = _differing({column: usage for column, (_, usage) in seen.items()})
    return f"| {name} | {apis} | {ends} | {usages} |"


def _differing(cells: Mapping[str, str]) -> str:
    """One cell where all say the same, else who says what."""
    said: dict[str, list[str]] = {}
    for column, cell in cells.items():
        said.setdefault(cell, []).append(column)
    most = max(said, key=lambda cell: len(said[cell]))
    others = [f"{_named(columns)}: {cell}" for cell, columns in said.items() if cell != most]
    return "; ".join([most, *others])


def _named(columns: Sequence[str]) -> str:
    """Columns by their names; both APIs of a server by the server's."""
    servers = [name.split()[0] for name in columns]
    pairs = zip(columns, servers, strict=True)
    return ", ".join(dict.fromkeys(server if servers.count(server) == 2 else name for name, server in pairs))


def write(
    columns: Sequence[str],
    sections: Mapping[str, Iterable[str]],
    written: Mapping[tuple[str, str], str],
) -> None:
    """Writes the page; every line must have been seen."""
    parts = [_HEAD.format(columns=_named(columns))]
    for section, names in sections.items():
        rows = "".join(f"{written[section, name]}\n" for name in names)
        parts.append(_TABLE.format(section=section) + rows)
    PAGE.write_text("".join(parts), encoding="utf-8")


def lines() -> dict[str, list[str]]:
    """The lines of each section's table."""
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {
        section.partition("\n")[0]: [row for row in section.splitlines()[4:] if row.startswith("| ")]
        for section in sections
    }


def name_of(row: str) -> str:
    """The fault that a line tells of."""
    return row.removeprefix("| ").partition(" | ")[0]
