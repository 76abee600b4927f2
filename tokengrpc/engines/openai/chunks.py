"""Decoder of OpenAI-compatible chunks, chat or completions, into deltas. No I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from tokengrpc.core.model import Delta
from tokengrpc.engines.openai.calls.assembler import ToolCallAssembler
from tokengrpc.engines.openai.content import read_content
from tokengrpc.engines.openai.lenient import Asked, decode_leniently
from tokengrpc.engines.openai.logprobs import TokenInfo, split_text, token_infos
from tokengrpc.engines.openai.restated import Streamed
from tokengrpc.engines.openai.schema import MessageDelta, decode_chunk, plain_text
from tokengrpc.engines.openai.usage import OutputCounter, usage_report
from tokengrpc.engines.upstream.complaint import read_complaint
from tokengrpc.engines.upstream.counts import newest
from tokengrpc.engines.upstream.finish_reasons import refine_finish_reason
from tokengrpc.engines.upstream.redaction import hiding
from tokengrpc.engines.upstream.stream_decoder import StreamDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tokengrpc.core.model import EngineFinish, ToolCallFragment, UsageReport
    from tokengrpc.core.request import OutputOptions
    from tokengrpc.engines.openai.schema import Choice, Chunk

_DONE = b"[DONE]"
_EMPTY = MessageDelta()
_HIDE = hiding(None)


class ChunkDecoder(StreamDecoder):
    """Decoder of one response's payloads into deltas."""

    def __init__(
        self,
        engine: str,
        output: OutputOptions,
        hide: Callable[[str], str] = _HIDE,
        *,
        tools: Iterable[str] = (),
    ) -> None:
        """Creates a decoder. `hide` redacts secrets in the engine's messages and makes them valid Unicode.

        `tools` are the names of the request's tools.
        """
        super().__init__(engine, hide)
        self._wants_logprobs = output.top_logprob_count is not None
        self._top_count = output.top_logprob_count or 0
        self._wants_raw = output.raw_bytes
        self._wants_ids = output.token_ids
        self._wants_infos = self._wants_logprobs or self._wants_raw
        self._asked = Asked(self._wants_infos, self._top_count > 0, self._wants_raw, self._wants_ids)
        self._calls = ToolCallAssembler(tools)
        self._counter = OutputCounter()
        self._in_text = False  # whether the last payload was plain text before any finish reason
        self._text, self._reasoning, self._refusal = Streamed(), Streamed(), Streamed()
        self._refused = False  # whether the model has sent a refusal
        self._usage: UsageReport | None = None
        self._prompt_ids_emitted = False
        self._late_count = 0  # tokens that were reported only after the finish reason
        self._withheld_count = 0  # tokens of tool calls whose fragments are withheld

    def _feed_payload(self, payload: bytes, deltas: list[Delta]) -> None:
        if payload.startswith(_DONE):
            self._end_mark(deltas)
            return
        try:
            chunk = decode_chunk(payload)
        except (ValueError, RecursionError):
            chunk = decode_leniently(payload, self._asked)
        choices = chunk.choices
        if choices and len(choices) == 1 and chunk.timings is None and not chunk.error:
            # Fast path, taken by nearly all chunks.
            text = plain_text(choices[0])
            if text:
                streamed = self._text
                streamed.length += len(text)
                streamed.last = text
                if not self._in_text or chunk.usage is not None:
                    self._take_text(text, chunk, deltas)
                else:
                    deltas.append(Delta(text=text))
                return
        self._in_text = False
        usage = usage_report(chunk)
        self._take_prompt_ids(chunk, deltas)
        if chunk.error or (choices is None and usage is None):
            complaint = read_complaint(json.loads(payload), self._hide)
            if complaint is not None or not (choices or usage):
                self._complain(complaint)
                return
        self._take_choices(choices or (), usage, deltas)

    def _take_choices(
        self, choices: Sequence[Choice], usage: UsageReport | None, deltas: list[Delta]
    ) -> None:
        """Adds the output of the choices; the first one's delta has the usage."""
        usage_taken = False
        for choice in choices:
            self._take_choice(choice, None if usage_taken else usage, deltas)
            usage_taken = True
        if usage is not None:
            if not usage_taken:
                self._take_usage(usage, deltas)
            self._usage = newest(usage, self._usage)

    def _take_text(self, text: str, chunk: Chunk, deltas: list[Delta]) -> None:
        """Adds plain text that begins, or that comes with usage, as vLLM and SGLang send it."""
        self._note_output(answers=True)
        if chunk.usage is None:
            self._in_text = self._finish is None
            self._counter.mark_uncounted()
            deltas.append(Delta(text=text))
            return
        self._in_text = False
        usage = usage_report(chunk)
        self._take_prompt_ids(chunk, deltas)
        deltas.append(Delta(text=text, count=self._counter.count(usage, None, has_output=True), usage=usage))
        if usage is not None:
            self._usage = newest(usage, self._usage)

    def _usage_known(self) -> bool:
        return self._usage is not None and None not in (self._usage.input, self._usage.output)

    def _take_prompt_ids(self, chunk: Chunk, deltas: list[Delta]) -> None:
        """Adds a delta with the input's token ids, at most once per response."""
        if not self._wants_ids or self._prompt_ids_emitted:
            return
        ids = chunk.prompt_token_ids or (chunk.choices[0].prompt_token_ids if chunk.choices else None)
        if ids:
            self._prompt_ids_emitted = True
            deltas.append(Delta(count=0, prompt_ids=tuple(ids)))

    def _take_usage(self, usage: UsageReport, deltas: list[Delta]) -> None:
        count = self._counter.count(usage, None, has_output=False) or 0
        if self._finish is not None:
            self._late_count += count
        elif count or usage != self._usage:
            deltas.append(Delta(count=count, usage=usage))

    def _take_choice(self, choice: Choice, usage: UsageReport | None, deltas: list[Delta]) -> None:
        text, reasoning, refusal, fragments, has_calls = self._read_choice(choice)
        infos = self._token_infos(choice)
        ids = choice.token_ids
        known = len(ids) if ids is not None else len(infos) or None
        has_output = bool(text or reasoning or refusal or has_calls)
        count = self._counter.count(usage, known, has_output=has_output)
        if has_output:
            self._note_output(answers=bool(text or refusal or has_calls))
        elif count:
            self._started = True
        if refusal:
            self._refused = True
        if count is not None and has_calls:
            count = self._count_fragments(count, withheld=not (fragments or text or reasoning or refusal))
        if text or reasoning or refusal or fragments or infos or count or (usage and usage != self._usage):
            delta = Delta(
                text=text, reasoning=reasoning, refusal=refusal, count=count, fragments=fragments, usage=usage
            )
            if infos:
                self._split_by_token(delta, infos, deltas)
            else:
                deltas.append(delta)
        error = choice.error or (choice.delta.error if choice.delta is not None else None)
        if error:
            self._complain(read_complaint({"error": error}, self._hide))
        if choice.finish_reason and not self.ended:
            stop = choice.stop_reason if isinstance(choice.stop_reason, str) else choice.matched_stop
            self._take_word(choice.finish_reason, stop)

    def _read_choice(self, choice: Choice) -> tuple[str, str, str, tuple[ToolCallFragment, ...], bool]:
        """Returns text, reasoning, refusal and the fragments of calls, and whether there are calls.

        A `message` is the whole answer: of it, only what has not been streamed before is returned.
        """
        body = choice.delta or _EMPTY
        text, reasoning, refusal = read_content(body)
        text = choice.text or text
        has_calls = bool(body.tool_calls or body.function_call)
        fragments = self._calls.feed(body.tool_calls, body.function_call) if has_calls else ()
        if text:
            self._text.add(text)
        if reasoning:
            self._reasoning.add(reasoning)
        if refusal:
            self._refusal.add(refusal)
        message = choice.message
        if message is not None:
            whole_text, whole_reasoning, whole_refusal = read_content(message)
            text += self._text.rest_of(whole_text, self._engine)
            reasoning += self._reasoning.rest_of(whole_reasoning, self._engine)
            refusal += self._refusal.rest_of(whole_refusal, self._engine)
            rest = self._calls.feed_whole(message.tool_calls, message.function_call)
            fragments += rest
            has_calls = has_calls or bool(rest)
        return text, reasoning, refusal, fragments, has_calls

    def _count_fragments(self, count: int, *, withheld: bool) -> int:
        """Returns the count of a delta with fragments, which includes those that were withheld before."""
        self._withheld_count, count = (
            (self._withheld_count + count, 0) if withheld else (0, self._withheld_count + count)
        )
        return count

    def _token_infos(self, choice: Choice) -> list[TokenInfo]:
        """Returns what the chunk reports about each of its tokens, limited to what the request asks for."""
        infos = token_infos(choice.logprobs) if self._wants_infos and choice.logprobs is not None else []
        ids = choice.token_ids if self._wants_ids else None
        if not ids:
            return infos
        if not infos:
            return [TokenInfo(id=number) for number in ids]
        if len(ids) != len(infos):
            return infos
        return [msgspec.structs.replace(info, id=number) for info, number in zip(infos, ids, strict=True)]

    def _split_by_token(self, delta: Delta, infos: list[TokenInfo], deltas: list[Delta]) -> None:
        """Adds one delta per token. Together they have the content of `delta`."""
        texts = {"text": delta.text or "", "reasoning": delta.reasoning, "refusal": delta.refusal}
        split_field = next((name for name, text in texts.items() if text), "text")
        parts = split_text(texts[split_field], infos)
        last = len(infos) - 1
        for i, (info, part) in enumerate(zip(infos, parts, strict=True)):
            token_texts: dict[str, Any] = dict(texts) if i == 0 else {}
            token_texts[split_field] = part
            deltas.append(
                Delta(
                    **token_texts,
                    count=1 if i < last else max(1, (delta.count or 0) - last),
                    id=info.id if self._wants_ids else None,
                    logprob=info.logprob if self._wants_logprobs else None,
                    top_logprobs=info.top[: self._top_count],
                    raw=info.raw if self._wants_raw else None,
                    fragments=delta.fragments if i == last else (),
                    usage=delta.usage if i == last else None,
                )
            )

    def _held(self) -> Delta | None:
        """Returns what the assembler of the tool calls withholds, if anything."""
        withheld = self._calls.flush()
        if not withheld:
            return None
        # The engine's counts so far may include them already.
        count = self._count_fragments(0, withheld=False)
        return Delta(fragments=withheld, count=count, usage=self._usage)

    def _last(self, finish: EngineFinish) -> Delta:
        finish = refine_finish_reason(finish, called=bool(self._calls), refused=self._refused)
        return Delta(count=self._late_count, usage=self._usage, finish=finish)
