"""How much output generations of a tenant and model are expected to have, learned from those that ended."""

from __future__ import annotations

from collections import OrderedDict

FIRST_GUESS = 256
"""Output tokens that are expected before any generation has ended."""

_WEIGHT = 0.1
_MARGIN = 1.25
_MAX_KNOWN = 10_000


class ExpectedOutput:
    """Moving averages of output tokens, of the latest pairs of tenant and model."""

    def __init__(self) -> None:
        self._averages: OrderedDict[tuple[str, str], float] = OrderedDict()

    def expect(self, tenant: str, model: str, maximum: int | None) -> int:
        """Returns the expected output tokens, at most the maximum of the request."""
        average = self._averages.get((tenant, model))
        expected = FIRST_GUESS if average is None else max(1, round(average * _MARGIN))
        return expected if maximum is None else min(expected, maximum)

    def learn(self, tenant: str, model: str, output: int) -> None:
        """Takes the output of a generation that has ended."""
        before = self._averages.pop((tenant, model), None)
        self._averages[tenant, model] = output if before is None else before + _WEIGHT * (output - before)
        if len(self._averages) > _MAX_KNOWN:
            self._averages.popitem(last=False)
