"""Usage as OpenAI-compatible servers report it, and the token counts of single chunks derived from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.core.model import UsageReport
from tokengrpc.engines.upstream.response.counts import first_known

if TYPE_CHECKING:
    from tokengrpc.engines.openai.schema import Chunk, Timings, Usage


def usage_report(chunk: Chunk) -> UsageReport | None:
    """Returns the usage in a chunk, wherever the server put it.

    None if there is none, or if all counts are zero, as in every chunk of Ollama's completions.
    """
    usage = chunk.usage or (chunk.x_groq.usage if chunk.x_groq is not None else None)
    if usage is None:
        usage = next((choice.usage for choice in chunk.choices or () if choice.usage is not None), None)
    report = None if usage is None else _from_usage(usage)
    if report is None and chunk.timings is not None:
        return _from_timings(chunk.timings)
    return report


def _from_timings(timings: Timings) -> UsageReport | None:
    """Converts llama.cpp's cumulative counts, which `timings_per_token` adds to every chunk."""
    if timings.prompt_n is None or not timings.predicted_n:
        return None
    cached = timings.cache_n or 0
    return UsageReport(
        input=timings.prompt_n + cached, output=timings.predicted_n, cached_input=timings.cache_n
    )


def _from_usage(usage: Usage) -> UsageReport | None:
    """Converts a usage object. A zero is no count, because every request has an input."""
    inputs = usage.prompt_tokens_details
    outputs = usage.completion_tokens_details
    cached = first_known(
        inputs.cached_tokens if inputs else None, usage.prompt_cache_hit_tokens, usage.cached_tokens
    )
    written = first_known(inputs.cache_write_tokens if inputs else None, usage.cache_creation_input_tokens)
    reasoning = first_known(outputs.reasoning_tokens if outputs else None, usage.reasoning_tokens)
    prompt = usage.prompt_tokens or usage.input_tokens
    completion = usage.completion_tokens or usage.output_tokens
    if not prompt and not completion:
        return None
    input_, output = _sums(
        prompt or 0, completion or 0, cached or 0, written or 0, reasoning or 0, total=usage.total_tokens or 0
    )
    return UsageReport(
        input=input_ or None,
        output=output or None,
        cached_input=cached,
        cache_write_input=written,
        reasoning=reasoning,
    )


def _sums(
    prompt: int, completion: int, cached: int, written: int, reasoning: int, *, total: int
) -> tuple[int, int]:
    """Returns the tokens of input and output with their parts contained in them.

    OpenAI's sums contain their parts. Other servers report a part beside its sum: xAI the reasoning, proxies
    of Anthropic the cached input. Of the readings in which no part exceeds its sum, the first one that adds
    up to `total` is right; if none does, the first one.
    """
    if not prompt or not completion:
        # The total tells the other one.
        completion = max(completion, reasoning)
        return prompt or max(0, total - completion), max(completion, total - prompt if prompt else 0)
    if prompt + completion == total and max(cached, written) <= prompt and reasoning <= completion:
        return prompt, completion  # the first reading, and by far the most frequent one
    readings = [
        (input_, output)
        for input_ in (prompt, prompt + cached, prompt + cached + written)
        for output in (completion, completion + reasoning)
        if max(cached, written) <= input_ and reasoning <= output
    ]
    exact = [reading for reading in readings if sum(reading) == total]
    if not exact and not reasoning and total > prompt + completion + cached + written:
        # Gemini's total also has the reasoning, of which it reports no count.
        return prompt, total - prompt
    return (exact or readings)[0]


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
