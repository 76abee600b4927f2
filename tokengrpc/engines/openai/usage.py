"""Usage as OpenAI-compatible servers report it, and the token counts of single chunks derived from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.model import UsageReport

if TYPE_CHECKING:
    from tokengrpc.engines.openai.schema import Chunk, Timings, Usage


def usage_report(chunk: Chunk) -> UsageReport | None:
    """Returns the usage in a chunk.

    None if there is none, or if all counts are zero, as in every chunk of Ollama's completions.
    """
    if chunk.usage is not None:
        return _from_usage(chunk.usage)
    return None if chunk.timings is None else _from_timings(chunk.timings)


def _from_timings(timings: Timings) -> UsageReport | None:
    """Converts llama.cpp's cumulative counts, which `timings_per_token` adds to every chunk."""
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
        cached_input=_first_known(inputs.cached_tokens if inputs else None, usage.prompt_cache_hit_tokens),
        cache_write_input=_first_known(
            inputs.cache_write_tokens if inputs else None, usage.cache_creation_input_tokens
        ),
        reasoning=_first_known(outputs.reasoning_tokens if outputs else None, usage.reasoning_tokens),
    )


def _first_known(count: int | None, alternative: int | None) -> int | None:
    return alternative if count is None else count


class OutputCounter:
    """Token count of each chunk, derived from cumulative usage.

    If every chunk reports usage, a chunk's count is the increase of the total. If usage comes only at the
    end, its total is not the count of any single chunk. So after a chunk with unknown count, the next total
    only sets a new baseline.
    """

    __slots__ = ("_total",)

    def __init__(self) -> None:
        self._total: int | None = 0  # None if the count of an earlier chunk is unknown

    def mark_uncounted(self) -> None:
        """Records a chunk that has output but no token count."""
        self._total = None

    def count(self, usage: UsageReport | None, known: int | None, *, has_output: bool) -> int | None:
        """Returns the number of tokens in a chunk: None if unknown, 0 for a chunk without tokens.

        `known` is the count that the chunk itself shows, for example by its token ids.
        """
        guess = known if known is not None else None if has_output else 0
        if usage is None or usage.output is None:
            self._total = self._total + guess if self._total is not None and guess is not None else None
            return guess
        before, self._total = self._total, usage.output
        if before is None or usage.output < before:
            return guess
        return max(known or 0, usage.output - before)
