"""All cases, numbered in the order of CASES.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cases_breaking import BREAKING
from cases_failing import FAILING
from cases_reading import READING

if TYPE_CHECKING:
    from stage import Case

CASES: Final[tuple[Case, ...]] = (*READING, *BREAKING, *FAILING)
