"""OpenAI-compatible chunks, chat or completions, made into deltas. No I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from tokengrpc.core.model import Delta
from tokengrpc.engines.openai.logprobs import TokenInfo, share_text, token_infos
from tokengrpc.engines.openai.schema import Text, decode_chunk, join_parts, plain_text
from tokengrpc.engines.openai.tool_calls import ToolCallAssembler
from tokengrpc.engines.openai.usage import OutputCounter, usage_report
from tokengrpc.engines.upstream.errors import read_complaint
from tokengrpc.engines.upstream.finish_reasons import read_finish, refine_finish_reason
from tokengrpc.engines.upstream.redaction import hiding
from tokengrpc.engines.upstream.stream_decoder import StreamDecoder
from tokengrpc.errors import EngineAborted

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokengrpc.core.model import EngineFinish, UsageReport
    from tokengrpc.core.request import OutputOptions
    from tokengrpc.engines.openai.schema import Choice, Chunk

_DONE = b"[DONE]"
_NOTHING = Text()
_HIDE = hiding(None)


class ChunkDecoder(StreamDecoder):
    """Makes one response's payloads into deltas."""

    def __init__(self, engine: str, output: OutputOptions, hide: Callable[[str], str] = _HIDE) -> None:
        """`hide` makes an engine's words fit to be told."""
        super().__init__(engine, hide)
        self._wants_logprobs = output.top_logprob_count is not None
        self._top_count = output.top_logprob_count or 0
        self._wants_raw = output.raw_bytes
        self._wants_ids = output.token_ids
        self._wants_infos = self._wants_logprobs or self._wants_raw
        self._calls = ToolCallAssembler()
        self._counter = OutputCounter()
        self._refused = False
        self._usage: UsageReport | None = None
        self._prompt_told = False
        self._late = 0  # tokens that were told only after the finish

    def _feed_payload(self, payload: bytes, deltas: list[Delta]) -> None:
        if payload.startswith(_DONE):
            self._end(deltas)
            return
        chunk = decode_chunk(payload)
        choices = chunk.choices
        if (
            choices
            and len(choices) == 1
            and chunk.usage is None
            and chunk.timings is None
            and not chunk.error
        ):
            # The short way of nearly all chunks.
            text = plain_text(choices[0])
            if text:
                self._started = True
                self._counter.brought_uncounted()
                deltas.append(Delta(text=text))
                return
        usage = usage_report(chunk)
        self._take_prompt(chunk, deltas)
        if chunk.error or (choices is None and usage is None):
            self._complain(read_complaint(json.loads(payload), self._hide))
            return
        told = False
        for choice in choices or ():
            if not choice.index:  # one answer was asked for
                self._take_choice(choice, usage, deltas)
                told = True
        if usage is not None:
            if not told:
                self._take_usage(usage, deltas)
            self._usage = usage

    def _take_prompt(self, chunk: Chunk, deltas: list[Delta]) -> None:
        """The input's ids, which come once."""
        if not self._wants_ids or self._prompt_told:
            return
        ids = chunk.prompt_token_ids or (chunk.choices[0].prompt_token_ids if chunk.choices else None)
        if ids:
            self._prompt_told = True
            deltas.append(Delta(count=0, prompt_ids=tuple(ids)))

    def _take_usage(self, usage: UsageReport, deltas: list[Delta]) -> None:
        count = self._counter.count(usage, None, brought=False) or 0
        if self._finish is not None:
            self._late += count
        elif count or usage != self._usage:
            deltas.append(Delta(count=count, usage=usage))

    def _take_choice(self, choice: Choice, usage: UsageReport | None, deltas: list[Delta]) -> None:
        body = choice.delta or choice.message or _NOTHING
        text = choice.text or body.content or ""
        reasoning = body.reasoning_content or body.reasoning or ""
        if isinstance(text, list):
            text, thought = join_parts(text)
            reasoning += thought
        refusal = body.refusal or ""
        called = bool(body.tool_calls or body.function_call)
        fragments = self._calls.feed(body.tool_calls, body.function_call) if called else ()
        infos = self._infos(choice)
        ids = choice.token_ids
        known = len(ids) if ids is not None else len(infos) or None
        brought = bool(text or reasoning or refusal or called)
        count = self._counter.count(usage, known, brought=brought)
        if brought or count:
            self._started = True
        if refusal:
            self._refused = True
        if text or reasoning or refusal or fragments or infos or count or (usage and usage != self._usage):
            delta = Delta(
                text=text, reasoning=reasoning, refusal=refusal, count=count, fragments=fragments, usage=usage
            )
            if infos:
                self._split(delta, infos, deltas)
            else:
                deltas.append(delta)
        if choice.finish_reason:
            self._take_finish(choice)

    def _take_finish(self, choice: Choice) -> None:
        try:
            stop = choice.stop_reason if isinstance(choice.stop_reason, str) else choice.matched_stop
            self._finish = read_finish(self._engine, choice.finish_reason or "", stop)
        except EngineAborted as error:
            if self._finish is None:
                self._fail(error)

    def _infos(self, choice: Choice) -> list[TokenInfo]:
        """What is known of each token of a chunk, as far as the request wants to know it."""
        infos = token_infos(choice.logprobs) if self._wants_infos and choice.logprobs is not None else []
        ids = choice.token_ids if self._wants_ids else None
        if not ids:
            return infos
        if not infos:
            return [TokenInfo(id=number) for number in ids]
        if len(ids) != len(infos):
            return infos
        return [msgspec.structs.replace(info, id=number) for info, number in zip(infos, ids, strict=True)]

    def _split(self, whole: Delta, infos: list[TokenInfo], deltas: list[Delta]) -> None:
        """Adds a delta for each token; together they say what `whole` does."""
        shown = {"text": whole.text or "", "reasoning": whole.reasoning, "refusal": whole.refusal}
        field = next((name for name, text in shown.items() if text), "text")
        parts = share_text(shown[field], infos)
        last = len(infos) - 1
        for i, (info, part) in enumerate(zip(infos, parts, strict=True)):
            texts: dict[str, Any] = dict(shown) if i == 0 else {}
            texts[field] = part
            deltas.append(
                Delta(
                    **texts,
                    count=1 if i < last else max(1, (whole.count or 0) - last),
                    id=info.id if self._wants_ids else None,
                    logprob=info.logprob if self._wants_logprobs else None,
                    top_logprobs=info.top[: self._top_count],
                    raw=info.raw if self._wants_raw else None,
                    fragments=whole.fragments if i == last else (),
                    usage=whole.usage if i == last else None,
                )
            )

    def _held(self) -> Delta | None:
        """The calls that never got a name."""
        unnamed = self._calls.flush()
        return Delta(fragments=unnamed, count=0) if unnamed else None

    def _last(self, finish: EngineFinish) -> Delta:
        finish = refine_finish_reason(finish, called=bool(self._calls), refused=self._refused)
        return Delta(count=self._late, usage=self._usage, finish=finish)
