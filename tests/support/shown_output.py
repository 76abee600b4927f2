"""Comparison of a command's output with what a page shows of it, where `…` leaves something out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = "…"


def matches(output: str, shown: Sequence[str]) -> bool:
    """Returns whether an output is what is shown. A line of `…` alone stands for any lines, or for none."""
    if not shown:
        return not output
    pattern = ""
    for line in shown:
        if line == GAP:
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(map(re.escape, line.rstrip().split(GAP))) + r"[ ]*\n"
    return re.fullmatch(pattern, output if output.endswith("\n") else f"{output}\n") is not None
