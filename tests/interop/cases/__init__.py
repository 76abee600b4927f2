"""All cases, numbered in the order of CASES.md."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from tests.interop.cases.breaking import BREAKING
from tests.interop.cases.checksums import CHECKSUMS
from tests.interop.cases.cursors import CURSORS
from tests.interop.cases.failing import FAILING
from tests.interop.cases.reading import READING
from tests.interop.cases.restarting import RESTARTS

if TYPE_CHECKING:
    from tests.interop.site import Restart
    from tests.interop.stage import Case

GROUPS: Final[dict[str, tuple[Case | Restart, ...]]] = {
    "reading": READING,
    "breaks, time and stops": BREAKING,
    "failures": FAILING,
    "cursors": CURSORS,
    "checksums": CHECKSUMS,
    "restarts": RESTARTS,
}
CASES: Final[tuple[Case | Restart, ...]] = tuple(chain.from_iterable(GROUPS.values()))
