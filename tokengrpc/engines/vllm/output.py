"""Decoder of vLLM's GenerateResponse messages into deltas. No I/O.

A chunk has the tokens since the chunk before. The message `complete` repeats the last of them and has the
finish reason; it ends the output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from smg_vllm import vllm_engine_pb2 as pb

from tokengrpc.core.model import Delta, EngineFinish, FinishReason, TopLogprob, UsageReport
from tokengrpc.engines.upstream.errors.redaction import hiding
from tokengrpc.engines.upstream.response.finish_reasons import read_finish
from tokengrpc.errors import EngineAborted, EngineProtocolError, EngineTruncated, without_traceback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.stopping_text import StoppingText
    from tokengrpc.errors import TokenGrpcError
    from tokengrpc.tokenizers.huggingface import Vocabulary

_HIDE = hiding(None)


class OutputDecoder:
    """Decoder of one generation's messages into deltas, one for each token.

    Deltas that precede a failure are returned first: after each call, check `error`, then `ended`. If `ended`
    is set without an `error`, the last delta has `finish`.
    """

    def __init__(
        self,
        engine: str,
        vocabulary: Vocabulary,
        *,
        prompt_ids: tuple[int, ...] | None,
        top_count: int = 0,
        stopping: StoppingText | None = None,
    ) -> None:
        """`prompt_ids` is reported before the first token. `stopping` cuts the text at stop sequences."""
        self._engine = engine
        self._vocabulary = vocabulary
        self._prompt_ids = prompt_ids
        self._top_count = top_count
        self._stopping = stopping
        self._stop: str | None = None  # the stop sequence that was found in the text
        self._count = 0
        self._usage: UsageReport | None = None
        self.ended = False
        self.error: TokenGrpcError | None = None
        self.engine_ended = False
        """Whether the engine has ended the output itself, so that there is nothing to abort."""

    @property
    def started(self) -> bool:
        """Whether the engine has sent output."""
        return self._count > 0

    def feed(self, message: bytes) -> list[Delta]:
        """Returns the deltas of a message. One that cannot be decoded sets `error`."""
        deltas: list[Delta] = []
        try:
            response = pb.GenerateResponse.FromString(message)
        except DecodeError:
            self._fail(
                EngineProtocolError(
                    f"engine {self._engine} sent a message that cannot be decoded; "
                    "check its kind and base_url"
                )
            )
            return deltas
        kind = response.WhichOneof("response")
        if kind == "chunk" and not response.chunk.index:  # only one answer was requested
            self._take_chunk(response.chunk, deltas)
        elif kind == "complete" and not response.complete.index:
            self._take_complete(response.complete, deltas)
        return deltas

    def end(self) -> None:
        """Ends the output because the stream ended regularly: without a finish reason it is incomplete."""
        self.engine_ended = True
        self._fail(
            EngineTruncated(
                f"engine {self._engine} ended its output without a finish reason; start again under a new id"
            )
        )

    def _take_chunk(self, chunk: pb.GenerateStreamChunk, deltas: list[Delta]) -> None:
        self._report(chunk.prompt_tokens, chunk.cached_tokens, deltas)
        self._take_tokens(chunk.token_ids, chunk.output_logprobs, deltas)
        if self._stop is not None:
            # Cut at the stop sequence: what the engine says after it changes nothing.
            self._finish(self._stopped(), deltas)

    def _take_complete(self, complete: pb.GenerateComplete, deltas: list[Delta]) -> None:
        self.engine_ended = True
        self._report(complete.prompt_tokens, complete.cached_tokens, deltas)
        if not self.started:  # an engine that does not stream
            self._take_tokens(complete.output_ids, complete.output_logprobs, deltas)
        word, stop = complete.finish_reason, complete.matched_stop_str
        try:
            finish = read_finish(self._engine, _HIDE(word), stop) if word else None
        except EngineAborted as error:
            self._fail(error)
            return
        if finish is None:
            self.end()
            return
        if self._stopping is not None and self._stop is None:
            rest, self._stop = self._stopping.push(b"", last=True)
            if rest:
                deltas.append(Delta(text=rest, count=0))
        self._finish(finish if self._stop is None else self._stopped(), deltas)

    def _report(self, prompt_tokens: int, cached_tokens: int, deltas: list[Delta]) -> None:
        """Reports the input, once; the output is counted by its tokens."""
        if self._usage is not None or not prompt_tokens:
            return
        self._usage = UsageReport(input=prompt_tokens, cached_input=cached_tokens)
        deltas.append(Delta(count=0, usage=self._usage, prompt_ids=self._prompt_ids))

    def _take_tokens(self, ids: Sequence[int], logprobs: pb.OutputLogProbs, deltas: list[Delta]) -> None:
        self._count += len(ids)
        # Ids, log probabilities and alternatives are three lists, which nothing makes equal in length.
        told, values = logprobs.token_ids, logprobs.token_logprobs
        place = 0
        for token in ids:
            raw = self._vocabulary.token_bytes(token)
            text = self._cut(raw) if self._stopping is not None else None
            logprob: float | None = None
            top: tuple[TopLogprob, ...] = ()
            if place < len(told) and told[place] == token:
                logprob = values[place] if place < len(values) else None
                if self._top_count and place < len(logprobs.top_logprobs):
                    top = self._ranked(logprobs.top_logprobs[place])
                place += 1
            deltas.append(Delta(text=text, count=1, id=token, raw=raw, logprob=logprob, top_logprobs=top))

    def _cut(self, raw: bytes) -> str:
        """Returns the text of a token as far as it can be told before the stop sequence."""
        if self._stopping is None or self._stop is not None:
            return ""
        text, self._stop = self._stopping.push(raw)
        return text

    def _ranked(self, top: pb.TopLogProbs) -> tuple[TopLogprob, ...]:
        vocabulary = self._vocabulary
        candidates = [
            TopLogprob(vocabulary.token_text(token), logprob, token, vocabulary.token_bytes(token))
            for token, logprob in zip(top.token_ids, top.values, strict=False)
        ]
        return tuple(sorted(candidates, key=lambda candidate: -candidate.logprob))[: self._top_count]

    def _stopped(self) -> EngineFinish:
        return EngineFinish(reason=FinishReason.STOP_SEQUENCE, word="stop", matched_stop=self._stop or "")

    def _finish(self, finish: EngineFinish, deltas: list[Delta]) -> None:
        self.ended = True
        reported = self._usage or UsageReport()
        usage = UsageReport(input=reported.input, output=self._count, cached_input=reported.cached_input)
        deltas.append(Delta(count=0, usage=usage, finish=finish))

    def _fail(self, error: TokenGrpcError) -> None:
        self.ended = True
        self.error = without_traceback(error)  # its frames refer to this decoder
