"""Cumulative usage of one generation, from what the engine tells and what we count ourselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.model import Usage, UsageReport, UsageSource

if TYPE_CHECKING:
    from tokengrpc.interfaces import Tokenizer

_NOTHING = Usage()

MAX_COUNT = 2**31 - 1
"""The contract's counts are int32."""


class Meter:
    """Counts never decrease while their source stays; what the engine tells corrects what we counted."""

    __slots__ = (
        "_cache_write",
        "_cached",
        "_corrected",
        "_count",
        "_input",
        "_input_source",
        "_output",
        "_output_source",
        "_own",
        "_reasoning",
        "_reasoning_told",
        "_said",
        "_usage",
    )

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._count = tokenizer.count
        self._own = UsageSource.COUNTED if tokenizer.exact else UsageSource.ESTIMATED
        self._input = self._output = self._reasoning = 0
        self._cached = self._cache_write = 0
        self._input_source = self._own
        self._output_source = UsageSource.ENGINE
        self._reasoning_told = False
        # Whether a count may have gone down, or its source have changed, since usage was last told.
        self._corrected = True
        # The last that was told under each source: no count goes below it while that source speaks.
        self._said: dict[UsageSource, Usage] = {}
        self._usage: Usage | None = None

    @property
    def usage(self) -> Usage:
        """Usage until now; the same object until something changes."""
        if self._usage is not None:
            return self._usage
        source = max(self._input_source, self._output_source)
        if self._corrected:
            floor = self._said.get(source, _NOTHING)
            self._input = max(self._input, floor.input)
            self._output = max(self._output, floor.output)
            self._reasoning = max(self._reasoning, floor.reasoning)
            self._corrected = False
        self._usage = self._said[source] = Usage(
            min(self._input, MAX_COUNT),
            min(self._output, MAX_COUNT),
            min(self._cached, MAX_COUNT),
            min(self._cache_write, MAX_COUNT),
            min(self._reasoning, MAX_COUNT),
            0,
            source,
        )
        return self._usage

    def count_input(self, count: int, source: UsageSource) -> None:
        """Our own count of the input; ignored once the engine has told one."""
        if self._input_source is not UsageSource.ENGINE:
            self._input, self._input_source = count, source
            self._correct()

    def count_output(self, text: str, reasoning: str = "", refusal: str = "") -> int:
        """Counts output that came without a count; answers how many tokens it is."""
        count = self._count(text) if text else 0
        if reasoning:
            thought = self._count(reasoning)
            self._add_reasoning(thought)
            count += thought
        if refusal:
            count += self._count(refusal)
        if count:
            self._output += count
            self._usage = None
            if self._output_source is not self._own:
                self._output_source = self._own
                self._corrected = True
        return count

    def told_output(self, count: int, *, reasoning: bool = False) -> None:
        """Output whose count the engine told."""
        if count:
            self._output += count
            if reasoning:
                self._add_reasoning(count)
            self._usage = None

    def report(self, report: UsageReport) -> None:
        """Cumulative counts that the engine told."""
        if report.output is not None:
            self._output, self._output_source = report.output, UsageSource.ENGINE
        if report.input is not None:
            self._input, self._input_source = report.input, UsageSource.ENGINE
        if report.reasoning is not None:
            self._reasoning, self._reasoning_told = report.reasoning, True
        self._cached = max(self._cached, report.cached_input or 0)
        self._cache_write = max(self._cache_write, report.cache_write_input or 0)
        self._correct()

    def _correct(self) -> None:
        self._corrected = True
        self._usage = None

    def _add_reasoning(self, count: int) -> None:
        if not self._reasoning_told:
            self._reasoning += count
