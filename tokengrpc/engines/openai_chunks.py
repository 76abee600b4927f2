"""OpenAI-compatible chunks, chat or completions, made into deltas. No I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from tokengrpc.engines.openai_calls import ToolCallAssembler
from tokengrpc.engines.openai_errors import read_complaint, stream_error
from tokengrpc.engines.openai_finish import judge, read_finish
from tokengrpc.engines.openai_logprobs import TokenInfo, share_text, token_infos
from tokengrpc.engines.openai_text import hiding
from tokengrpc.engines.openai_usage import OutputCounter, usage_report
from tokengrpc.engines.openai_wire import Text, decode_chunk, join_parts, plain_text
from tokengrpc.errors import EngineAborted, EngineProtocolError, EngineTruncated, TokenGrpcError
from tokengrpc.model import Delta

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tokengrpc.engines.openai_wire import Choice
    from tokengrpc.model import EngineFinish, UsageReport
    from tokengrpc.request import OutputOptions

_DONE = b"[DONE]"
_NOTHING = Text()
_HIDE = hiding(None)


class ChunkDecoder:
    """Makes one response's payloads into deltas.

    What came before a failure is returned first: after each call, look at `error`, then at `ended`. Once
    `ended`, the last delta returned has `finish`, unless there is an `error`. Once `complete`, nothing makes
    an error of it any more: what cannot be read is ignored.
    """

    def __init__(self, engine: str, output: OutputOptions, hide: Callable[[str], str] = _HIDE) -> None:
        """`hide` makes an engine's words fit to be told."""
        self._engine = engine
        self._hide = hide
        self._wants_logprobs = output.top_logprob_count is not None
        self._top_count = output.top_logprob_count or 0
        self._wants_raw = output.raw_bytes
        self._wants_ids = output.token_ids
        self._wants_infos = self._wants_logprobs or self._wants_raw
        self._calls = ToolCallAssembler()
        self._counter = OutputCounter()
        self._started = False
        self._refused = False
        self._usage: UsageReport | None = None
        self._late = 0  # tokens that were told only after the finish
        self._finish: EngineFinish | None = None
        self.ended = False
        self.error: TokenGrpcError | None = None

    @property
    def complete(self) -> bool:
        """Whether the finish has come: only usage and the end mark may follow."""
        return self._finish is not None

    def feed(self, payloads: Sequence[bytes]) -> list[Delta]:
        """The deltas of some events' payloads."""
        deltas: list[Delta] = []
        for payload in payloads:
            if self.ended:
                break
            try:
                self._feed_payload(payload, deltas)
            except (ValueError, RecursionError) as error:
                if self._finish is not None:
                    continue
                self._fail(
                    EngineProtocolError(
                        f"engine {self._engine} sent a chunk that no dialect has ({error}); "
                        "check that its base_url is an OpenAI-compatible server's"
                    )
                )
        return deltas

    def end(self, rest: Sequence[bytes]) -> list[Delta]:
        """The body ended properly. `rest` is what its end cut off: it counts if it is whole."""
        deltas: list[Delta] = []
        for payload in rest:
            try:
                self._feed_payload(payload, deltas)
            except (ValueError, RecursionError):
                break
        if not self.ended:
            self._end(deltas)
        return deltas

    def cut(self, error: TokenGrpcError) -> list[Delta]:
        """Nothing more can be read: that is `error`, unless the finish had come and so nothing is missing."""
        deltas: list[Delta] = []
        if not self.ended:
            if self._finish is None:
                self._fail(error)
            else:
                self._end(deltas)
        return deltas

    def _feed_payload(self, payload: bytes, deltas: list[Delta]) -> None:
        if payload.startswith(_DONE):
            self._end(deltas)
            return
        if not payload:
            return
        chunk = decode_chunk(payload)
        choices = chunk.choices
        if choices and len(choices) == 1 and chunk.usage is None and not chunk.error:
            # The short way of nearly all chunks.
            text = plain_text(choices[0])
            if text:
                self._started = True
                self._counter.brought_uncounted()
                deltas.append(Delta(text=text))
                return
        usage = usage_report(chunk.usage) if chunk.usage is not None else None
        if chunk.error or (choices is None and usage is None):
            self._take_complaint(payload)
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

    def _take_complaint(self, payload: bytes) -> None:
        complaint = read_complaint(json.loads(payload), self._hide)
        # After the finish the output is complete, whatever the engine complains about.
        if complaint is not None and self._finish is None:
            self._fail(stream_error(self._engine, complaint, started=self._started))

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
            self._finish = read_finish(self._engine, choice)
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

    def _end(self, deltas: list[Delta]) -> None:
        self.ended = True
        unnamed = self._calls.flush()
        if unnamed:
            deltas.append(Delta(fragments=unnamed, count=0))
        if self._finish is None:
            self._fail(
                EngineTruncated(
                    f"engine {self._engine} ended its output without a finish reason; "
                    "start again under a new id"
                )
            )
            return
        finish = judge(self._finish, called=bool(self._calls), refused=self._refused)
        deltas.append(Delta(count=self._late, usage=self._usage, finish=finish))

    def _fail(self, error: TokenGrpcError) -> None:
        self.ended = True
        self.error = error
