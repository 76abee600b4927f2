"""All cases, numbered in the order of CASES.md."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from tests.interop.cases_breaking import BREAKING
from tests.interop.cases_failing import FAILING
from tests.interop.cases_reading import READING

if TYPE_CHECKING:
    from tests.interop.stage import Case

GROUPS: Final[dict[str, tuple[Case, ...]]] = {
    "reading": READING,
    "breaks, time and stops": BREAKING,
    "failures": FAILING,
}
CASES: Final[tuple[Case, ...]] = tuple(chain.from_iterable(GROUPS.values()))
