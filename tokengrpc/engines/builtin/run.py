"""One generation of the n-gram model: a request in, deltas out. No I/O and no clock."""

from __future__ import annotations

import itertools
import math
import random
from typing import TYPE_CHECKING

from tokengrpc.core.model import Delta, EngineFinish, FinishReason, TopLogprob, UsageReport
from tokengrpc.core.request import Role
from tokengrpc.core.stopping_text import StoppingText
from tokengrpc.engines.builtin.model import MAX_CONTEXT
from tokengrpc.engines.builtin.sampling import Sampler
from tokengrpc.errors import ContextLengthExceeded, InvalidRequest
from tokengrpc.tokenizers.tiktoken import END_OF_TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tokengrpc.core.ports.engine import Continuation
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.engines.builtin.guide import Guide
    from tokengrpc.engines.builtin.model import Distribution
    from tokengrpc.tokenizers.tiktoken import TiktokenTokenizer

_DEFAULT_OUTPUT = 256

# The logprob of a token that only a logit bias makes possible. JSON has no -inf; other engines send this.
_IMPOSSIBLE = -9999.0

_WORDS = {
    FinishReason.END: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.MAX_TOKENS: "length",
    FinishReason.CONTEXT_LENGTH: "length",
}


class NgramRun:
    """The run of one request. `deltas` may be iterated once.

    Raises InvalidRequest for token ids that are not in the vocabulary, and ContextLengthExceeded for an input
    that fills the context. A `context_token_count` of 0 is no limit.
    """

    def __init__(
        self,
        request: GenerationRequest,
        continue_from: Continuation | None,
        *,
        guide: Guide,
        tokenizer: TiktokenTokenizer,
        seed: int,
        context_token_count: int,
    ) -> None:
        self._model = guide.model
        self._tokenizer = tokenizer
        self._top_count = request.output.top_logprob_count
        context, input_count = _read_input(request, guide, tokenizer)
        before = _generated_before(continue_from, tokenizer)
        self._context = [*context, *before]
        self._input = input_count + len(before)
        self._max_tokens, self._limit_reason = _budget(request, self._input, len(before), context_token_count)
        self._sampler = Sampler(request.sampling, self._model.unigram, before)
        # Random treats a number and its negative as the same seed; the modulo makes them differ.
        self._random = random.Random(seed % 2**64)  # noqa: S311 - must be repeatable, guards no secret
        # Skip the draws of the earlier run, so that a continuation draws what it would have drawn.
        for _ in before:
            self._random.random()
        self._text: StoppingText | None = None
        if request.sampling.stop_sequences:
            emitted = "" if continue_from is None else continue_from.text
            raw = (tokenizer.token_bytes(token) for token in before)
            self._text = StoppingText(request.sampling.stop_sequences, raw, emitted)

    def deltas(self) -> Iterator[Delta]:
        """Yields one delta per token. The last one has the finish and the usage."""
        if self._max_tokens == 0:
            yield Delta(count=0, finish=_finish(self._limit_reason), usage=self._usage(0))
        for number in range(1, self._max_tokens + 1):
            delta = self._next(number)
            yield delta
            if delta.finish is not None:
                return

    def _next(self, number: int) -> Delta:
        distribution = self._model.next(self._context)
        token = self._sampler.draw(distribution, self._random.random())
        self._context = [*self._context[1 - MAX_CONTEXT :], token]
        ended = token == END_OF_TEXT
        raw = self._bytes(token)
        reason = FinishReason.END if ended else self._limit_reason if number == self._max_tokens else None
        text, stop = None, None
        if self._text is not None:
            text, stop = self._text.push(raw, last=reason is not None)
            reason = reason if stop is None else FinishReason.STOP_SEQUENCE
        return Delta(
            text=text,
            count=1,
            id=token,
            raw=raw,
            logprob=None if self._top_count is None else _log(distribution.probability(token)),
            top_logprobs=self._top(distribution) if self._top_count else (),
            finish=None if reason is None else _finish(reason, stop),
            usage=None if reason is None else self._usage(number),
        )

    def _bytes(self, token: int) -> bytes:
        return b"" if token == END_OF_TEXT else self._tokenizer.token_bytes(token)

    def _top(self, distribution: Distribution) -> tuple[TopLogprob, ...]:
        ranked = itertools.islice(distribution.ranked(), self._top_count)
        return tuple(
            TopLogprob(
                # The end mark has a name but no bytes, as with all engines.
                self._tokenizer.token_bytes(token).decode("utf-8", "replace"),
                _log(probability),
                token,
                self._bytes(token),
            )
            for token, probability in ranked
        )

    def _usage(self, output: int) -> UsageReport:
        return UsageReport(input=self._input, output=output, cached_input=0, cache_write_input=0, reasoning=0)


def _read_input(
    request: GenerationRequest, guide: Guide, tokenizer: TiktokenTokenizer
) -> tuple[Sequence[int], int]:
    """Returns the context in which the output begins, and the number of input tokens."""
    if request.messages is not None:
        questions = [message.text for message in request.messages if message.role is Role.USER]
        count = tokenizer.count_input(request.messages, request.tools)
        return guide.opening(questions[-1] if questions else ""), count
    if request.prompt_token_ids is not None:
        tokens = list(request.prompt_token_ids)
        prompt = _text_of(tokens, tokenizer)
    else:
        prompt = request.prompt or ""
        tokens = tokenizer.encode(prompt)
    return (tokens[-MAX_CONTEXT:] if guide.can_continue(tokens) else guide.opening(prompt)), len(tokens)


def _text_of(tokens: Sequence[int], tokenizer: TiktokenTokenizer) -> str:
    try:
        return b"".join(map(tokenizer.token_bytes, tokens)).decode("utf-8", "replace")
    except KeyError as error:
        violation = f"{error.args[0]} is not in the vocabulary {tokenizer.name}: send its token ids"
        raise InvalidRequest([("prompt_token_ids", violation)]) from error


def _generated_before(continue_from: Continuation | None, tokenizer: TiktokenTokenizer) -> Sequence[int]:
    if continue_from is None:
        return ()
    return (
        tokenizer.encode(continue_from.text) if continue_from.token_ids is None else continue_from.token_ids
    )


def _budget(
    request: GenerationRequest, input_count: int, before_count: int, context: int
) -> tuple[int, FinishReason]:
    """Returns the maximum number of output tokens, and the finish reason when it is reached."""
    max_tokens = request.max_output_token_count
    if max_tokens is None:
        max_tokens = max(0, _DEFAULT_OUTPUT - before_count)
    room = context - input_count
    if context == 0 or max_tokens <= room:
        return max_tokens, FinishReason.MAX_TOKENS
    if room <= 0 and before_count == 0:
        raise ContextLengthExceeded(
            f"the input of {input_count} tokens fills the context of {context} tokens: shorten the input"
        )
    return max(0, room), FinishReason.CONTEXT_LENGTH


def _finish(reason: FinishReason, stop: str | None = None) -> EngineFinish:
    return EngineFinish(reason=reason, word=_WORDS[reason], matched_stop=stop or "")


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else _IMPOSSIBLE
