"""CASES.md, written from the code, and the README's table of languages by cases, written from a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.interop.stage import Case

    Groups = Mapping[str, Sequence[Case]]
    """The cases by subject, in the order of their numbers."""

HERE: Final = Path(__file__).parent
CASES_FILE: Final = HERE / "CASES.md"
README: Final = ROOT / "README.md"
WRITE_DOCS: Final = os.environ.get("TOKENGRPC_WRITE_DOCS") == "1"

_CASES_HEAD = """# The cases

Generated from the code by `TOKENGRPC_WRITE_DOCS=1 pytest tests/interop -k table`; a test fails if it differs.
Every language runs every case. Unless a case says otherwise, the engine sends usage with each token and ends
with `stop`, and a correct client reports finish reason END, no error, no repeated call and no notice.

| # | Case | What happens | What a correct client reports |
|---|---|---|---|
"""
_BEGIN = "<!-- languages by cases: begin -->\n"
_END = "<!-- languages by cases: end -->\n"
_MARKS = {True: "✓", False: "✗", None: "?"}

Results = dict[tuple[str, str], bool]
"""Whether a language passed a case, by both their names."""


def cases_page(cases: Sequence[Case]) -> str:
    """Returns CASES.md."""
    rows = (
        f"| {number} | {case.name} | {case.happens} | {case.reports} |"
        for number, case in enumerate(cases, 1)
    )
    return _CASES_HEAD + "\n".join(rows) + "\n"


def results_table(groups: Groups, languages: Sequence[str], results: Results) -> str:
    """Returns the table of languages by cases, one mark per case: ✓ passed, ✗ failed, ? not run."""
    first = 1
    heads = ["Language"]
    for name, cases in groups.items():
        heads.append(f"{name}, {first} to {first + len(cases) - 1}")
        first += len(cases)
    rows = [heads, ["---"] * len(heads)]
    for language in languages:
        of_groups = ([results.get((language, case.name)) for case in group] for group in groups.values())
        rows.append([language, *("".join(_MARKS[passed] for passed in group) for group in of_groups)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def results_in(page: str, groups: Groups) -> Results:
    """Returns the outcomes in a page's table. Raises ValueError if the table lacks a case or has too many."""
    told: Results = {}
    names = [case.name for cases in groups.values() for case in cases]
    for row in _parts(page)[1].splitlines()[2:]:
        language, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        for name, mark in zip(names, "".join(cells), strict=True):
            if mark != _MARKS[None]:
                told[language, name] = mark == _MARKS[True]
    return told


def with_table(page: str, table: str) -> str:
    """Returns the page with this table between the marks."""
    before, _, after = _parts(page)
    return f"{before}{_BEGIN}{table}{_END}{after}"


def _parts(page: str) -> tuple[str, str, str]:
    before, rest = page.split(_BEGIN)
    table, after = rest.split(_END)
    return before, table, after
