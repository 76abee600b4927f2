"""Decoder of OpenAI-compatible chunks, chat or completions, into deltas. No I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokengrpc.core.model import Delta
from tokengrpc.engines.openai.chunks.lenient import decode_leniently
from tokengrpc.engines.openai.chunks.output import OutputReader
from tokengrpc.engines.openai.chunks.places import finish_word, has_unusual_places
from tokengrpc.engines.openai.chunks.tokens import TokenDetails
from tokengrpc.engines.openai.chunks.usage import OutputCounter, usage_report
from tokengrpc.engines.openai.schema import decode_chunk, plain_text
from tokengrpc.engines.upstream.errors.complaint import read_complaint
from tokengrpc.engines.upstream.errors.redaction import hiding
from tokengrpc.engines.upstream.response.counts import newest
from tokengrpc.engines.upstream.response.decoder import StreamDecoder
from tokengrpc.engines.upstream.response.finish_reasons import refine_finish_reason
from tokengrpc.engines.upstream.response.other_apis import CHAT
from tokengrpc.engines.upstream.response.response_id import identity_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tokengrpc.core.model import EngineFinish, UsageReport
    from tokengrpc.core.request import OutputOptions
    from tokengrpc.engines.openai.schema import Choice, Chunk

_DONE = b"[DONE]"
_BRACKET = ord("[")
_HIDE = hiding(None)

# In so many chunks, at most, the response's id is looked for. They are decoded once more for it, so that the
# chunks after them do not pay for the field.
_ID_CHUNKS = 8


class ChunkDecoder(StreamDecoder):
    """Decoder of one response's payloads into deltas."""

    api = CHAT

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
        self._tokens = TokenDetails(output)
        self._output = OutputReader(engine, tools)
        self._text = self._output.text  # for the fast path
        self._unrelayed = self._output.unrelayed
        self._counter = OutputCounter()
        self._in_text = False  # whether the last payload was plain text before any finish reason
        self._refused = False  # whether the model has sent a refusal
        self._usage: UsageReport | None = None
        self._prompt_ids_emitted = False
        self._id_chunks = _ID_CHUNKS  # in which the id is still looked for
        self._late_count = 0  # tokens that were reported only after the finish reason
        self._withheld_count = 0  # tokens of tool calls whose fragments are withheld

    def _feed_payload(self, payload: bytes, deltas: list[Delta]) -> None:
        if payload[0] == _BRACKET and payload.startswith(_DONE):
            self._end_mark(deltas)
            return
        try:
            chunk = decode_chunk(payload)
        except (ValueError, RecursionError):
            chunk = decode_leniently(payload, self._tokens.asked)
        choices = chunk.choices
        if choices and len(choices) == 1 and chunk.timings is None and not chunk.error:
            # Fast path, taken by nearly all chunks.
            text = plain_text(choices[0])
            if text:
                streamed = self._text
                streamed.length += len(text)
                streamed.last = text
                if not self._in_text or chunk.usage is not None:
                    self._take_id(payload, chunk, deltas)
                    self._take_text(text, chunk, deltas)
                else:
                    deltas.append(Delta(text=text))
                return
            choice = choices[0]
            is_empty = text is not None or (choice.delta is None and choice.text is None)
            if (is_empty or choice.finish_reason is not None) and has_unusual_places(payload):
                chunk = decode_leniently(payload, self._tokens.asked)
                choices = chunk.choices
        self._in_text = False
        self._take_id(payload, chunk, deltas)
        usage = usage_report(chunk)
        self._take_prompt_ids(chunk, deltas)
        if chunk.error or not (choices or usage):
            value = json.loads(payload)
            complaint = read_complaint(value, self._hide)
            if complaint is None and choices is None:
                self._check_api(value)
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

    def _take_id(self, payload: bytes, chunk: Chunk, deltas: list[Delta]) -> None:
        if self._id_chunks:
            self._id_chunks -= 1
            identity, model = identity_in(payload)
            # Other APIs have models too, but no choices.
            self._identify(identity, model if chunk.choices else None, deltas)
            if self._identified:
                self._id_chunks = 0

    def _take_prompt_ids(self, chunk: Chunk, deltas: list[Delta]) -> None:
        """Adds a delta with the input's token ids, at most once per response."""
        if not self._tokens.wants_ids or self._prompt_ids_emitted:
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
        text, reasoning, refusal, fragments, has_calls = self._output.read(choice)
        infos = self._tokens.read(choice)
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
                self._tokens.split(delta, infos, deltas)
            else:
                deltas.append(delta)
        body = choice.delta
        if (
            choice.finish_reason
            or choice.finish_reason_camel
            or choice.error
            or choice.message is not None
            or (body is not None and (body.error or body.finish_reason))
        ):
            self._take_end(choice)

    def _take_end(self, choice: Choice) -> None:
        """Takes the error or the finish reason of a choice, wherever the server put it."""
        delta, message = choice.delta, choice.message
        error = choice.error or (delta.error if delta is not None else None)
        if error:
            self._complain(read_complaint({"error": error}, self._hide))
        word = choice.finish_reason or choice.finish_reason_camel
        for body in (delta, message):
            if not word and body is not None:
                word = body.finish_reason
        if word and not self.ended:
            stop = choice.stop_reason if isinstance(choice.stop_reason, str) else choice.matched_stop
            self._take_word(finish_word(word) or "", stop, choice.native_finish_reason)

    def _count_fragments(self, count: int, *, withheld: bool) -> int:
        """Returns the count of a delta with fragments, which includes those that were withheld before."""
        self._withheld_count, count = (
            (self._withheld_count + count, 0) if withheld else (0, self._withheld_count + count)
        )
        return count

    def _held(self) -> Delta | None:
        """Returns what the assembler of the tool calls withholds, if anything."""
        withheld = self._output.calls.flush()
        if not withheld:
            return None
        # The engine's counts so far may include them already.
        count = self._count_fragments(0, withheld=False)
        return Delta(fragments=withheld, count=count, usage=self._usage)

    def _last(self, finish: EngineFinish) -> Delta:
        finish = refine_finish_reason(finish, called=bool(self._output.calls), refused=self._refused)
        return Delta(count=self._late_count, usage=self._usage, finish=finish)
