"""The table of a run: engine by case, for the terminal and for docs/dialects.md."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE: Final = ROOT / "docs" / "dialects.md"
HEADING: Final = "## Tried against real engines"
_INTRO: Final = """
This section is written by `TOKENGRPC_WRITE_DOCS=1 make engines`, from a run on {date}. The engines came from
package registries. Their models are tiny and were made on the spot: [testing.md](testing.md#real-engines).
A number leads to the difference or the reason below the table.
"""


def cases(cells: Mapping[tuple[str, str], str]) -> list[str]:
    """Returns the names of all cases, in order."""
    return list(dict.fromkeys(case for _, case in cells))


def table(versions: Mapping[str, str], cells: Mapping[tuple[str, str], str]) -> str:
    """Returns the table with its notes: `versions` by engine, and an outcome for each (engine, case)."""
    notes: list[str] = []

    def shown(outcome: str) -> str:
        word, _, why = outcome.partition(": ")
        if not why:
            return word
        if why not in notes:
            notes.append(why)
        return f"{word} ({notes.index(why) + 1})"

    head = " | ".join(f"{name} {version}".strip() for name, version in versions.items())
    lines = [f"| Case | {head} |", "|---" * (len(versions) + 1) + "|"]
    for case in cases(cells):
        row = " | ".join(shown(cells.get((name, case), "not run")) for name in versions)
        lines.append(f"| {case} | {row} |")
    return (
        "\n".join([*lines, "", *(f"{number}. {why}" for number, why in enumerate(notes, 1))]).rstrip() + "\n"
    )


def write(versions: Mapping[str, str], cells: Mapping[tuple[str, str], str]) -> None:
    """Writes the section of the page, in place of an older one."""
    intro = _INTRO.format(date=datetime.now(UTC).date().isoformat())
    page = PAGE.read_text(encoding="utf-8")
    before, _, after = page.partition(f"\n{HEADING}\n")
    _, heading, rest = after.partition("\n## ")
    section = f"{HEADING}\n{intro}\n{table(versions, cells)}"
    PAGE.write_text(f"{before.rstrip()}\n\n{section}{heading}{rest}", encoding="utf-8")


def one_line(text: str) -> str:
    """Returns the first line of a difference or reason, without what would break a table."""
    line = next((line for line in text.splitlines() if line.strip()), "no reason given")
    # Addresses of this run say nothing to others.
    line = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:…", line)
    return re.sub(r"\s+", " ", line).replace("|", "/").strip()[:300]


def sentence(test: str) -> str:
    """Returns the name of a case from that of its test."""
    return (
        test.removeprefix("test_")
        .replace("_", " ")
        .replace("engines own", "engine's own")
        .replace("models own", "model's own")
        .replace("callers", "caller's")
        .capitalize()
        .replace("Http", "HTTP")
        .replace("grpc", "gRPC")
        .replace("json", "JSON")
    )


def missing_engine(names: Sequence[str]) -> str:
    """Returns the error for a run in which no engine was there."""
    return f"none of these engines is installed: {', '.join(names)}; run tools/install_engines.sh"
