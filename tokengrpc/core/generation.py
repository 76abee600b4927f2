"""State machine of one generation, without I/O: deltas and a time go in, numbered events come out.

It numbers events and tokens, assembles characters, tracks the usage, and ends exactly once. It does not know
engines, readers, clocks or encodings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from tokengrpc.core.attempts import Attempt, Attempts
from tokengrpc.core.events import Event, RecordKind
from tokengrpc.core.metering import MAX_COUNT, Meter
from tokengrpc.core.model import (
    ContinuationMethod,
    Delta,
    Durability,
    EngineFinish,
    FinishReason,
    LogIdentity,
    State,
    Switch,
    Token,
    ToolCallFragment,
    Usage,
)
from tokengrpc.core.snapshot import GenerationSnapshot
from tokengrpc.core.termination import Timestamps
from tokengrpc.core.text import IncrementalDecoder, encodable
from tokengrpc.errors import EngineProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokengrpc.core.model import Cost, UsageReport, UsageSource
    from tokengrpc.core.ports.engine import Tokenizer
    from tokengrpc.core.prices import PriceList
    from tokengrpc.core.request import GenerationRequest
    from tokengrpc.core.termination import Termination
    from tokengrpc.errors import TokenGrpcError

MAX_EVENT_TOKENS = 128
"""Most tokens in one event, which otherwise contains those of one read. A reader can resume at any event."""


_NO_LOG = LogIdentity()


class Generation:
    """State of one generation. Its times never decrease, even if the clock does.

    `engine` is the engine that runs the generation, or the last one that did. `cost` is set at the end, if
    `prices` has a price.
    """

    def __init__(
        self,
        request: GenerationRequest,
        tokenizer: Tokenizer,
        now_ns: int,
        *,
        log: LogIdentity = _NO_LOG,
        server: str = "",
        prices: PriceList | None = None,
    ) -> None:
        self.request = request
        self.attempts = Attempts(server)
        self.state = State.QUEUED
        self.timestamps = Timestamps(created=now_ns)
        self.last_sequence = 0
        self.engine = ""
        self.engine_finish: EngineFinish | None = None
        self.termination: Termination | None = None
        self.cost: Cost | None = None
        self._prices = prices
        self._log = log
        self._server = server
        self._meter = Meter(tokenizer)
        self._final_usage: Usage | None = None
        self._index = 0
        self._now = now_ns
        self._text = IncrementalDecoder()
        self._reasoning = IncrementalDecoder()
        self._refusal = IncrementalDecoder()
        self._arguments: dict[int, IncrementalDecoder] = {}
        output = request.output
        # Most requests want text alone, and take the fast path in `feed`.
        self._plain = not (output.omit_reasoning or output.token_ids or output.raw_bytes) and (
            output.top_logprob_count is None
        )

    def restore(self, known: GenerationSnapshot, token_count: int, time_ns: int) -> None:
        """Takes the state in which an earlier server has left the generation. Called before anything else.

        `token_count` is the number of tokens so far, `time_ns` the time of the last one. An incomplete
        character, which readers do not have, comes again with the rest of the output.
        """
        self.state, self.timestamps, self.engine = known.state, known.timestamps, known.engine
        self.last_sequence, self._index = known.last_sequence, token_count
        self._now = max(self._now, time_ns)
        if self.timestamps.started:
            self._meter.restore(known.usage)
            self.attempts.restore(known.attempts)

    def keep_in_memory(self) -> None:
        """Notes that its log is in memory only, because the event store is away. Called before `accept`."""
        self._log = structs.replace(self._log, durability=Durability.MEMORY)

    @property
    def usage(self) -> Usage:
        """Cumulative usage so far."""
        return self._final_usage or self._meter.usage

    def snapshot(self) -> GenerationSnapshot:
        """Returns the current state."""
        return GenerationSnapshot(
            generation_id=self.request.generation_id,
            model=self.request.model,
            server=self._server,
            log=self._log,
            engine=self.engine,
            attempts=self.attempts.at(self.usage.output),
            state=self.state,
            timestamps=self.timestamps,
            usage=self.usage,
            last_sequence=self.last_sequence,
            termination=self.termination,
            cost=self.cost,
        )

    def count_input(self, count: int, source: UsageSource) -> None:
        """Takes the server's own count of the input, used until the engine reports one."""
        self._meter.count_input(count, source)

    @property
    def attempt_usage(self) -> UsageReport:
        """Usage of the running attempt so far, as far as it is known."""
        return self._meter.attempt_usage

    @property
    def token_count(self) -> int:
        """Number of tokens in all events so far, which is the index of the next token."""
        return self._index

    @property
    def has_output(self) -> bool:
        """Whether any output has been published."""
        return bool(self.timestamps.first_token)

    @property
    def holds_half_pair(self) -> bool:
        """Whether half a surrogate pair of the answer's text is withheld."""
        return self._text.holds_half_pair

    def accept(self, engine: str, now_ns: int) -> list[Event]:
        """Notes that an engine has accepted the request. Returns `started`, for the first engine only."""
        self.engine = engine
        if self.timestamps.started:
            return []
        self.state = State.PREFILLING
        self.timestamps = structs.replace(self.timestamps, started=self._advance(now_ns))
        return [self._event(RecordKind.STARTED, described=True)]

    def feed(self, deltas: Sequence[Delta], now_ns: int) -> list[Event]:
        """Takes the deltas of one read. Raises EngineProtocolError if the token count is out of range."""
        self._now = max(self._now, now_ns)
        events: list[Event] = []
        tokens: list[Token] = []
        for delta in deltas:
            text = delta.text
            if (
                text
                and self._plain
                and not (delta.usage or delta.fragments or delta.reasoning or delta.refusal or delta.opaque)
            ):
                # Fast path for nearly all deltas: text of the answer and nothing else.
                count = delta.count
                if count is None:
                    count = self._meter.count_output(text)
                else:
                    self._meter.add_output(count)
                text = self._text.push(text)
                if text or count:
                    tokens.append(Token(self._index, count, text))
                    self._index += count
            else:
                self._feed_detailed(delta, tokens, events)
            if len(tokens) >= MAX_EVENT_TOKENS:
                self._flush(tokens, events)
            if delta.finish is not None:
                self.engine_finish = self._refine(delta.finish)
        if tokens:
            self._flush(tokens, events)
        if self._index > MAX_COUNT:
            raise EngineProtocolError(
                f"the engine reported more than {MAX_COUNT} tokens: check that its address is an LLM server"
            )
        return events

    def _refine(self, finish: EngineFinish) -> EngineFinish:
        """Returns the finish, corrected if the output ended at its limit, but not at the request's.

        Engines report the end of the context like the end of the request's maximum.
        """
        maximum = self.request.max_output_token_count
        if finish.reason is FinishReason.MAX_TOKENS and maximum and self._meter.output_is_below(maximum):
            return structs.replace(finish, reason=FinishReason.CONTEXT_LENGTH)
        return finish

    @property
    def input_is_cut(self) -> bool:
        """Whether the engine must have cut the input: it reported far less than the server counted."""
        return self._meter.input_is_cut

    def give_up(self) -> None:
        """Discards an attempt that ended before any output; another engine runs the request."""
        self._meter.give_up()
        if not self.has_output:
            self._text, self._reasoning, self._refusal = (
                IncrementalDecoder(),
                IncrementalDecoder(),
                IncrementalDecoder(),
            )
            self._arguments.clear()

    def attempt_failed(self, error: TokenGrpcError, now_ns: int) -> None:
        """Notes the end of an attempt, after its output was kept or discarded."""
        self.attempts.end(self._meter.output, now_ns, error.reason)

    def keep(self) -> None:
        """Keeps the output of an attempt that failed; another engine continues."""
        self._meter.keep()

    def switch(self, switch: Switch, now_ns: int) -> list[Event]:
        """Notes that another engine continues. Returns the event that precedes that engine's first output."""
        exact = switch.method is ContinuationMethod.TOKEN_IDS
        if not exact:
            # The engine continues after the last whole character, so it sends the incomplete one again.
            self._text = IncrementalDecoder()
        self._meter.repeat_prefill(exact=exact)
        self._advance(now_ns)
        return [self._event(RecordKind.SWITCHED, switch=switch)]

    def resync(self, sequence: int) -> None:
        """Frees the numbers of events after this one, which no reader has got. For an end by an error."""
        self.last_sequence = sequence

    def end(self, termination: Termination, now_ns: int) -> list[Event]:
        """Ends the generation. Returns withheld text and the last event; none if no engine had accepted."""
        if self.termination is not None:
            raise RuntimeError("the generation has ended already")
        self.termination = termination
        self.timestamps = structs.replace(self.timestamps, ended=self._advance(now_ns))
        reason = termination.error.reason if termination.error is not None else ""
        usage = self.usage
        self.attempts.end(usage.output, self.timestamps.ended, reason)
        self.cost = self.price(usage)
        events: list[Event] = []
        if self.timestamps.started:
            self._release(events)
            self.state = termination.state
            events.append(self._event(RecordKind.FINISHED, described=True))
        self.state = termination.state
        return events

    def fail(self, termination: Termination, now_ns: int) -> None:
        """Replaces an end that could not be published, without an event."""
        self.termination, self.state = termination, termination.state
        ended = self.timestamps.ended or self._advance(now_ns)
        self.timestamps = structs.replace(self.timestamps, ended=ended)

    def price(self, usage: Usage, *, expected_engine: str = "") -> Cost | None:
        """Returns the cost of a usage; None without a price. Before any attempt, an engine is expected."""
        if not self._prices:
            return None
        attempts = self.attempts.at(usage.output)
        if not attempts and expected_engine:
            attempts = (Attempt(engine=expected_engine, server="", began=0),)
        return self._prices.cost(self.request.model, usage, attempts, self.timestamps.created)

    def recorded(self, usage: Usage) -> None:
        """Takes the usage with which the ledger has closed the record already, before this end."""
        self._final_usage = usage

    def release(self) -> None:
        """Releases what only further deltas need. The state stays readable."""
        self._final_usage = self.usage
        del self._meter, self._text, self._reasoning, self._refusal, self._arguments

    def _advance(self, now_ns: int) -> int:
        self._now = max(self._now, now_ns)
        return self._now

    def _feed_detailed(self, delta: Delta, tokens: list[Token], events: list[Event]) -> None:
        if delta.response_id or delta.response_model:
            self.attempts.identify(delta.response_id, delta.response_model)
        has_text = bool(delta.text or delta.reasoning or delta.refusal or (delta.text is None and delta.raw))
        token: Token | None = None
        if has_text or not delta.fragments:
            token = self._token(delta)
        elif delta.opaque:
            # The tokens of the delta are those of its fragments.
            token = self._token(Delta(count=0, opaque=delta.opaque))
        if token is not None:
            tokens.append(token)
        fragments: list[ToolCallFragment] = []
        if delta.fragments:
            self._flush(tokens, events)
            fragments = self._fragments(delta)
            if delta.count is None:
                self._meter.count_output("".join(f.function_name + f.arguments for f in delta.fragments))
            elif not has_text:
                self._meter.add_output(delta.count)
        if delta.usage is not None:
            self._meter.report(delta.usage)
        if fragments:
            self._mark_output()
            events.append(self._event(RecordKind.FRAGMENTS, fragments=fragments))

    def _token(self, delta: Delta) -> Token | None:
        text = self._decode_text(delta)
        reasoning = self._reasoning.push(delta.reasoning) if delta.reasoning else ""
        refusal = self._refusal.push(delta.refusal) if delta.refusal else ""
        count = delta.count
        if count is None:
            count = self._meter.count_output(delta.text or "", delta.reasoning, delta.refusal)
        else:
            beside = bool(delta.text or delta.refusal)
            self._meter.add_output(count, reasoning=delta.reasoning, beside=beside)
        opaque = b"" if self.request.output.omit_reasoning else delta.opaque
        if not (count or text or reasoning or refusal or opaque):
            return None
        index = self._index
        self._index = index + count
        if self._plain:
            return Token(index, count, text, reasoning, refusal, opaque=opaque)
        return self._detailed(delta, Token(index, count, text, reasoning, refusal, opaque=opaque))

    def _decode_text(self, delta: Delta) -> str:
        if delta.text is not None:
            return self._text.push(delta.text) if delta.text else ""
        return self._text.push(delta.raw) if delta.raw else ""

    def _detailed(self, delta: Delta, token: Token) -> Token:
        output = self.request.output
        if output.omit_reasoning and delta.reasoning:
            return Token(token.index, token.count, token.text, "", token.refusal)
        top_count = output.top_logprob_count
        return Token(
            token.index,
            token.count,
            token.text,
            token.reasoning,
            token.refusal,
            delta.id if output.token_ids else None,
            delta.logprob if top_count is not None else None,
            delta.top_logprobs[:top_count] if top_count else (),
            delta.raw if output.raw_bytes else None,
            token.opaque,
        )

    def _fragments(self, delta: Delta) -> list[ToolCallFragment]:
        fragments: list[ToolCallFragment] = []
        for fragment in delta.fragments:
            decoder = self._arguments.setdefault(fragment.call_index, IncrementalDecoder())
            arguments = decoder.push(fragment.arguments) if fragment.arguments else ""
            if arguments or fragment.id or fragment.function_name or fragment.opaque:
                fragments.append(
                    ToolCallFragment(
                        call_index=fragment.call_index,
                        id=encodable(fragment.id),
                        function_name=encodable(fragment.function_name),
                        arguments=arguments,
                        opaque=fragment.opaque,
                    )
                )
        return fragments

    def _flush(self, tokens: list[Token], events: list[Event]) -> None:
        if tokens:
            if not self.timestamps.first_token:
                self._mark_output()
            self.last_sequence += 1
            events.append(
                Event(self.last_sequence, RecordKind.TOKENS, self._meter.usage, self._now, tuple(tokens))
            )
            tokens.clear()

    def _release(self, events: list[Event]) -> None:
        text, reasoning, refusal = self._text.flush(), self._reasoning.flush(), self._refusal.flush()
        if self.request.output.omit_reasoning:
            reasoning = ""
        if text or reasoning or refusal:
            token = Token(self._index, 0, text, reasoning, refusal)
            events.append(self._event(RecordKind.TOKENS, tokens=(token,)))
        rest = [(index, decoder.flush()) for index, decoder in sorted(self._arguments.items())]
        fragments = [ToolCallFragment(call_index=index, arguments=text) for index, text in rest if text]
        if fragments:
            events.append(self._event(RecordKind.FRAGMENTS, fragments=fragments))

    def _mark_output(self) -> None:
        if not self.timestamps.first_token:
            self.timestamps = structs.replace(self.timestamps, first_token=self._now)
            self.state = State.GENERATING

    def _event(
        self,
        kind: RecordKind,
        *,
        tokens: Sequence[Token] = (),
        fragments: Sequence[ToolCallFragment] = (),
        switch: Switch | None = None,
        described: bool = False,
    ) -> Event:
        self.last_sequence += 1
        snapshot = self.snapshot() if described else None
        usage = self._meter.usage
        return Event(self.last_sequence, kind, usage, self._now, tokens, fragments, switch, snapshot)
