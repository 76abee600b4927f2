"""CASES.md and RESULTS.md as they are written from the code and from a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stage import Case

HERE: Final = Path(__file__).parent
CASES_FILE: Final = HERE / "CASES.md"
RESULTS_FILE: Final = HERE / "RESULTS.md"
WRITE_DOCS: Final = os.environ.get("TOKENGRPC_WRITE_DOCS") == "1"

_CASES_HEAD = """# The cases

Written from the code by `TOKENGRPC_WRITE_DOCS=1 pytest tests/interop`; the tests fail when it differs.
Every language runs every case. Unless a case says otherwise the engine ends with `stop` and tells usage with
each token, and a right client reports finish reason END, no error, no call made again and no notice.

| # | Case | What happens | What a right client reports |
|---|---|---|---|
"""
_RESULTS_HEAD = """# Languages by cases

Written by `TOKENGRPC_WRITE_DOCS=1 pytest tests/interop`: ✓ passed, ✗ failed, ? not run.

"""
_MARKS = {True: "✓", False: "✗", None: "?"}


def cases_page(cases: Sequence[Case]) -> str:
    """CASES.md."""
    rows = (
        f"| {number} | {case.name} | {case.happens} | {case.reports} |"
        for number, case in enumerate(cases, 1)
    )
    return _CASES_HEAD + "\n".join(rows) + "\n"


def results_page(
    cases: Sequence[Case], languages: Sequence[str], results: Mapping[tuple[str, str], bool | None]
) -> str:
    """RESULTS.md; a result is None, or missing, for a case that was not run."""
    head = f"| # | Case | {' | '.join(languages)} |\n|---|---|{'---|' * len(languages)}\n"
    rows = []
    for number, case in enumerate(cases, 1):
        marks = (_MARKS[results.get((language, case.name))] for language in languages)
        rows.append(f"| {number} | {case.name} | {' | '.join(marks)} |")
    return _RESULTS_HEAD + head + "\n".join(rows) + "\n"
