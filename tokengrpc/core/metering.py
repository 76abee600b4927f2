"""Cumulative usage of one generation, from the counts that engines report and from the server's own counts.

An engine's counts begin at 0 with each attempt. If an attempt fails, output that readers have got stays in
the usage. All else that the attempt consumed is overhead, and so is every prefill after the one that is
billed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.model import Usage, UsageReport, UsageSource

if TYPE_CHECKING:
    from tokengrpc.core.ports.engine import Tokenizer

MAX_COUNT = 2**31 - 1
"""Greatest count: counts of the contract are int32."""


# Tokenizers and chat templates differ by less than this many input tokens, and by less than a quarter.
_LEAST_CUT = 64
_SOURCES = max(UsageSource) + 1


class Meter:
    """Usage of one generation, with the source of each count.

    A count never decreases while its own source stays. An engine's report replaces own counts, even if it is
    lower; "own" means counted by the server. An engine's zero for something that exists is ignored.
    """

    __slots__ = (
        "_all_overhead",
        "_attempt_input",
        "_cache_write",
        "_cached",
        "_corrected",
        "_count",
        "_input",
        "_input_source",
        "_inputs",
        "_kept_output",
        "_kept_reasoning",
        "_kept_reasoning_source",
        "_kept_source",
        "_output",
        "_output_reported",
        "_output_source",
        "_overhead",
        "_overhead_source",
        "_own",
        "_own_input",
        "_prefill",
        "_prefill_source",
        "_published_input",
        "_published_output",
        "_published_overhead",
        "_published_reasoning",
        "_reasoning",
        "_reasoning_reported",
        "_reasoning_source",
        "_repeats",
        "_source",
        "_usage",
    )

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._count = tokenizer.count
        self._own = UsageSource.COUNTED if tokenizer.exact else UsageSource.ESTIMATED
        self._input = self._output = self._reasoning = 0
        self._cached = self._cache_write = 0
        self._inputs = 0, 0, 0  # all, cached and written to the cache, as published
        self._input_source = self._own
        self._output_source = self._reasoning_source = UsageSource.ENGINE
        self._reasoning_reported = self._output_reported = False
        self._own_input = 0
        # The input that this attempt's engine reported; the output that was kept of earlier attempts.
        self._attempt_input: int | None = None
        self._kept_output = self._kept_reasoning = 0
        self._kept_source = self._kept_reasoning_source = UsageSource.ENGINE
        # Overhead of earlier attempts, and the prefill of this one if it repeats billed input.
        self._overhead = self._prefill = 0
        self._overhead_source = self._prefill_source = UsageSource.ENGINE
        self._repeats = False
        self._source, self._all_overhead = self._own, 0
        # Whether a count may have decreased, or the source changed, since usage was last published.
        self._corrected = True
        # By source: the last published value of each count, a lower bound for later values of that source.
        self._published_input, self._published_output = [0] * _SOURCES, [0] * _SOURCES
        self._published_reasoning, self._published_overhead = [0] * _SOURCES, [0] * _SOURCES
        self._usage: Usage | None = None

    @property
    def usage(self) -> Usage:
        """Usage so far; the same object until a count changes."""
        if self._usage is not None:
            return self._usage
        if self._corrected:
            self._settle()
        output, reasoning = min(self._output, MAX_COUNT), self._reasoning
        self._published_output[self._output_source] = output
        if reasoning:
            reasoning = min(reasoning, output)  # as cache counts in `_settle`
            self._published_reasoning[self._reasoning_source] = reasoning
        inputs, cached, cache_write = self._inputs
        self._usage = usage = Usage(
            inputs, output, cached, cache_write, reasoning, self._all_overhead, self._source
        )
        return usage

    @property
    def output(self) -> int:
        """Output tokens so far. Unlike `usage`, reading it does not make them public."""
        return max(self._output, self._published_output[self._output_source])

    @property
    def attempt_usage(self) -> UsageReport:
        """Usage of the running attempt alone.

        The input is unknown if there is no output and the engine has not reported it.
        """
        output = max(0, self._output - self._kept_output)
        if self._repeats:
            return UsageReport(input=self._prefill or None, output=output, reasoning=self._attempt_reasoning)
        return UsageReport(
            input=self._attempt_input or (self._input or None if output else None),
            output=output,
            cached_input=self._cached or None,
            cache_write_input=self._cache_write or None,
            reasoning=self._attempt_reasoning,
        )

    @property
    def _attempt_reasoning(self) -> int | None:
        return max(0, self._reasoning - self._kept_reasoning) or None

    def _settle(self) -> None:
        """Updates what only a correction changes: source, input, overhead and the lower bounds of counts."""
        overhead_source = max(self._overhead_source, self._prefill_source)
        self._source = max(self._input_source, self._output_source, self._reasoning_source, overhead_source)
        self._input = max(self._input, self._published_input[self._input_source])
        self._output = max(self._output, self._published_output[self._output_source])
        self._reasoning = max(self._reasoning, self._published_reasoning[self._reasoning_source])
        self._overhead = max(self._overhead, self._published_overhead[overhead_source] - self._prefill)
        self._all_overhead = min(self._overhead + self._prefill, MAX_COUNT)
        self._published_overhead[overhead_source] = self._all_overhead
        # Reasoning and cache counts are clamped to their totals: the two may come from different sources.
        inputs = min(self._input, MAX_COUNT)
        self._published_input[self._input_source] = inputs
        self._inputs = inputs, min(self._cached, inputs), min(self._cache_write, inputs)
        self._corrected = False

    def restore(self, usage: Usage) -> None:
        """Takes the usage that an earlier server published. Each of its counts may be of its source."""
        source = usage.source
        self._input, self._input_source = usage.input, source
        self._cached, self._cache_write = usage.cached_input, usage.cache_write_input
        if usage.output:
            self._output, self._output_source = usage.output, source
        if usage.reasoning:
            self._reasoning, self._reasoning_source = usage.reasoning, source
        if usage.overhead:
            self._overhead, self._overhead_source = usage.overhead, source
        self._correct()

    def count_input(self, count: int, source: UsageSource) -> None:
        """Takes the server's own count of the input; ignored once the engine has reported one."""
        self._own_input = count
        if self._input_source is not UsageSource.ENGINE:
            self._input, self._input_source = count, source
            self._correct()

    def output_is_below(self, maximum: int) -> bool:
        """Returns whether the output certainly has fewer tokens than `maximum`.

        That is exact if the engine reported the output. Own counts, and sums of what single chunks showed,
        must be below half of `maximum`.
        """
        return self._output * (1 if self._output_reported else 2) < maximum

    @property
    def input_is_cut(self) -> bool:
        """Whether the engine reported so much less input than the server counted that it must have cut it."""
        told = self._input if self._input_source is UsageSource.ENGINE else self._own_input
        return self._own_input - told >= _LEAST_CUT and told * 4 < self._own_input * 3

    def count_output(self, text: str, reasoning: str = "", refusal: str = "") -> int:
        """Counts output for which the engine gave no count. Returns the number of tokens."""
        count = self._count(text) if text else 0
        if reasoning:
            reasoning_count = self._count(reasoning)
            self._add_reasoning(reasoning_count, self._own)
            count += reasoning_count
        if refusal:
            count += self._count(refusal)
        if count:
            self._output += count
            self._output_reported = False
            self._usage = None
            if self._output_source is not self._own:
                self._output_source = self._own
                self._corrected = True
        return count

    def add_output(self, count: int, *, reasoning: str = "", beside: bool = False) -> None:
        """Adds output tokens that the engine counted.

        `reasoning` is the reasoning in them. If they also have other output, `beside`, the server counts the
        share of the reasoning.
        """
        if count:
            self._output += count
            self._output_reported = False
            if reasoning and beside:
                self._add_reasoning(min(count, self._count(reasoning)), self._own)
            elif reasoning:
                self._add_reasoning(count, UsageSource.ENGINE)
            self._usage = None

    def report(self, report: UsageReport) -> None:
        """Takes cumulative counts that the engine reported."""
        if report.output or (report.output == 0 and self._output == self._kept_output):
            self._output, self._output_source = self._kept_output + report.output, self._kept_source
            self._output_reported = self._kept_source is UsageSource.ENGINE
        if report.reasoning or (report.reasoning == 0 and self._reasoning == self._kept_reasoning):
            self._reasoning = self._kept_reasoning + report.reasoning
            self._reasoning_source, self._reasoning_reported = self._kept_reasoning_source, True
        if self._repeats:
            # The input was billed before, and so were its cached parts.
            if report.input:
                self._prefill, self._prefill_source = report.input, UsageSource.ENGINE
        else:
            if report.input:
                self._input, self._input_source = report.input, UsageSource.ENGINE
                self._attempt_input = report.input
            self._cached = max(self._cached, report.cached_input or 0)
            self._cache_write = max(self._cache_write, report.cache_write_input or 0)
        self._correct()

    def give_up(self) -> None:
        """Discards an attempt without output: the tokens that its engine reported become overhead."""
        # Tokens that were published as billed stay billed.
        output = max(self._kept_output, min(self._published_output[self._output_source], self._output))
        published_reasoning = self._published_reasoning[self._reasoning_source]
        self._overhead += self._output - output + self._prefill + (self._attempt_input or 0)
        self._output, self._output_source = output, self._kept_source
        self._reasoning = max(self._kept_reasoning, min(published_reasoning, self._reasoning))
        self._reasoning_source = self._kept_reasoning_source
        # The next attempt's engine reports its own tokens alone.
        self._kept_output, self._kept_reasoning = self._output, self._reasoning
        self._begin()

    def keep(self) -> None:
        """Keeps the output of a failed attempt; the next attempt repeats the prefill."""
        self._kept_output, self._kept_source = self._output, self._output_source
        self._kept_reasoning, self._kept_reasoning_source = self._reasoning, self._reasoning_source
        self._overhead += self._prefill
        self._overhead_source = max(self._overhead_source, self._prefill_source)
        self._repeats = True
        self._begin()

    def repeat_prefill(self, *, exact: bool) -> None:
        """Notes that an engine continues. Unless it reports its input, it read the input and kept output."""
        if not self._prefill:
            self._prefill = self._input + self._kept_output
            self._prefill_source = UsageSource.ENGINE if exact else UsageSource.ESTIMATED
            self._correct()

    def _begin(self) -> None:
        self._prefill, self._prefill_source = 0, UsageSource.ENGINE
        self._attempt_input, self._reasoning_reported = None, False
        self._correct()

    def _correct(self) -> None:
        self._corrected = True
        self._usage = None

    def _add_reasoning(self, count: int, source: UsageSource) -> None:
        if self._reasoning_reported or not count:
            return
        self._reasoning += count
        if source > self._reasoning_source:
            self._reasoning_source = source
            self._corrected = True
