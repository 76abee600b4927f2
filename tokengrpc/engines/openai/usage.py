"""Usage as OpenAI-compatible servers tell it, and what it says about single chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.model import UsageReport

if TYPE_CHECKING:
    from tokengrpc.engines.openai.schema import Chunk, Timings, Usage


def usage_report(chunk: Chunk) -> UsageReport | None:
    """What a chunk tells; None for nothing, or all zeros, as Ollama's completions have on every chunk."""
    if chunk.usage is not None:
        return _from_usage(chunk.usage)
    return None if chunk.timings is None else _from_timings(chunk.timings)


def _from_timings(timings: Timings) -> UsageReport | None:
    """llama.cpp's running counts, on every chunk with `timings_per_token`."""
    if timings.prompt_n is None or not timings.predicted_n:
        return None
    cached = timings.cache_n or 0
    return UsageReport(
        input=timings.prompt_n + cached, output=timings.predicted_n, cached_input=timings.cache_n
    )


def _from_usage(usage: Usage) -> UsageReport | None:
    if not usage.prompt_tokens and not usage.completion_tokens:
        return None
    inputs = usage.prompt_tokens_details
    outputs = usage.completion_tokens_details
    return UsageReport(
        input=usage.prompt_tokens,
        output=usage.completion_tokens or None,
        cached_input=_told(inputs.cached_tokens if inputs else None, usage.prompt_cache_hit_tokens),
        cache_write_input=_told(
            inputs.cache_write_tokens if inputs else None, usage.cache_creation_input_tokens
        ),
        reasoning=_told(outputs.reasoning_tokens if outputs else None, usage.reasoning_tokens),
    )


def _told(count: int | None, otherwise: int | None) -> int | None:
    return otherwise if count is None else count


class OutputCounter:
    """Finds out how many tokens each chunk stands for.

    With usage in every chunk that is how much it grew. A sum that is told only at the end is no chunk's: once
    something came uncounted, the next sum only sets the level.
    """

    __slots__ = ("_total",)

    def __init__(self) -> None:
        self._total: int | None = 0  # None when some tokens could not be counted

    def brought_uncounted(self) -> None:
        """A chunk with output came, and nothing told how many tokens it is."""
        self._total = None

    def count(self, usage: UsageReport | None, known: int | None, *, brought: bool) -> int | None:
        """A chunk's tokens. `known` is what it says itself, `brought` whether it holds any output.

        None when they cannot be told, 0 for a chunk without any.
        """
        guess = known if known is not None else None if brought else 0
        if usage is None or usage.output is None:
            self._total = self._total + guess if self._total is not None and guess is not None else None
            return guess
        before, self._total = self._total, usage.output
        if before is None or usage.output < before:
            return guess
        return max(known or 0, usage.output - before)
