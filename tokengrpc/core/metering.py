"""Cumulative usage of one generation, from what its engines tell and what we count ourselves.

One engine's counts begin at 0 with each attempt. What an attempt that is given up brought to readers is kept;
what it cost beyond that, and every prefill but the first that counts, is overhead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.model import Usage, UsageReport, UsageSource

if TYPE_CHECKING:
    from tokengrpc.core.ports.engine import Tokenizer

_NOTHING = Usage()

MAX_COUNT = 2**31 - 1
"""The contract's counts are int32."""


class Meter:
    """Counts never decrease while their source stays; what the engine tells corrects what we counted."""

    __slots__ = (
        "_all_overhead",
        "_attempt_input",
        "_cache_write",
        "_cached",
        "_corrected",
        "_count",
        "_input",
        "_input_source",
        "_kept_output",
        "_kept_reasoning",
        "_kept_source",
        "_output",
        "_output_source",
        "_overhead",
        "_overhead_source",
        "_own",
        "_prefill",
        "_prefill_source",
        "_reasoning",
        "_reasoning_told",
        "_repeats",
        "_said",
        "_source",
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
        # What this attempt's engine told of its input; what was kept of the attempts before it.
        self._attempt_input: int | None = None
        self._kept_output = self._kept_reasoning = 0
        self._kept_source = UsageSource.ENGINE
        # Overhead of the attempts before this one, and this one's prefill where it repeats what was billed.
        self._overhead = self._prefill = 0
        self._overhead_source = self._prefill_source = UsageSource.ENGINE
        self._repeats = False
        self._source, self._all_overhead = self._own, 0
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
        if self._corrected:
            self._settle()
        inputs, outputs = min(self._input, MAX_COUNT), min(self._output, MAX_COUNT)
        # Parts are no more than their sums, though one may be our count and the other the engine's.
        self._usage = self._said[self._source] = Usage(
            inputs,
            outputs,
            min(self._cached, inputs),
            min(self._cache_write, inputs),
            min(self._reasoning, outputs),
            self._all_overhead,
            self._source,
        )
        return self._usage

    def _settle(self) -> None:
        """What only a correction changes: the source, the overhead, and counts that must not go down."""
        self._source = max(
            self._input_source, self._output_source, self._overhead_source, self._prefill_source
        )
        floor = self._said.get(self._source, _NOTHING)
        self._input = max(self._input, floor.input)
        self._output = max(self._output, floor.output)
        self._reasoning = max(self._reasoning, floor.reasoning)
        self._overhead = max(self._overhead, floor.overhead - self._prefill)
        self._all_overhead = min(self._overhead + self._prefill, MAX_COUNT)
        self._corrected = False

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
            self._output, self._output_source = self._kept_output + report.output, self._kept_source
        if report.reasoning is not None:
            self._reasoning, self._reasoning_told = self._kept_reasoning + report.reasoning, True
        if self._repeats:
            # Its input was billed before, and so were the parts of it.
            if report.input is not None:
                self._prefill, self._prefill_source = report.input, UsageSource.ENGINE
        else:
            if report.input is not None:
                self._input, self._input_source = report.input, UsageSource.ENGINE
                self._attempt_input = report.input
            self._cached = max(self._cached, report.cached_input or 0)
            self._cache_write = max(self._cache_write, report.cache_write_input or 0)
        self._correct()

    def give_up(self) -> None:
        """The attempt brought nothing: what its engine told of is overhead."""
        # What was said already stays where it was said.
        said = self._said.get(max(self._input_source, self._output_source), _NOTHING)
        output = max(self._kept_output, min(said.output, self._output))
        self._overhead += self._output - output + self._prefill + (self._attempt_input or 0)
        self._output, self._output_source = output, self._kept_source
        self._reasoning = max(self._kept_reasoning, min(said.reasoning, self._reasoning))
        self._begin()

    def keep(self) -> None:
        """The attempt was lost after it had brought output, which stays: the next one repeats the prefill."""
        self._kept_output, self._kept_source = self._output, self._output_source
        self._kept_reasoning = self._reasoning
        self._overhead += self._prefill
        self._overhead_source = max(self._overhead_source, self._prefill_source)
        self._repeats = True
        self._begin()

    def repeat_prefill(self, *, exact: bool) -> None:
        """An engine goes on from what was kept: it read that and the input, until it tells otherwise."""
        if not self._prefill:
            self._prefill = self._input + self._kept_output
            self._prefill_source = UsageSource.ENGINE if exact else UsageSource.ESTIMATED
            self._correct()

    def _begin(self) -> None:
        self._prefill, self._prefill_source = 0, UsageSource.ENGINE
        self._attempt_input, self._reasoning_told = None, False
        self._correct()

    def _correct(self) -> None:
        self._corrected = True
        self._usage = None

    def _add_reasoning(self, count: int) -> None:
        if not self._reasoning_told:
            self._reasoning += count
